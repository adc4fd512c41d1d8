# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The module systemd_services as a whole, with a fake systemd."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.processes import systemd
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_plan import ServiceError

pytestmark = [
    pytest.mark.usefixtures("clock"),
    pytest.mark.skipif(os.geteuid() != 0, reason="unit files belong to root"),
]
CONTENT = f"# {MARK} (role systemd).\n[Service]\nExecStart=/bin/w\n"
INSTANCE = "shop@20261121T010735Z-ab12cd34.service"


class PaperSystemd:
    """Answers like systemctl, and records running units, enabled units and all commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units: dict[str, dict[str, str]] = {}
        self.told: list[str] = []
        self.finding = ""  # of systemd-analyze
        self.crashes = False
        self.refuses = False
        self.output = "no database\n"  # of the unit's own processes

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "systemd-analyze":
            return bool(self.finding), "", self.finding
        if "journalctl" in argv:
            own = any(word.startswith("_SYSTEMD_UNIT=") for word in argv)
            return 0, self.output if own else "Failed at step NAMESPACE spawning /bin/w\n", ""
        verb, units = argv[1], [word for word in argv[2:] if not word.startswith("-")]
        if verb == "show":
            return 0, "\n\n".join(self.shown(pattern) for pattern in units), ""
        files = sorted(path.name for path in self.folder.iterdir() if path.is_file())
        self.told.append(f"{verb} {' '.join(units)} with {' '.join(files)}".replace("  ", " "))
        if self.refuses:
            return 1, "", "Job for w.service failed.\nSee systemctl status.\n"
        states = {"start": "active", "restart": "active", "stop": "inactive"}
        for unit in units:
            state = self.units.setdefault(unit, {})
            if verb in states:
                state["ActiveState"] = "failed" if self.crashes else states[verb]
            elif verb == "enable":
                state["UnitFileState"] = "enabled"
        return 0, "", ""

    def shown(self, pattern: str) -> str:
        found = fnmatch.filter(self.units, pattern) or ([] if "*" in pattern else [pattern])
        blocks = []
        for unit in found:
            state = {"Id": unit, "ActiveState": "inactive", "UnitFileState": "", **self.units.get(unit, {})}
            blocks.append("\n".join(f"{key}={value}" for key, value in state.items()))
        return "\n\n".join(blocks)

    def apply(self, *services: dict[str, Any], check: bool = False) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return systemd.apply(
            {"services": list(services), "unit_directory": str(self.folder)}, self.run, check_mode=check
        )


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PaperSystemd:
    (tmp_path / "run").mkdir()
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(systemd, "RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(systemd, "WATCH_SECONDS", 0.1)
    return PaperSystemd(tmp_path / "units")


def service(name: str, **more: Any) -> dict[str, Any]:
    usual = {"state": "present", "content": CONTENT, "started": True, "enabled": True, "triggered": False}
    return {"name": name, **usual, **more}


def absent(name: str) -> dict[str, Any]:
    return service(name, state="absent", content=None)


def test_check_run_check_run_predicts_acts_and_rests(paper: PaperSystemd) -> None:
    wanted = [service("w"), service("shop@")]
    results = []
    for check in (True, False, True, False):
        before = list(paper.told)
        result, _seen = paper.apply(*wanted, check=check)
        results.append(result)
        assert not check or paper.told == before
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0] == results[1]
    assert results[1]["started"] == results[1]["enabled"] == ["w.service"]
    assert len(results[1]["diff"]) == 2


def test_files_are_read_before_anything_starts(paper: PaperSystemd) -> None:
    paper.apply(service("w"))
    files = "with w.service"
    assert paper.told == [f"daemon-reload {files}", f"enable w.service {files}", f"start w.service {files}"]


def test_instances_stop_before_their_template_goes(paper: PaperSystemd) -> None:
    paper.apply(service("shop@"))
    paper.units[INSTANCE] = {"ActiveState": "active"}
    paper.told.clear()
    result, _seen = paper.apply(absent("shop@"))
    assert paper.told == [f"stop {INSTANCE} with shop@.service", "daemon-reload with "]
    assert result["stopped"] == [INSTANCE]


def test_witnesses_vouch_for_templates_and_what_is_absent(paper: PaperSystemd) -> None:
    wanted = [service("shop@"), absent("old@"), service("job", triggered=True)]
    for _run in range(2):
        _result, seen = paper.apply(*wanted)
        assert seen
        assert stamps.holds({**seen, "until": None})
    (paper.folder / "shop@.service.d").mkdir()
    (paper.folder / "shop@.service.d/50-local.conf").touch()
    (paper.folder / "shop@.service.d/own.conf").touch()
    assert not stamps.holds({**seen, "until": None})


def test_nothing_vouches_for_a_prediction_or_an_ordinary_service(paper: PaperSystemd) -> None:
    assert paper.apply(service("shop@"), check=True)[1] is None
    assert paper.apply(service("w"))[1] is None


def test_nothing_vouches_for_a_host_that_is_still_not_as_wanted(paper: PaperSystemd) -> None:
    paper.units[INSTANCE] = {"ActiveState": "active", "NeedDaemonReload": "yes"}
    result, seen = paper.apply(service("shop@"))
    assert result["reloaded"]
    assert seen is None


def test_foreign_file_that_was_to_be_removed_is_told_and_left(paper: PaperSystemd) -> None:
    (paper.folder / "w.service").write_text("[Service]\n")
    result, seen = paper.apply(absent("w"))
    assert not result["changed"]
    assert "w.service does not carry the mark" in result["warnings"][0]
    assert seen is None


def test_refused_unit_is_an_error_and_in_check_mode_a_warning(paper: PaperSystemd) -> None:
    paper.finding = "w.service:3: nonsense\nUnit w.service has a bad unit file setting.\n"
    result, _seen = paper.apply(service("w"), check=True)
    assert "nonsense" in result["warnings"][0]
    with pytest.raises(ServiceError, match="nonsense"):
        paper.apply(service("w"))
    assert not list(paper.folder.iterdir())
    assert not paper.told


def test_failed_start_tells_the_last_output(paper: PaperSystemd) -> None:
    (paper.folder / "w.service").write_text(CONTENT)
    paper.units["w.service"] = {"UnitFileState": "enabled"}
    paper.refuses = True
    with pytest.raises(ServiceError, match=r"Starting w\.service failed: Job for .* Its last output: no database\."):
        paper.apply(service("w"))


def test_service_that_exits_at_once_is_an_error(paper: PaperSystemd) -> None:
    paper.crashes = True
    with pytest.raises(ServiceError, match=r"Starting w\.service: it exited at once .*no database"):
        paper.apply(service("w"))


def test_a_service_that_writes_nothing_is_explained_by_systemd(paper: PaperSystemd) -> None:
    paper.crashes, paper.output = True, ""
    with pytest.raises(ServiceError, match="Its last output: Failed at step NAMESPACE"):
        paper.apply(service("w"))


def test_host_without_systemd_is_told_the_other_role(paper: PaperSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "RUNTIME_DIRECTORY", str(paper.folder / "missing"))
    with pytest.raises(ServiceError, match=r"not PID 1 .*Use the supervisor role"):
        paper.apply(service("w"))
