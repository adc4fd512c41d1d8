# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Groups of programs against a real supervisord: a change to a group affects its programs and no others."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import exists, running_daemon
from supervising import Lab, both, needs_supervisord

pytestmark = needs_supervisord
CHANGED = "exec sleep 2000"


def group(name: str, *members: str, priority: int = 999) -> dict[str, Any]:
    content = f"; {MARK}\n[group:{name}]\nprograms={','.join(members)}\npriority={priority}\n"
    return {"kind": "group", "name": name, "members": list(members), "content": content}


def gone(name: str, kind: str = "group") -> dict[str, Any]:
    return {"kind": kind, "name": name, "state": "absent", "stop_timeout": 5}


def pids(lab: Lab, *names: str) -> list[int]:
    return [lab.pid(name) for name in names]


def agree(lab: Lab, *programs: dict[str, Any]) -> dict[str, Any]:
    """A run that makes the changes that check mode predicted, and a second run that changes nothing."""
    told = lab.run(*programs, check=True)
    done = lab.run(*programs)
    assert not done.get("failed"), done["msg"]
    for key in ("changed", "files", "started", "restarted", "stopped", "diff"):
        assert told[key] == done[key], key
    assert lab.run(*programs)["changed"] is False
    assert lab.rpc.reread() == ([], [], [])
    return done


def test_check_run_check_run_predicts_acts_and_rests(lab: Lab) -> None:
    wanted = [lab.program("one"), lab.program("two"), lab.program("alone"), group("mail", "one", "two")]
    assert both(lab, *wanted) == [True, True, False, False]
    assert all(pids(lab, "mail:one", "mail:two", "alone"))
    assert set(lab.rpc.infos()) == {"mail", "alone"}


def test_check_mode_predicts_on_a_host_without_supervisor(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.config.unlink()
    result = lab.run(lab.program("one"), group("mail", "one"), check=True)
    assert (result["started"], len(result["files"])) == (["mail:one"], 2)
    assert not os.listdir(tmp_path / "conf.d")


def test_programs_that_join_a_group_restart_and_no_others(lab: Lab) -> None:
    lab.own("mine")
    programs = [lab.program(name) for name in ("one", "two", "alone")]
    lab.run(*programs)
    before = pids(lab, "one", "two")
    still = pids(lab, "alone", "mine")
    done = agree(lab, *programs, group("mail", "one", "two"))
    assert (done["started"], done["restarted"], done["stopped"]) == ([], ["mail:one", "mail:two"], [])
    assert not any(map(exists, before))
    assert pids(lab, "alone", "mine") == still


def test_change_of_a_member_restarts_its_group_alone(lab: Lab) -> None:
    lab.own("mine")
    others = [lab.program(name) for name in ("two", "alone", "three")]
    groups = [group("mail", "one", "two"), group("other", "three")]
    lab.run(lab.program("one"), *others, *groups)
    before, still = pids(lab, "mail:one", "mail:two"), pids(lab, "alone", "mine", "other:three")
    assert agree(lab, lab.program("one", CHANGED), *others, *groups)["restarted"] == ["mail:one", "mail:two"]
    assert not any(map(exists, before))
    assert pids(lab, "alone", "mine", "other:three") == still


def test_change_of_a_program_outside_leaves_a_group_alone(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("alone"), group("mail", "one"))
    still = lab.pid("mail:one")
    assert agree(lab, lab.program("one"), lab.program("alone", CHANGED), group("mail", "one"))["restarted"] == ["alone"]
    assert lab.pid("mail:one") == still


def test_change_of_the_priority_restarts_the_group(lab: Lab) -> None:
    lab.run(lab.program("one"), group("mail", "one"))
    assert agree(lab, lab.program("one"), group("mail", "one", priority=5))["restarted"] == ["mail:one"]


def test_program_that_leaves_a_group_goes_on_alone(lab: Lab) -> None:
    programs = [lab.program(name) for name in ("one", "two", "alone")]
    lab.run(*programs, group("mail", "one", "two"))
    still = lab.pid("alone")
    done = agree(lab, *programs, group("mail", "one"))
    assert (sorted(done["restarted"]), done["stopped"]) == (["mail:one", "two"], [])
    assert all(pids(lab, "mail:one", "two"))
    assert lab.pid("alone") == still
    assert lab.rpc.info("mail:two") is None


def test_program_moves_between_groups_without_a_second_copy(lab: Lab) -> None:
    lock, second = lab.folder / "lock", lab.folder / "second"
    alone = lab.program("two", f"flock -n -o {lock} sleep 1000 || echo copy > {second}")
    programs = [lab.program("one"), alone, lab.program("three")]
    lab.run(*programs, group("a", "three"), group("b", "one", "two"))
    done = agree(lab, *programs, group("a", "three", "two"), group("b", "one"))
    assert sorted(done["restarted"]) == ["a:three", "a:two", "b:one"]
    assert all(pids(lab, "a:three", "a:two", "b:one"))
    assert not second.exists()


def test_removed_group_leaves_its_programs_as_they_would_be_without(lab: Lab) -> None:
    programs = [lab.program(name) for name in ("one", "two", "alone")]
    lab.run(*programs, group("mail", "one", "two"))
    before, still = pids(lab, "mail:one", "mail:two"), lab.pid("alone")
    done = agree(lab, *programs, gone("mail"))
    assert (done["restarted"], done["stopped"]) == (["one", "two"], ["mail"])
    assert not any(map(exists, before))
    assert all(pids(lab, "one", "two"))
    assert lab.pid("alone") == still


def test_group_goes_with_its_programs(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("alone"), group("mail", "one"))
    before, still = lab.pid("mail:one"), lab.pid("alone")
    done = agree(lab, gone("one", "program"), lab.program("alone"), gone("mail"))
    assert (done["restarted"], done["stopped"]) == ([], ["mail"])
    assert not exists(before)
    assert set(lab.rpc.infos()) == {"alone"}
    assert lab.pid("alone") == still


def test_removed_member_is_stopped_and_its_group_goes_on(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one", "two"))
    before = lab.pid("mail:two")
    done = agree(lab, lab.program("one"), gone("two", "program"), group("mail", "one"))
    assert (done["restarted"], done["stopped"]) == (["mail:one"], ["mail:two"])
    assert not exists(before)


def test_dropped_group_stays_as_it_is(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one", "two"))
    before = pids(lab, "mail:one", "mail:two")
    assert lab.run(lab.program("one"))["changed"] is False
    assert pids(lab, "mail:one", "mail:two") == before
    # A change of its programs is supervisor's to restart it for, as before.
    assert agree(lab, lab.program("one", CHANGED))["restarted"] == ["mail:one", "mail:two"]


def test_program_that_is_dropped_with_its_group_goes_on_alone(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one", "two"))
    lab.rpc.stop("mail", 5, {"two"})
    assert agree(lab, gone("mail"))["restarted"] == ["one"]
    assert lab.pid("one")
    assert lab.rpc.info("two")["statename"] == "STOPPED"


def test_unwanted_member_is_stopped_alone(lab: Lab) -> None:
    wanted = [lab.program("one"), lab.program("two", started=False), group("mail", "one", "two")]
    lab.run(*wanted[:1], lab.program("two"), wanted[2])
    still = lab.pid("mail:one")
    assert agree(lab, *wanted)["stopped"] == ["mail:two"]
    assert lab.pid("mail:one") == still
    # It does not return with its group either.
    assert agree(lab, lab.program("one", CHANGED), *wanted[1:])["restarted"] == ["mail:one"]
    assert pids(lab, "mail:two") == [0]


def test_stopped_member_is_started_again_and_the_other_left_alone(lab: Lab) -> None:
    wanted = [lab.program("one"), lab.program("two"), group("mail", "one", "two")]
    lab.run(*wanted)
    lab.rpc.stop("mail", 5, {"two"})
    still = lab.pid("mail:one")
    assert agree(lab, *wanted)["started"] == ["mail:two"]
    assert lab.pid("mail:one") == still


def test_processes_of_a_program_are_told_by_the_names_that_it_gives_them(lab: Lab) -> None:
    many = lab.program("many", started=False)
    many["content"] += "numprocs=2\nprocess_name=%(group_name)s-%(program_name)s_%(process_num)02d\n"
    wanted = [lab.program("one"), many, group("mail", "many", "one")]
    agree(lab, *wanted)
    states = {info["name"]: info["statename"] for info in lab.rpc.infos()["mail"]}
    assert states == {"one": "RUNNING", "mail-many_00": "STOPPED", "mail-many_01": "STOPPED"}
    assert agree(lab, wanted[0], {**many, "started": True}, wanted[2])["started"] == ["mail:many"]


@pytest.mark.parametrize("file", ["group@mail.conf", "one.conf"])
def test_restart_that_an_interrupted_run_owes_is_done(lab: Lab, file: str) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one"))
    wanted = [lab.program("one", CHANGED), lab.program("two"), group("mail", "one", "two")]
    before = lab.pid("two")
    # The run was killed after it wrote this file and before the daemon read it.
    content = wanted[2]["content"] if file.startswith("group") else wanted[0]["content"]
    (lab.folder / "conf.d" / file).write_text(content)
    assert agree(lab, *wanted)["restarted"] == ["mail:one", "mail:two"]
    assert not exists(before)


def test_join_that_an_interrupted_run_owes_is_done(lab: Lab) -> None:
    wanted = [lab.program("one"), group("mail", "one")]
    lab.run(wanted[0])
    before = lab.pid("one")
    (lab.folder / "conf.d" / "group@mail.conf").write_text(wanted[1]["content"])
    assert agree(lab, *wanted)["restarted"] == ["mail:one"]
    assert not exists(before)


def test_removal_that_an_interrupted_run_owes_is_done(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one"))
    for file in ("group@mail.conf", "two.conf"):
        (lab.folder / "conf.d" / file).unlink()
    before = pids(lab, "mail:one", "two")
    done = agree(lab, lab.program("one"), gone("two", "program"), gone("mail"))
    assert (done["restarted"], sorted(done["stopped"])) == (["one"], ["mail", "two"])
    assert not any(map(exists, before))


def test_program_that_does_not_stay_up_is_named_with_its_group(lab: Lab) -> None:
    lab.startsecs = 1
    result = lab.run(lab.program("one"), lab.program("two", "echo no database; exit 3"), group("mail", "one", "two"))
    assert "program mail:two" in result["msg"]
    assert "no database" in result["msg"]


def test_dead_daemon_comes_back_with_its_groups(lab: Lab) -> None:
    wanted = [lab.program("one"), lab.program("alone"), group("mail", "one")]
    lab.run(*wanted)
    before = pids(lab, "mail:one", "alone")
    os.kill(running_daemon(lab.daemon), signal.SIGKILL)
    assert wait_for(lambda: not running_daemon(lab.daemon), 20)
    assert lab.run(*wanted)["daemon_started"] is True
    assert not any(map(exists, before))
    assert all(pids(lab, "mail:one", "alone"))
    assert lab.run(*wanted)["changed"] is False


def test_group_that_supervisor_refuses_is_never_installed(lab: Lab) -> None:
    lab.run(lab.program("one"))
    still = lab.pid("one")
    result = lab.run(lab.program("one"), group("mail", "one", "nowhere"))
    assert "unknown program" in result["msg"]
    assert "nowhere" in result["msg"]
    assert os.listdir(lab.folder / "conf.d") == ["one.conf"]
    assert lab.pid("one") == still


# Files that stay unchanged, and conflicts with them


def refused(lab: Lab, *programs: dict[str, Any]) -> str:
    """The message of a run that has changed nothing."""
    before = {path: path.read_bytes() for path in (lab.folder / "conf.d").iterdir()}
    running = {(group, one["name"], one["pid"]) for group, infos in lab.rpc.infos().items() for one in infos}
    message = lab.run(*programs)["msg"]
    assert lab.run(*programs, check=True)["msg"] == message
    assert before == {path: path.read_bytes() for path in (lab.folder / "conf.d").iterdir()}
    assert running == {(group, one["name"], one["pid"]) for group, infos in lab.rpc.infos().items() for one in infos}
    return message


def test_group_of_the_users_own_is_undisturbed(lab: Lab) -> None:
    own = lab.folder / "conf.d" / "theirs.conf"
    own.write_text("[group:theirs]\nprograms=a,b\n[program:a]\ncommand=sleep 1000\n[program:b]\ncommand=sleep 1000\n")
    lab.run(lab.program("one"))
    still = pids(lab, "theirs:a", "theirs:b")
    assert all(still)
    own.write_text(own.read_text().replace("1000", "3000"))
    for wanted in ([group("mail", "one")], [group("mail", "one", priority=1)], [gone("mail")], [gone("theirs")]):
        lab.run(lab.program("one"), *wanted)
        assert pids(lab, "theirs:a", "theirs:b") == still
    assert own.exists()


def test_member_of_a_dropped_group_is_not_removed_from_under_it(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"), group("mail", "one", "two"))
    message = refused(lab, lab.program("one"), gone("two", "program"))
    assert "group:mail" in message
    assert "no longer in supervisor_groups" in message


def test_member_of_a_dropped_group_does_not_join_another(lab: Lab) -> None:
    lab.run(lab.program("one"), group("mail", "one"))
    message = refused(lab, lab.program("one"), group("post", "one"))
    assert "member of the group post" in message
    assert "group:mail" in message


def test_program_that_somebody_elses_group_names_is_left_to_them(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"))
    (lab.folder / "conf.d" / "theirs.conf").write_text("[group:theirs]\nprograms=one\n")
    message = refused(lab, lab.program("one", CHANGED))
    assert "theirs.conf has [group:theirs]" in message
    assert "Take the program out of that section" in message
    assert "theirs.conf" in refused(lab, gone("one", "program"))


def test_program_and_group_of_the_users_own_are_left_to_them_whatever_the_list_says(lab: Lab) -> None:
    lab.own("mine")
    (lab.folder / "conf.d" / "theirs.conf").write_text("[group:theirs]\nprograms=mine\n")
    lab.run(lab.program("one"))
    still = lab.pid("theirs:mine")
    assert still
    assert lab.run(lab.program("one"), gone("mine", "program"), gone("theirs"))["changed"] is False
    assert lab.pid("theirs:mine") == still


@pytest.mark.parametrize("section", ["group:mail]\nprograms=theirs\n[program:theirs", "program:mail", "program:one"])
def test_name_that_is_taken_is_refused(lab: Lab, section: str) -> None:
    lab.run(lab.program("alone"))
    (lab.folder / "conf.d" / "theirs.conf").write_text(f"[{section}]\ncommand=sleep 1000\n")
    message = refused(lab, lab.program("alone"), lab.program("one"), group("mail", "one"))
    assert "theirs.conf has [" in message
    assert "Rename one of them" in message


def test_file_of_the_groups_name_that_is_not_ours_is_left_alone(lab: Lab) -> None:
    lab.run(lab.program("one"))
    (lab.folder / "conf.d" / "group@mail.conf").write_text(
        "[group:mail]\nprograms=theirs\n[program:theirs]\ncommand=a\n"
    )
    assert "not from this collection" in refused(lab, lab.program("one"), group("mail", "one"))
    assert lab.run(lab.program("one"), gone("mail"))["changed"] is False
