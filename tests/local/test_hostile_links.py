# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of a hostile source, which an account exchanges while root works: root never follows one out of the source."""

from __future__ import annotations

import base64
import io
import os
import pwd
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import builder, shared
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import Untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import give_to, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of
from hostile_account import Attacker, needs_root

from local import test_building as builds
from local.test_building import APP, ID, NAME, Bench

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv


# On the controller

OUTWARD = {
    "an absolute path": ("secret", "/etc/shadow"),
    "a folder above": ("deep/secret", "../../secret"),
    "another link": ("secret", "deep/up/../secret"),
}


def source_of(folder: Path, kind: str, files: dict[str, str], links: dict[str, str]) -> dict[str, Any]:
    """A source of any kind with these files and links, as in an inventory."""
    tree = folder / "tree"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name, target in links.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(target)
    if kind == "git":
        author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        for command in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-qm", "x"]):
            subprocess.run(["git", *command], cwd=tree, check=True)
        return {"git": str(tree), "version": "main"}
    if kind == "archive":
        with tarfile.open(folder / "source.tar", "w") as tar:
            tar.add(tree, "shop")
        return {"archive": str(folder / "source.tar")}
    return {"path": str(tree)}


def packed(source: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    origin = origin_of(source, [])
    assert origin.pack is not None
    return origin.description, origin.pack()


@pytest.mark.attack("21", "A repository, a folder or an archive has a link to a file of the host")
@pytest.mark.parametrize("kind", ["git", "path", "archive"])
@pytest.mark.parametrize("way", OUTWARD)
def test_no_source_with_a_link_out_of_it_is_sent(
    kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name, target = OUTWARD[way]
    source = source_of(tmp_path, kind, {"app.py": APP}, {"deep/up": "..", name: target})
    place = rf"link '(shop/)?{re.escape(name)}', which leads to '{re.escape(target)}', outside of the source"
    with pytest.raises(SourceError, match=place):
        packed(source)


@needs_root
@pytest.mark.parametrize("kind", ["git", "path", "archive"])
def test_links_inside_of_a_source_work(
    bench: Bench, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"services/web/app.py": APP, "services/web/assets/x": "x"}
    links = {"backend": "services/web", "services/web/static/x": "../assets/x", "services/web/data": "assets"}
    source = source_of(tmp_path, kind, files, links)
    description, data = packed({**source, "subdir": "backend"})
    spec = bench.spec({}, shared=["data", "static/uploads"])
    spec["source"] = {**description, "data": base64.b64encode(data).decode()}
    bench.build_spec(spec)
    assert bench.run("pwd").endswith("/src/services/web\n")
    assert bench.run("cat", "static/x") == "x"
    assert bench.run("readlink", "data") == f"{bench.layout.shared}/data\n"


# On the host: with archives as a controller that does not check them would send them


class Stage:
    """A folder of root, and a link in the application's own folder that leads into the source, until it is exchanged.

    The application exchanges it after root has checked everything. So whatever root follows then leads to the victim.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.victim = bench.folder / "victim"
        (self.victim / "uploads").mkdir(parents=True)
        (self.victim / "uploads/invoice.pdf").write_text("the only copy")
        self.link = Path(bench.layout.shared) / "d"
        self.point(Path(bench.layout.release(ID)) / "src/real")

    def point(self, target: Path) -> None:
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(target)
        owner = pwd.getpwnam(NAME)
        os.chown(self.link, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def exchange_in(self, monkeypatch: pytest.MonkeyPatch, module: Any, step: str) -> None:
        """Exchange the link before a step of the build."""
        real: Callable[..., Any] = getattr(module, step)

        def exchanged(*arguments: Any) -> Any:
            self.point(self.victim)
            return real(*arguments)

        monkeypatch.setattr(module, step, exchanged)

    def build(self, links: dict[str, str], subdir: str = "", **changes: Any) -> str:
        """Build a release from a source with links; return the error."""
        files = {"app.py": APP, "real/app.py": APP, "real/uploads/x": "x"}
        spec = self.bench.spec({}, **changes)
        spec["source"] = {"kind": "git", "subdir": subdir, "data": tar_of(files, links)}
        with pytest.raises(ReleaseError) as caught:
            self.bench.build_spec(spec)
        return str(caught.value)

    def is_untouched(self) -> bool:
        paths = (self.victim, *self.victim.rglob("*"))
        return (
            {path.lstat().st_uid for path in paths} == {0}
            and sorted(path.name for path in paths) == ["invoice.pdf", "uploads", "victim"]
            and not (self.victim / "uploads").is_symlink()
        )


def tar_of(files: dict[str, str], links: dict[str, str]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return base64.b64encode(buffer.getvalue()).decode()


COMMAND = "echo '* * * * * root id' >pwned"


@needs_root
@pytest.mark.attack("21", "The application root is a link to a folder of the application, which then leads to root's")
@pytest.mark.parametrize("commands", [[COMMAND], []], ids=["build command", "shared folder"])
def test_the_application_root_is_never_outside(
    bench: Bench, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(bench)
    stage.exchange_in(monkeypatch, builder, "provide_environment")
    options = {"build_commands": commands} if commands else {"shared": ["uploads"]}
    message = stage.build({"backend": str(stage.link)}, subdir="backend", **options)
    assert f"the source has the link 'backend', which leads to '{stage.link}', outside of the source" in message
    assert stage.is_untouched()


@needs_root
@pytest.mark.attack("21", "A folder above a shared one is a link to a folder of the application, which leads to root's")
def test_the_parent_of_a_shared_folder_is_never_outside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(bench)
    stage.exchange_in(monkeypatch, shared, "seed")
    message = stage.build({"static": str(stage.link)}, shared=["static/uploads"])
    assert "the source has the link 'static', which leads to" in message
    assert stage.is_untouched()


@needs_root
@pytest.mark.attack("21", "A folder above a shared one becomes a link after the source was checked")
def test_root_opens_the_parents_of_a_shared_folder_without_links(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a link got into the source, as by a fault of another part."""
    stage = Stage(bench)
    place = Path(bench.layout.release(ID)) / "src/static"
    real = builder.link_shared
    monkeypatch.setattr(builder, "link_shared", lambda build: (place.symlink_to(stage.victim), real(build)))
    message = stage.build({}, shared=["static/uploads"])
    assert f"shared names 'static/uploads', but 'static' is a link, to '{stage.victim}'. Name the folder" in message
    assert stage.is_untouched()


@needs_root
def test_a_link_above_a_shared_folder_is_told_with_its_target(bench: Bench) -> None:
    message = Stage(bench).build({"static": "real"}, shared=["static/uploads"])
    assert (
        "shared names 'static/uploads', but 'static' is a link, to 'real'. Name the folder that it leads to" in message
    )


@needs_root
@pytest.mark.attack("21", "The archive that a host gets has a member through a link, above the source, or a device")
@pytest.mark.parametrize(
    ("files", "links", "words"),
    [
        ({"d/x": "x"}, {"d": "{victim}"}, "which leads to"),
        ({}, {"d": "real", "d/x": "y"}, "the source has the link 'd/x'"),
        ({"../../x": "x"}, {}, "which is no file, folder or link inside of it"),
        ({"/x": "x"}, {}, "which is no file, folder or link inside of it"),
        ({}, {"../x": "real"}, "which is no file, folder or link inside of it"),
    ],
)
def test_the_host_checks_an_archive_itself(
    bench: Bench, files: dict[str, str], links: dict[str, str], words: str
) -> None:
    stage = Stage(bench)
    spec = bench.spec({})
    targets = {name: target.format(victim=stage.victim) for name, target in links.items()}
    spec["source"] = {"kind": "git", "subdir": "", "data": tar_of({"app.py": APP, **files}, targets)}
    with pytest.raises(ReleaseError, match=words):
        bench.build_spec(spec)
    assert stage.is_untouched()
    assert not os.path.exists(bench.layout.release("x"))
    assert not os.path.lexists(os.path.join(bench.layout.releases, "x"))


# Owners


@needs_root
@pytest.mark.attack(
    "21", "The path to a folder that root gives away, or takes, leads through a link of the application"
)
@pytest.mark.parametrize("change", [lambda path: give_to(path, 65534, 65534), take_for_root], ids=["give", "take"])
def test_owners_change_behind_no_link_of_an_account(attacker: Attacker, change: Callable[[str], None]) -> None:
    base = attacker.folder.parent
    (base / "victim/src").mkdir(parents=True)
    (base / "victim/src/x").touch(mode=0o666)
    os.chmod(base / "victim/src/x", 0o666)
    attacker.run("os.symlink(sys.argv[1], 'd')", str(base / "victim"))
    (base / "way").symlink_to(attacker.folder / "d")
    with pytest.raises(Untrusted, match="'d' is a link in a folder that others than root can write"):
        change(str(base / "way/src"))
    status = (base / "victim/src/x").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o666)


@needs_root
def test_links_of_root_are_followed(attacker: Attacker) -> None:
    """As where /srv is a link to another disk."""
    base = attacker.folder.parent
    (base / "disk/apps").mkdir(parents=True)
    (base / "srv").symlink_to("disk")
    give_to(str(base / "srv/apps"), attacker.uid, attacker.gid)
    assert (base / "disk/apps").stat().st_uid == attacker.uid


def test_no_folder_is_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    top = os.open(tmp_path, trees.FOLDER)
    try:
        os.close(trees.open_below(top, ["a", "b"]))
        for names in (["link", "b"], ["link"], ["a", "c"]):
            with pytest.raises(OSError, match=r"link|c"):
                trees.open_below(top, names)
        os.close(trees.open_below(top, ["a", "new", "one"], create=True))
        assert (tmp_path / "a/new/one").is_dir()
    finally:
        os.close(top)
