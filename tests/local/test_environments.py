# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An environment that is no longer as it was installed: noticed before it is used again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import choose_intact
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import (
    CONTENTS,
    Fault,
    fault_in,
    fault_of,
    record_contents,
    runnable,
    witness_paths,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Manifest,
    manifests,
    write_manifest,
)
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, ID, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

LAST = "20261122T010203Z-ab12cd34"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
FINGERPRINT = {"code": "code"}


class Shop:
    """An application with one live release, whose environment has one package."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.layout = bench, bench.layout
        wheel(bench.folder, "helper", "1.0", "WORD = 'hello'\n")
        self.wheel = bench.folder / "helper-1.0-py3-none-any.whl"
        os.chmod(bench.folder, 0o755)
        bench.build({"app.py": APP}, **self.given)
        self.accept(ID)
        os.symlink(os.path.join("releases", ID), self.layout.current)

    @property
    def given(self) -> dict[str, Any]:
        return {"python": {"interpreter": None, "packages": [f"helper @ file://{self.wheel}"]}}

    def accept(self, identity: str) -> None:
        (manifest,) = [one for one in manifests(self.layout) if one.id == identity]
        manifest.state, manifest.fingerprint = GOOD, FINGERPRINT
        write_manifest(self.layout, manifest)

    @property
    def manifest(self) -> Manifest:
        return next(one for one in manifests(self.layout) if one.id == ID)

    @property
    def venv(self) -> Path:
        return Path(self.layout.venvs, self.manifest.venv)

    @property
    def packages(self) -> Path:
        return next(self.venv.glob("lib/python3.*/site-packages"))

    def fault(self, is_quick: bool = False) -> Fault | None:
        return fault_of(self.layout, self.manifest, is_quick)

    def witnesses(self) -> dict[str, Any]:
        return stamps.witnesses(witness_paths(self.layout, self.manifest))


@pytest.fixture
def shop(bench: Bench) -> Shop:
    return Shop(bench)


def other_interpreter(shop: Shop, version: str) -> None:
    """Let the environment use a program that has the name of another version, as after an upgrade of the system."""
    program = shop.bench.folder / f"python{version}"
    program.symlink_to("/usr/bin/python3") if version == MINOR else shutil.copy("/bin/true", program)
    os.unlink(shop.venv / "bin" / "python")
    (shop.venv / "bin" / "python").symlink_to(program)


def lose_interpreter(shop: Shop) -> None:
    os.unlink(shop.venv / "bin" / "python")
    (shop.venv / "bin" / "python").symlink_to("/usr/bin/python3.0")


def remove_package(shop: Shop) -> None:
    os.unlink(shop.packages / "helper.py")
    shutil.rmtree(shop.packages / "helper-1.0.dist-info")


def add_package(shop: Shop) -> None:
    (shop.packages / "debugger").mkdir()
    (shop.packages / "debugger" / "__init__.py").write_text("")


def change_package(shop: Shop) -> None:
    (shop.packages / "helper.py").write_text("WORD = 'other'\n")


# Each with words of the message, whether a release can't run in it, and whether the quick check finds it.
CHANGES: dict[str, tuple[Callable[[Shop], Any], str, bool, bool]] = {
    "its interpreter is gone": (lose_interpreter, "the interpreter /usr/bin/python3.0 of the environment", True, True),
    "its interpreter is another": (
        lambda shop: other_interpreter(shop, "3.99"),
        f"is Python 3.99 now, but the environment {{venv}} was made for Python {MINOR}, before an upgrade",
        True,
        True,
    ),
    "a package is gone": (remove_package, "(removed: helper", True, True),
    "a package is new": (add_package, "(added: debugger)", False, True),
    "a package is another": (change_package, "(changed: helper.py)", False, False),
    "the mark is gone": (lambda shop: os.unlink(shop.venv / ".complete"), "is gone", True, True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed(shop: Shop, name: str) -> None:
    change, words, stops, is_quick = CHANGES[name]
    assert shop.fault() is None
    assert shop.fault(is_quick=True) is None
    before = shop.witnesses()
    change(shop)
    fault = shop.fault()
    assert fault is not None
    assert words.format(venv=shop.venv) in fault.text
    assert fault.stops == stops
    assert (shop.fault(is_quick=True) is not None) == is_quick
    # The mark is a witness of its own.
    assert (shop.witnesses() != before) == (is_quick and name != "the mark is gone")


@pytest.mark.parametrize("name", ["its interpreter is gone", "a package is gone", "its interpreter is another"])
def test_an_environment_of_an_earlier_version_is_checked_too(shop: Shop, name: str) -> None:
    os.unlink(shop.venv / CONTENTS)
    assert shop.fault() is None
    if name == "a package is gone":
        os.unlink(shop.packages / "helper.py")
    else:
        CHANGES[name][0](shop)
    fault = shop.fault()
    assert fault is not None
    assert fault.stops


def test_an_environment_of_another_implementation_is_intact(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pypy3.10").touch()
    (tmp_path / "bin" / "python").symlink_to("pypy3.10")
    (tmp_path / "lib" / "pypy3.10" / "site-packages").mkdir(parents=True)
    record_contents(str(tmp_path))
    assert fault_in(str(tmp_path), "/srv/webapps") is None


def test_a_cache_of_the_interpreter_is_no_change(shop: Shop) -> None:
    (shop.packages / "__pycache__").mkdir(exist_ok=True)
    (shop.packages / "__pycache__" / "helper.cpython-399.pyc").write_text("")
    assert shop.fault() is None
    assert shop.fault(is_quick=True) is None


def test_another_patch_level_is_no_change(shop: Shop) -> None:
    other_interpreter(shop, MINOR)
    fault = shop.fault(is_quick=True)
    assert fault is None


# The next run


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if change[3]])
def test_the_live_release_is_built_anew(shop: Shop, name: str) -> None:
    CHANGES[name][0](shop)
    notes: list[str] = []
    chosen = choose_intact(shop.layout, {"notes": notes}, FINGERPRINT, manifests(shop.layout))
    assert chosen == ("build", None, ["environment"])
    assert len(notes) == 1
    assert notes[0].endswith("A new environment replaces it.")


def test_an_intact_release_stays(shop: Shop) -> None:
    assert choose_intact(shop.layout, {"notes": []}, FINGERPRINT, manifests(shop.layout)) == ("none", None, [])


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "the mark is gone"])
def test_new_code_is_not_built_on_a_broken_environment(shop: Shop, name: str) -> None:
    broken = shop.venv
    CHANGES[name][0](shop)
    shop.bench.build({"app.py": f"import helper\n{APP}"}, LAST, **shop.given)
    (new,) = {one.venv for one in manifests(shop.layout)} - {broken.name}
    assert broken.exists(), "it serves until the new one is live"
    assert fault_in(os.path.join(shop.layout.venvs, new), shop.layout.root) is None
    assert shop.bench.run("python", "-c", "import helper; print(helper.WORD)", identity=LAST) == "hello\n"


def test_an_intact_environment_is_used_again(shop: Shop) -> None:
    shop.bench.build({"app.py": f"import helper\n{APP}"}, LAST, **shop.given)
    assert len({one.venv for one in manifests(shop.layout)}) == 1


def test_releases_that_can_run_are_listed_for_a_rollback(shop: Shop) -> None:
    assert runnable(shop.layout, None) == [ID]
    add_package(shop)
    assert runnable(shop.layout, None) == [ID]
    lose_interpreter(shop)
    assert runnable(shop.layout, None) == []


# The time of a second run


def test_the_witnesses_of_an_environment_take_no_time(shop: Shop) -> None:
    best = min(timed(shop.witnesses) for _attempt in range(5))
    assert best < 0.02


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
