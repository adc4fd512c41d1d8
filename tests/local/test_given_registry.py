# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Images of registries: their names, how a registry is asked, and what it may answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.given_images import making, references, registry
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.references import Reference
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.registry import Login, Registry
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of, pin
from given_images import ARCHITECTURE, LOGIN, PYTHON, Served, digest, docker_archive, serving

ANN = Login("ann", "s3cret", plain_http=True)
NOBODY = Login(plain_http=True)
SHA = f"sha256:{'ab' * 32}"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Served([PYTHON, ["app/", ("app/shop.py", b"app = 1", 0o644)]])) as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / ".images").mkdir(mode=0o700)
    return tmp_path


def source(served: Served, **more: Any) -> dict[str, Any]:
    return {"image": f"{served.name}:1", "registry": {"plain_http": True, **more}}


def wanted(served: Served, login: Login = NOBODY, image: str = "") -> making.Wanted:
    reference = references.parsed(f"{served.name}:1")[0]
    return making.Wanted(image or served.tags["1"], "the image 'shop:1'", reference=reference, login=login)


NAMES = [
    ("registry.example.com/team/shop:1.4", Reference("registry.example.com", "team/shop", "1.4")),
    (f"localhost/shop@{SHA}", Reference("localhost", "shop", "", SHA)),
    (f"10.0.0.1:5000/a-b/c_d.e:v@{SHA}", Reference("10.0.0.1:5000", "a-b/c_d.e", "v", SHA)),
    ("[::1]:5000/shop:1", Reference("[::1]:5000", "shop", "1")),
]
WRONG = [
    ("shop:1", "names no registry"),
    ("team/shop:1", "names no registry"),
    ("registry.example.com/shop", "names no version. Add a tag or a digest, such as registry.example.com/shop:1.4"),
    ("registry.example.com/Shop:1", "is not the name of an image"),
    ("registry.example.com/../shop:1", "is not the name of an image"),
    ("registry.example.com/shop:1 2", "is not the name of an image"),
    ("registry.example.com/shop@sha256:12", "Copy the whole digest"),
    ("user:pw@registry.example.com/shop:1", "Copy the whole digest"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_name_has_a_registry_a_repository_and_a_version(name: str, expected: Reference) -> None:
    assert references.parsed(name) == (expected, "")
    assert not references.is_archive(name)


@pytest.mark.parametrize(("name", "says"), WRONG)
def test_a_wrong_name_is_explained(name: str, says: str) -> None:
    found, problem = references.parsed(name)
    assert found is None
    assert says in problem


def test_a_tag_stands_for_the_image_that_it_names_now(served: Served) -> None:
    first = pin(source(served), [])
    assert first == {"digest": served.manifest, "architectures": ARCHITECTURE}
    index = served.add_index(["mips", ARCHITECTURE])
    assert pin(source(served), []) == {"digest": index, "architectures": f"{ARCHITECTURE} mips"}
    described = origin_of({**source(served), **first}, []).description
    assert (described["digest"], described["image"]) == (served.manifest, f"{served.name}:1")
    assert described["revision"] == f"{served.name}:1 {served.manifest[7:19]}"


@pytest.mark.parametrize("wants", ["", "basic", "token"])
@pytest.mark.parametrize("is_index", [False, True])
def test_a_host_fetches_an_image(store: Path, served: Served, wants: str, is_index: bool) -> None:
    served.wants = wants
    if is_index:
        served.add_index(["mips", ARCHITECTURE])
    name = making.provide(str(store), wanted(served, ANN if wants else NOBODY), list)
    assert (store / ".images" / name / "root/app/shop.py").read_text() == "app = 1"
    assert "s3cret" not in (store / ".images" / name / "image.json").read_text()
    # The login is sent only after the registry has asked for one.
    assert not served.asked[0][1]
    sent = {authorization for path, authorization in served.asked if not path.startswith("/token?")}
    assert sent == {"", *({"basic": {LOGIN}, "token": {"Bearer t0ken"}}.get(wants, set()))}


@pytest.mark.parametrize("wants", ["basic", "token"])
@pytest.mark.parametrize("login", [{}, {"username": "ann", "password": "other"}])
def test_a_registry_that_refuses_is_reported_without_the_password(
    served: Served, wants: str, login: dict[str, str]
) -> None:
    served.wants = wants
    with pytest.raises(SourceError) as error:
        pin(source(served, **login), [])
    assert "(status 401)" in str(error.value)
    assert ("Correct source.registry.username" if login else "Set source.registry.username") in str(error.value)
    assert "other" not in str(error.value)
    # Another attempt would lock the account.
    assert len(served.asked) <= 3


@pytest.mark.attack("17", "A registry redirects a host to another server, which asks for the login")
def test_the_login_goes_to_no_other_server(store: Path, served: Served) -> None:
    served.wants = "basic"
    with serving(Served([PYTHON])) as other:
        other.files = served.files
        served.redirects = f"http://{other.address}"
        making.provide(str(store), wanted(served, ANN), list)
        assert other.asked
        assert {authorization for _path, authorization in other.asked} == {""}


@pytest.mark.attack("17", "A registry names a server for tokens without encryption")
def test_a_server_for_tokens_without_encryption_does_not_get_the_login(served: Served) -> None:
    asked = Registry(Reference("registry.example.com", "shop", "1"), Login("ann", "s3cret"))
    with pytest.raises(ImageError, match="which is no https address"):
        asked.token({"realm": f"http://{served.address}/token"})
    assert served.asked == []


def test_an_unknown_image_is_an_error_of_the_inventory(served: Served) -> None:
    with pytest.raises(SourceError, match=r"has not got the image '127.0.0.1:\d+/team/shop:2'\. Correct") as error:
        pin({**source(served), "image": f"{served.name}:2"}, [])
    assert not isinstance(error.value, FetchError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_fails_leaves_out_its_application_alone(served: Served, status: int) -> None:
    served.status = status
    with pytest.raises(FetchError, match=f"status {status}"):
        pin(source(served), [])


def test_a_registry_that_does_not_answer_leaves_out_its_application_alone(served: Served) -> None:
    with serving(Served([PYTHON])) as gone:
        pass
    with pytest.raises(FetchError, match="does not answer for the image"):
        pin(source(gone), [])


@pytest.mark.attack("2", "A registry sends another image than its digest says")
def test_a_registry_cannot_send_another_image(store: Path, served: Served) -> None:
    other = b'{"schemaVersion": 2, "layers": []}'
    for name in [served.manifest, *served.files]:
        kept = served.files[name]
        served.files[name] = other
        with pytest.raises(ImageError, match="the registry has sent another"):
            making.provide(str(store), wanted(served), list)
        served.files[name] = kept
    assert os.listdir(store / ".images") == []


def test_an_image_without_a_manifest_for_this_host_is_refused(store: Path, served: Served) -> None:
    served.add_index(["mips", "sparc"])
    with pytest.raises(ImageError, match=f"is for mips, sparc, but the host has {ARCHITECTURE}"):
        making.provide(str(store), wanted(served), list)


# A manifest, and the message
DOCUMENTS: list[tuple[bytes, str]] = [
    (b"[]", "it is not a JSON object"),
    (b"[" * 100_000, "it is not a JSON object"),
    (b'{"schemaVersion": 1}', "old format of manifests"),
    (b'{"config": {"digest": "sha256:x"}, "layers": [{}]}', "'sha256:x' is not a digest"),
    (b'{"config": {}, "layers": []}', "it has 0 layers"),
    (b"x" * (registry.MOST_BYTES + 1), "its manifest is too large"),
]


@pytest.mark.parametrize(("content", "says"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_a_broken_manifest_is_refused(served: Served, content: bytes, says: str) -> None:
    served.files[digest(content)] = content
    served.tags["1"] = digest(content)
    with pytest.raises(SourceError, match=says):
        pin(source(served), [])


def test_a_full_disk_stops_the_download(store: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "RESERVE", 2**60)
    with pytest.raises(ImageError, match=r"almost full while the image 'shop:1' is fetched\. Make room"):
        making.provide(str(store), wanted(served), list)
    assert os.listdir(store / ".images") == []


def test_an_archive_is_found_from_the_inventory_and_sent_as_it_is(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "shop.tar", [PYTHON])
    given = {"image": "./shop.tar"}
    pinned = pin(given, [str(tmp_path)])
    origin = origin_of({**given, **pinned}, [str(tmp_path)])
    assert (origin.file, origin.pack, origin.description["digest"]) == (path, None, pinned["digest"])
    with pytest.raises(SourceError, match=r"source\.image '\./other\.tar' is no file\. Looked for"):
        pin({"image": "./other.tar"}, [str(tmp_path)])
