# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sources with a Containerfile: when the controller builds, what the hosts get, and what is refused.

A script stands in for the engine. `test_build_engines.py` builds with real ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import image_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Part
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.parts import Shipment, uploaded, with_sources
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import builds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import source_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of, pin
from given_images import ARCHITECTURE, BOXED, PYTHON, docker_archive
from host_facts import GOOD

# The image has the content of the file VERSION, and another one for each build without a cache.
ENGINE = """#!/bin/sh -e
echo "$0 $*" >>"{log}"
case $1 in
info) exit {works} ;;
build)
    for word; do case $before in --iidfile) id=$word ;; --file) file=$word ;; esac; before=$word; folder=$word; done
    if grep -q fail "$file"; then echo "step 1" >&2; echo "https://ann:s3cret@example.com refuses" >&2; exit 125; fi
    case $* in *--no-cache*) wc -l <"{log}" >"$folder/../packages" ;; esac
    cat "$folder/VERSION" "$folder/../packages" 2>/dev/null | tr -d '\\n' >"$id" ;;
save)
    for word; do case $before in --output) to=$word ;; esac; before=$word; image=$word; done
    cp "{archives}/$image.tar" "$to" ;;
esac
"""


class Bench:
    """A source with a Containerfile, and an engine that only notes what it is asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        self.source = folder / "shop"
        self.source.mkdir()
        (self.source / "Containerfile").write_text("FROM scratch\n")
        self.bin, self.archives = folder / "bin", folder / "archives"
        for one in (self.bin, self.archives):
            one.mkdir()
        self.change("1")
        self.engine("podman")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # Engines of this machine are no part of the test.
        monkeypatch.setattr(builds.shutil, "which", lambda name: self.which(name))

    def which(self, name: str) -> str | None:
        path = self.bin / name
        return str(path) if path.exists() else None

    def engine(self, name: str, works: int = 0) -> None:
        path = self.bin / name
        path.write_text(ENGINE.format(log=self.log, works=works, archives=self.archives))
        path.chmod(0o755)

    def change(self, version: str, name: str = "VERSION") -> None:
        (self.source / name).write_text(version)
        self.image(version)

    def image(self, version: str) -> None:
        content = [("app/version", version.encode(), 0o644)]
        docker_archive(self.archives / f"{version}.tar", [PYTHON, content])

    def given(self, **more: Any) -> dict[str, Any]:
        return {"path": str(self.source), "containerfile": "Containerfile", **more}

    def pin(self, renews: str = "", **more: Any) -> str:
        run = builds.RunOfBuilds(renews or more.pop("run", ""), bool(renews), more.pop("is_check", False))
        return pin(self.given(**more), [], run)["digest"]

    def asked(self) -> list[str]:
        """The commands since the last call, without those that ask whether the engine works."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[1] for line in lines if " info" not in line]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_run_builds_once_and_the_next_one_not_at_all(bench: Bench) -> None:
    found = pin(bench.given(), [])
    assert found["architectures"] == ARCHITECTURE
    assert bench.asked() == ["build", "save"]
    assert pin(bench.given(), []) == found
    origin = origin_of({**bench.given(), **found}, [])
    assert bench.asked() == []
    assert origin.file
    assert origin.description == {
        "kind": "image",
        "subdir": "",
        "image": "shop",
        "archive": True,
        "digest": found["digest"],
        "revision": f"shop {found['digest'][7:19]}",
    }


def test_any_change_in_the_folder_is_built_and_an_equal_image_is_not_saved(bench: Bench) -> None:
    (bench.source / ".gitignore").write_text("dist\n")
    first = bench.pin()
    bench.asked()
    # The engine decides whether a file matters, also one that git leaves out.
    (bench.source / "dist").mkdir()
    assert bench.pin() == first
    assert bench.asked() == ["build"]
    bench.change("2")
    second = bench.pin()
    assert second != first
    assert bench.asked() == ["build", "save"]
    # A file that keeps its size and its time.
    times = (bench.source / "VERSION").stat()
    bench.change("3")
    os.utime(bench.source / "VERSION", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert bench.pin() not in (first, second)


def test_an_upgrade_builds_with_a_new_base_once_for_all_hosts_of_a_run(bench: Bench) -> None:
    first = bench.pin()
    for number in range(9):
        bench.image(f"1{number}")
    upgraded = bench.pin("run 1")
    lines = bench.log.read_text()
    assert "--pull=newer --no-cache" in lines
    assert upgraded != first
    bench.asked()
    # Another host of this run, and the next run without an upgrade.
    assert [bench.pin("run 1"), bench.pin()] == [upgraded, upgraded]
    assert bench.asked() == []
    bench.pin("run 2")
    assert bench.asked() == ["build", "save"]


def test_hosts_that_ask_at_the_same_time_wait_for_one_build(bench: Bench) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(bench.pin())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({*found}) == 1
    assert bench.asked() == ["build", "save"]


def git(bench: Bench, *words: str) -> None:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *settings, *words], cwd=bench.source, check=True, capture_output=True)


def commit(bench: Bench, text: str, version: str = "1") -> None:
    bench.change(version)
    git(bench, "init", "-q", "-b", "main")
    git(bench, "add", ".")
    git(bench, "commit", "-qm", text)


def test_a_repository_is_built_at_its_commit(bench: Bench) -> None:
    commit(bench, "one")
    given = {"git": f"file://{bench.source}", "containerfile": "Containerfile", "version": "main"}
    found = pin(given, [])
    assert re.fullmatch("[0-9a-f]{40}", found["commit"])
    origin = origin_of({**given, **found}, [])
    assert (origin.description["image"], origin.description["digest"]) == ("shop", found["digest"])
    assert origin.description["revision"] == f"{found['commit'][:12]} {found['digest'][7:19]}"
    bench.asked()
    # Another branch has its own image, so that both can be deployed by one run.
    git(bench, "checkout", "-qb", "other")
    bench.change("2")
    git(bench, "commit", "-qam", "two")
    other = pin({**given, "version": "other"}, [])
    assert other["digest"] != found["digest"]
    assert pin(given, []) == found
    assert bench.asked() == ["build", "save"]


def test_a_run_deploys_the_image_of_its_first_host_although_others_were_built_meanwhile(bench: Bench) -> None:
    found = pin(bench.given(), [])
    first = origin_of({**bench.given(), **found}, [])
    assert first.file
    content = first.file.read_bytes()
    for version in ("2", "3"):
        bench.change(version)
        assert bench.pin() != found["digest"]
    again = origin_of({**bench.given(), **found}, [])
    assert again.file
    assert (again.description, again.file.read_bytes()) == (first.description, content)
    # The controller keeps three.
    bench.change("4")
    bench.pin()
    with pytest.raises(SourceError, match="other runs have built other images of 'shop'"):
        origin_of({**bench.given(), **found}, [])
    (place,) = (bench.folder / "cache/pyweb.stack/builds").iterdir()
    assert len(list(place.glob("*.tar"))) == 3


def test_a_build_that_was_killed_or_damaged_is_repeated(bench: Bench) -> None:
    first = bench.pin()
    bench.asked()
    (place,) = (bench.folder / "cache/pyweb.stack/builds").iterdir()
    (archive,) = place.glob("*.tar")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-512])
    (place / "building-x").mkdir()
    (place / "building-x/image.tar").write_bytes(b"x")
    assert bench.pin() == first
    assert archive.read_bytes() == whole
    (place / "built.json").write_text("{")
    assert bench.pin() == first
    assert bench.asked() == ["build", "save"] * 2
    assert {one.name for one in place.iterdir()} == {"lock", "built.json", archive.name}


def test_a_check_run_with_an_upgrade_changes_no_later_run(bench: Bench) -> None:
    first = bench.pin()
    for number in range(9):
        bench.image(f"1{number}")
    assert bench.pin("check", is_check=True) != first
    assert bench.pin() == first


def test_a_build_that_fails_is_tried_once_by_all_hosts_of_a_run(bench: Bench) -> None:
    failing(bench)
    messages = []
    for run in ("one", "one", "two"):
        with pytest.raises(SourceError) as error:
            bench.pin(run=run)
        messages.append(str(error.value))
    assert len({*messages}) == 1
    assert bench.asked() == ["build", "build"]


def test_a_cache_that_cannot_be_written_is_named(bench: Bench) -> None:
    (bench.folder / "cache/pyweb.stack").mkdir(parents=True)
    (bench.folder / "cache/pyweb.stack/builds").write_text("")
    with pytest.raises(SourceError, match=r"the folder of the controller for images, .*/builds/.*, can't be used"):
        bench.pin()


def test_the_name_of_an_image_has_nothing_of_an_address_but_its_path() -> None:
    given = {"git": "https://example.com/team/shop.git?private_token=abc", "containerfile": "x", "commit": "c" * 40}
    order = builds.order_of(given, [])
    assert (order.name, "abc" in order.tag) == ("shop", False)


def test_images_that_no_run_asks_for_are_removed(bench: Bench) -> None:
    bench.pin()
    (old,) = (bench.folder / "cache/pyweb.stack/builds").iterdir()
    long_ago = time.time() - 31 * 86400
    os.utime(old / "lock", (long_ago, long_ago))
    (bench.source / "web").mkdir()
    for name in ("Containerfile", "VERSION"):
        (bench.source / "web" / name).write_text((bench.source / name).read_text())
    bench.pin(context="web")
    assert not old.exists()


def broken_folder(bench: Bench) -> None:
    (bench.source / "Containerfile").unlink()


def linked(bench: Bench) -> None:
    broken_folder(bench)
    (bench.source / "Containerfile").symlink_to("/etc/passwd")


def failing(bench: Bench) -> None:
    (bench.source / "Containerfile").write_text("RUN fail\n")


def no_engine(bench: Bench) -> None:
    (bench.bin / "podman").unlink()


def no_working_engine(bench: Bench) -> None:
    bench.engine("podman", 125)


REFUSED: list[tuple[Callable[[Bench], None], dict[str, Any], str]] = [
    (broken_folder, {}, r"containerfile 'Containerfile' is no file of source\.path '.*shop'"),
    (linked, {}, r"containerfile 'Containerfile' is no file of source\.path"),
    (
        failing,
        {},
        r"building Containerfile of 'shop' failed\. .* podman says: step 1 https://\*\*\*@example.com refuses",
    ),
    (no_engine, {}, "needs a container engine on the controller: podman or docker. Install one"),
    (no_working_engine, {}, "needs a container engine on the controller, but none works. podman says"),
    (lambda _bench: None, {"context": "web"}, r"source\.context: .* has no folder 'web'"),
    (lambda _bench: None, {"path": "/nowhere"}, "'/nowhere' does not exist"),
]


@pytest.mark.parametrize(("breaks", "changes", "says"), REFUSED, ids=range(len(REFUSED)))
def test_a_build_that_fails_is_explained(
    bench: Bench, breaks: Callable[[Bench], None], changes: dict[str, Any], says: str
) -> None:
    breaks(bench)
    with pytest.raises(SourceError, match=says) as error:
        bench.pin(**changes)
    assert "s3cret" not in str(error.value)


def test_the_image_that_was_built_before_is_kept_when_a_build_fails(bench: Bench) -> None:
    first = bench.pin()
    failing(bench)
    with pytest.raises(SourceError):
        bench.pin()
    (bench.source / "Containerfile").write_text("FROM scratch\n")
    bench.asked()
    assert bench.pin() == first
    assert bench.asked() == ["build"]


def test_the_next_engine_is_used_if_the_first_one_does_not_work(bench: Bench) -> None:
    bench.engine("podman", 1)
    bench.engine("docker")
    bench.pin(platform="linux/arm64")
    lines = [line for line in bench.log.read_text().splitlines() if " build " in line]
    assert len(lines) == 1
    assert "/docker build " in lines[0]
    assert "--platform linux/arm64" in lines[0]
    assert re.search(r"--tag localhost/pyweb-stack/shop:[0-9a-f]{16} ", lines[0])


# An image for code that is not in it


def test_the_code_of_a_folder_runs_in_an_image_that_is_built_for_it(bench: Bench) -> None:
    (app,) = applications([{**BOXED, "source": {"path": str(bench.source)}}])
    found = pin(source_of(app), [])
    assert found["architectures"] == ARCHITECTURE
    (item,) = releases([app], {**GOOD, "sources": {"shop": found}})
    assert item["server_packages"] == []
    assert containers.packages_of_containers([app]) == []
    origin = origin_of(item["source"], [])
    assert bench.asked() == ["build", "save"]
    assert origin.pack
    assert origin.image
    image = origin.description["environment"]
    assert (origin.description["kind"], image["kind"], image["archive"]) == ("path", "image", True)
    assert image["digest"] == found["environment_digest"]
    # A host asks for the image, and gets it beside the source.
    part = with_sources(Part("webapp", {"apps": [item]}), {"shop": origin})
    loaded = Shipment({"shop": origin}).load(part).inputs["apps"][0]["source"]
    assert (loaded["wanted"], loaded["environment"]["wanted"]) == (False, True)
    (sent,) = uploaded(Part("webapp", {"apps": [{"name": "shop", "source": loaded}]}), {}, {"shop": "/x.tar"}).inputs[
        "apps"
    ]
    assert (sent["source"]["environment"]["wanted"], sent["source"]["environment"]["upload"]) == (False, "/x.tar")


def test_another_image_is_another_release_and_other_code_is_not_another_image(bench: Bench) -> None:
    (app,) = applications([{**BOXED, "source": {"path": str(bench.source)}}])

    def identity() -> tuple[str, list[Any]]:
        (item,) = releases([app], {**GOOD, "sources": {"shop": pin(source_of(app), [])}})
        description = origin_of(item["source"], []).description
        return description["digest"], image_of(item["container"], description)

    first = identity()
    (bench.source / "shop.py").write_text("app = 2\n")
    second = identity()
    assert (first[0] != second[0], first[1] == second[1]) == (True, True)
    bench.change("2")
    assert identity()[1] != first[1]


def test_the_code_of_a_repository_runs_in_an_image_of_the_same_commit(bench: Bench) -> None:
    commit(bench, "one")
    (app,) = applications([{**BOXED, "source": {"git": f"file://{bench.source}", "version": "main"}}])
    found = pin(source_of(app), [])
    commit(bench, "two", "2")
    (item,) = releases([app], {**GOOD, "sources": {"shop": found}})
    description = origin_of(item["source"], []).description
    assert description["revision"] == found["commit"]
    assert description["environment"]["revision"].startswith(found["commit"][:12])
    assert description["environment"]["digest"] == found["environment_digest"]


def test_a_context_that_a_link_leads_out_of_the_source_is_refused(bench: Bench) -> None:
    (bench.source / "web").symlink_to("/etc")
    with pytest.raises(SourceError, match=r"source\.context: .* has no folder 'web'"):
        bench.pin(context="web")


STAGES = """# A comment
FROM base AS one
RUN cat <<EOF
FROM nothing
EOF
RUN echo `date`
from base \\
  # in between
  AS two
COPY --from=one /x /x
"""


def test_each_stage_of_an_upgraded_image_begins_with_a_label(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(STAGES)
    (tmp_path / "Containerfile.dockerignore").write_text("secret")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    copy = builds.with_label(tmp_path / "Containerfile", scratch, "run")
    label = "LABEL pyweb.stack.upgraded=run"
    wanted = STAGES.replace("AS one\n", f"AS one\n{label}\n").replace("AS two\n", f"AS two\n{label}\n")
    assert copy.read_text() == wanted
    assert (scratch / "Containerfile.dockerignore").read_text() == "secret"
