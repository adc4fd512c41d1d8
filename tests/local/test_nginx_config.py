# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The transaction, against a real nginx: an instance of its own in a temporary folder, on loopback ports."""

from __future__ import annotations

import grp
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import processes
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.switch import Switch
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.system_files import SystemFiles
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction, apply
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees
from nginx_instance import BINARY, Instance, free_port, killed_at, needs_nginx

# --- on a host ----------------------------------------------------------------------------------------------------


@needs_nginx
def test_check_and_run_tell_the_same_and_a_second_run_changes_nothing(nginx: Instance) -> None:
    site = nginx.site("one")
    outcomes = [nginx.run(check_mode=check, shop=site) for check in (True, False, True, False)]
    assert [outcome["changed"] for outcome in outcomes] == [True, True, False, False]
    assert outcomes[0]["actions"] == outcomes[1]["actions"] == ["install tree", "install nginx.conf", "start"]
    assert outcomes[0]["diff"] == outcomes[1]["diff"]
    assert nginx.get() == "one"


def test_check_mode_predicts_on_a_host_without_nginx(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    shutil.rmtree(instance.conf)
    outcome = Transaction(instance.params({"shop": instance.site("one")}), None, run_command).run(check_mode=True)
    assert outcome["changed"]
    assert any(diff["after_header"].endswith("pyweb/current/sites/shop.conf") for diff in outcome["diff"])
    assert not instance.conf.exists()


def test_without_nginx_the_remedy_is_named(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    with pytest.raises(NginxError, match="Install the package nginx"):
        Transaction(instance.params({}), None, run_command).run(check_mode=False)


@needs_nginx
def test_a_change_is_loaded_by_a_reload_of_the_same_master(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    master = nginx.master
    assert nginx.run(shop=nginx.site("two"))["actions"] == ["install tree", "reload"]
    assert (nginx.get(), nginx.master) == ("two", master)


@needs_nginx
def test_a_stamp_says_that_the_next_run_has_nothing_to_do(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    assert stamps.valid() == {"nginx": {"as wished": {}}}
    nginx.run(shop=nginx.site("one"))
    assert stamps.valid() == {"nginx": {"as wished": {}}}


def broken_by_hand(nginx: Instance) -> None:
    path = next((nginx.conf / "pyweb/trees").glob("*/sites/shop.conf"))
    path.write_text(path.read_text().replace("one", "two"))


def stopped_by_hand(nginx: Instance) -> None:
    nginx.kill_master()


def loaded_with_something_else(nginx: Instance) -> None:
    (nginx.conf / "conf.d").mkdir()
    (nginx.conf / "conf.d/mine.conf").write_text(nginx.site("mine", free_port()))


@needs_nginx
@pytest.mark.parametrize("touch", [broken_by_hand, stopped_by_hand, loaded_with_something_else])
def test_a_touched_nginx_bears_no_stamp(nginx: Instance, touch: Any) -> None:
    nginx.run(shop=nginx.site("one"))
    touch(nginx)
    assert stamps.valid() == {}


@needs_nginx
def test_a_refused_configuration_leaves_no_stamp(nginx: Instance) -> None:
    with pytest.raises(NginxError):
        nginx.run(shop="nonsense;")
    nginx.run(check_mode=True, shop=nginx.site("one"))
    assert stamps.valid() == {}


@needs_nginx
def test_a_site_that_is_not_listed_any_more_is_gone(nginx: Instance) -> None:
    port = free_port()
    nginx.run(shop=nginx.site("one"), other=nginx.site("other", port))
    assert nginx.get(port) == "other"
    nginx.run(shop=nginx.site("one"))
    # A worker that gets a signal to stop logs that first, and closes its sockets a moment later.
    assert wait_for(lambda: nginx.refuses(port), 20)
    assert nginx.get() == "one"


@needs_nginx
def test_what_nginx_refuses_changes_nothing(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    before, live = nginx.trees(), nginx.live()
    broken = "server {\n# begin extra, as the inventory has it\nlisten 127.0.0.1:1;\nfoo bar;\n# end extra\n}\n"
    with pytest.raises(NginxError) as caught:
        nginx.run(shop=nginx.site("one"), other=broken)
    for word in ("site 'other'", "line 2 of extra", "'foo bar;'", 'unknown directive "foo"'):
        assert word in str(caught.value)
    assert (nginx.get(), nginx.trees(), nginx.live()) == ("one", before, live)
    assert not [name for name in os.listdir(nginx.conf) if name.endswith(".test")]


@needs_nginx
def test_a_reload_that_nginx_refuses_in_silence_is_noticed_and_taken_back(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    live, master = nginx.live(), nginx.master
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NginxError) as caught:
            nginx.run(shop=nginx.site("two"), other=nginx.site("other", port))
    for word in (f"bind() to 127.0.0.1:{port} failed", f"Port {port} is taken", f"(pid {os.getpid()})", "serving"):
        assert word in str(caught.value)
    assert (nginx.get(), nginx.live(), nginx.master, nginx.trees()) == ("one", live, master, [live])
    # The next run, with the port free, succeeds.
    assert nginx.run(shop=nginx.site("two"), other=nginx.site("other", port))["changed"]
    assert (nginx.get(), nginx.get(port)) == ("two", "other")


@needs_nginx
def test_a_first_start_that_fails_leaves_the_host_as_it_was(nginx: Instance) -> None:
    (nginx.conf / "nginx.conf").write_text("# somebody's\n")
    with socket.create_server(("127.0.0.1", nginx.port)), pytest.raises(NginxError, match="is taken"):
        nginx.run(shop=nginx.site("one"))
    assert (nginx.conf / "nginx.conf").read_text() == "# somebody's\n"
    assert nginx.trees() == []
    assert not (nginx.conf / "pyweb/current").is_symlink()


@needs_nginx
def test_what_nginx_conf_held_before_is_kept_aside(nginx: Instance) -> None:
    (nginx.conf / "nginx.conf").write_text("# somebody's\n")
    nginx.run(shop=nginx.site("one"))
    nginx.run(shop=nginx.site("two"))
    kept = nginx.conf / "nginx.conf.before-pyweb"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("# somebody's\n", 0o600)
    kept.chmod(0o644)  # as older versions left it
    nginx.run(shop=nginx.site("three"))
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("# somebody's\n", 0o600)


@needs_nginx
def test_a_reload_that_an_interrupted_run_owes_is_done_by_the_next(
    nginx: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx.run(shop=nginx.site("one"))
    interrupted = nginx.transaction(shop=nginx.site("two"))
    # Killed between the swap and the reload, so the rollback does not run either.
    monkeypatch.setattr(interrupted.nginx, "reload", lambda name: os._exit(9))
    child = os.fork()
    if not child:
        interrupted.run(False)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert nginx.get() == "one"
    assert nginx.run(check_mode=True, shop=nginx.site("two"))["actions"] == ["reload"]
    assert nginx.run(shop=nginx.site("two"))["actions"] == ["reload"]
    assert nginx.get() == "two"
    assert not nginx.run(shop=nginx.site("two"))["changed"]


@needs_nginx
def test_an_owed_reload_that_fails_goes_back_to_what_nginx_runs(
    nginx: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx.run(shop=nginx.site("one"))
    live = nginx.live()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sites = {"shop": nginx.site("two"), "other": nginx.site("x", taken.getsockname()[1])}
        interrupted = nginx.transaction(**sites)
        monkeypatch.setattr(interrupted.nginx, "reload", lambda name: os._exit(9))
        child = os.fork()
        if not child:
            interrupted.run(False)
        os.waitpid(child, 0)
        assert nginx.live() != live
        with pytest.raises(NginxError, match="is taken"):
            nginx.run(**sites)
    assert (nginx.live(), nginx.get()) == (live, "one")


STEPS = [
    (Trees, "stage"),
    (Switch, "test"),
    (Nginx, "test"),
    (Trees, "point_to"),
    (SystemFiles, "write_entry"),
    (Nginx, "reload"),
    (Trees, "prune"),
]


@needs_nginx
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _owner, step in STEPS])
def test_a_run_that_is_killed_anywhere_costs_no_answer_and_the_next_one_heals_it(
    nginx: Instance, owner: type, step: str, before: bool
) -> None:
    nginx.run(shop=nginx.site("one"))
    # The state after a package upgrade, in which every step changes something.
    (nginx.conf / "nginx.conf").write_text((nginx.conf / "nginx.conf").read_text() + "# changed\n")
    killed_at(owner, step, before, lambda: nginx.run(shop=nginx.site("two")))
    assert nginx.get() in ("one", "two")
    nginx.transaction(shop=nginx.site("two")).nginx.test(str(nginx.conf / "nginx.conf"))  # it would survive a boot
    nginx.run(shop=nginx.site("two"))
    assert nginx.get() == "two"
    assert not nginx.run(shop=nginx.site("two"))["changed"]
    assert len(nginx.trees()) <= 2
    assert sorted(os.listdir(nginx.conf)) == ["nginx.conf", "nginx.conf.before-pyweb", "pyweb"]
    assert sorted(os.listdir(nginx.conf / "pyweb")) == [".lock", "current", "trees"]


@needs_nginx
def test_a_reload_by_hand_owes_nothing(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    nginx.reload_by_hand()
    assert not nginx.run(shop=nginx.site("one"))["changed"]


@needs_nginx
def test_edits_by_hand_and_stray_files_are_healed(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    sites = nginx.conf / "pyweb/current/sites"
    (sites / "shop.conf").write_text("rubbish")
    (sites / "stray.conf").write_text("rubbish")
    outcome = nginx.run(shop=nginx.site("one"))
    assert outcome["actions"] == ["install tree", "reload"]
    assert [diff["before_header"].rsplit("/", 1)[1] for diff in outcome["diff"][:2]] == ["shop.conf", "stray.conf"]
    assert os.listdir(nginx.conf / "pyweb/current/sites") == ["shop.conf"]


@needs_nginx
def test_a_strict_umask_does_not_keep_the_workers_out(nginx: Instance) -> None:
    before = os.umask(0o077)
    try:
        nginx.run(shop=nginx.site("shop"))
        nginx.transaction(shop=nginx.site("shop")).certificates.store.acme.make_folders()
    finally:
        os.umask(before)
    folders = [nginx.conf / "pyweb", nginx.conf / "pyweb/current/sites", nginx.folder / "state"]
    trees = (nginx.conf / "pyweb/trees").stat()
    assert (trees.st_mode & 0o777, trees.st_gid) == (0o710, grp.getgrnam("www-data").gr_gid)
    for folder in [*folders, nginx.folder / "state/acme", nginx.folder / "state/acme/challenges"]:
        assert folder.stat().st_mode & 0o011 == 0o011, folder


@pytest.mark.attack("low", "Another account writes to a configuration file with wrong modes")
@needs_nginx
@pytest.mark.parametrize(
    ("path", "action", "mode"),
    [
        ("pyweb", "install tree", 0o755),
        ("pyweb/trees", "install tree", 0o710),
        ("nginx.conf", "install nginx.conf", 0o644),
    ],
)
def test_what_others_may_write_to_is_healed(nginx: Instance, path: str, action: str, mode: int) -> None:
    nginx.run(shop=nginx.site("shop"))
    (nginx.conf / path).chmod(0o1777)
    assert nginx.run(shop=nginx.site("shop"))["actions"] == [action, "reload"]
    assert (nginx.conf / path).stat().st_mode & 0o7777 == mode
    assert not nginx.run(shop=nginx.site("shop"))["changed"]


@needs_nginx
@pytest.mark.parametrize(("what", "mode"), [("sites/shop.conf", 0o666), ("sites", 0o777), ("secrets/shop", 0o644)])
def test_rights_that_somebody_gave_away_are_healed(nginx: Instance, what: str, mode: int) -> None:
    params = nginx.params({"shop": nginx.site("shop")}) | {"secret_files": {"secrets/shop": "alice:hash\n"}}
    Transaction(params, BINARY, run_command).run(False)
    path = nginx.conf / "pyweb/current" / what
    before = path.stat().st_mode
    path.chmod(mode)
    assert Transaction(params, BINARY, run_command).run(False)["actions"] == ["install tree", "reload"]
    assert path.stat().st_mode == before
    assert not Transaction(params, BINARY, run_command).run(False)["changed"]


@needs_nginx
def test_a_link_that_a_copy_made_a_folder_of_is_one_again(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("shop"))
    current = nginx.conf / "pyweb/current"
    target = current.resolve()
    current.unlink()
    shutil.copytree(target, current)
    assert nginx.run(check_mode=True, shop=nginx.site("shop"))["changed"]
    assert nginx.run(shop=nginx.site("shop"))["changed"]
    assert current.is_symlink()
    assert nginx.get() == "shop"
    assert not nginx.run(shop=nginx.site("shop"))["changed"]


@needs_nginx
def test_what_killed_runs_have_left_is_removed(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    names = (".nginx.conf.0123abcd.test", ".nginx.conf.0123abcd.test.0123abcd.new", "nginx.conf.0123abcd.new")
    left = [nginx.conf / name for name in (*names, "pyweb/current.0123abcd.new")]
    others = [nginx.conf / name for name in (".nginx.conf.swp", "nginx.conf.new", "koi-utf.0123abcd.new")]
    for path in left + others:
        path.write_text("x")
    nginx.run(shop=nginx.site("two"))
    assert [path.name for path in left + others if path.exists()] == [path.name for path in others]


@needs_nginx
def test_an_entry_that_a_package_upgrade_replaced_is_healed(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    (nginx.conf / "nginx.conf").write_text("events {}\n")
    assert nginx.run(shop=nginx.site("one"))["actions"] == ["install nginx.conf", "reload"]
    assert nginx.get() == "one"


@needs_nginx
def test_a_killed_master_is_replaced_though_its_workers_hold_the_port(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    master = nginx.kill_master()
    assert nginx.get() == "one", "the orphans must still serve, as the test needs this state"
    assert nginx.run(shop=nginx.site("one"))["actions"] == ["start"]
    assert nginx.master != master
    assert nginx.get() == "one"
    assert wait_for(lambda: master not in {process.session for process in processes().values()}, 20), "orphans stay"


@needs_nginx
def test_a_stopped_nginx_is_started_on_the_tree_that_was_there(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    live, master = nginx.live(), nginx.master
    os.kill(master, signal.SIGTERM)
    assert wait_for(lambda: not stamps.process_witness(master), 20)
    assert nginx.run(shop=nginx.site("one"))["actions"] == ["start"]
    assert (nginx.get(), nginx.live()) == ("one", live)


@needs_nginx
def test_files_of_others_are_loaded_reported_and_left_alone(nginx: Instance) -> None:
    port = free_port()
    (nginx.conf / "conf.d").mkdir()
    theirs = nginx.conf / "conf.d/theirs.conf"
    theirs.write_text(nginx.site("theirs", port))
    transaction = nginx.transaction(shop=nginx.site("one"))
    outcome = transaction.run(False)
    assert outcome["unowned"] == [str(theirs)]
    assert str(theirs) in transaction.warnings[0]
    assert nginx.get(port) == "theirs"


@needs_nginx
def test_a_fault_in_a_file_of_others_is_told_as_such(nginx: Instance) -> None:
    (nginx.conf / "conf.d").mkdir()
    (nginx.conf / "conf.d/theirs.conf").write_text("foo;\n")
    with pytest.raises(NginxError, match=r"conf.d/theirs.conf line 1, which is not a file of this role"):
        nginx.run(shop=nginx.site("one"))


@needs_nginx
def test_a_default_site_that_somebody_edited_stays(nginx: Instance) -> None:
    for folder in ("sites-available", "sites-enabled"):
        (nginx.conf / folder).mkdir()
    (nginx.conf / "sites-available/default").write_text(nginx.site("edited", free_port()))
    (nginx.conf / "sites-enabled/default").symlink_to(nginx.conf / "sites-available/default")
    assert nginx.run(shop=nginx.site("one"))["unowned"] == [str(nginx.conf / "sites-enabled/default")]
    assert (nginx.conf / "sites-enabled/default").is_symlink()


@needs_nginx
def test_only_the_live_tree_and_the_one_before_are_kept(nginx: Instance) -> None:
    for answer in ("one", "two", "three", "four"):
        nginx.run(shop=nginx.site(answer))
    assert len(nginx.trees()) == 2
    assert nginx.trees()[-1] == nginx.live()


@needs_nginx
def test_two_runs_at_once_take_turns(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"))
    done: list[bool] = []

    def run(answer: str) -> None:
        done.append(nginx.run(shop=nginx.site(answer))["changed"])

    threads = [threading.Thread(target=run, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4
    assert nginx.get() in "0123"
    assert len(nginx.trees()) <= 2


# --- who listens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_is_found_with_its_program(family: socket.AddressFamily, address: str) -> None:
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError as error:
        pytest.skip(f"this machine has no {address}: {error}")  # IPv6 may be off; IPv4 is tested everywhere
    with server:
        port = server.getsockname()[1]
        (found,) = [listener for listener in listeners() if listener.port == port]
    assert (found.address, found.pid) == (address, os.getpid())
    assert found.program == Path("/proc/self/comm").read_text().strip()


def test_a_shared_socket_belongs_to_the_eldest_of_the_family() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        child = subprocess.Popen(["sleep", "30"], pass_fds=[server.fileno()])
        try:
            (found,) = [listener for listener in listeners() if listener.port == port]
        finally:
            child.kill()
            child.wait()
    assert found.pid == os.getpid()


@needs_nginx
def test_apply_returns_the_result_with_warnings_and_the_witnesses_of_a_stamp(nginx: Instance) -> None:
    params = nginx.params({"shop": nginx.site("one")})
    result, witnesses = apply(params, run_command, check_mode=True)
    assert (result["changed"], witnesses) == (True, None)
    (nginx.conf / "conf.d").mkdir()
    (nginx.conf / "conf.d/other.conf").write_text("# nothing\n")
    result, witnesses = apply(params, run_command, check_mode=False)
    assert result["changed"]
    assert len(result["warnings"]) == 1
    assert "other.conf" in result["warnings"][0]
    assert witnesses is not None
    assert stamps.holds(witnesses)


@needs_nginx
def test_apply_fails_with_the_warnings_so_far(nginx: Instance) -> None:
    nginx.run(shop=nginx.site("one"), other=nginx.site("two", free_port()))
    with pytest.raises(NginxError, match="nginx refuses") as caught:
        apply(nginx.params({"shop": "nonsense;"}), run_command, check_mode=False)
    assert ["'other'" in warning for warning in caught.value.warnings] == [True]
    with pytest.raises(NginxError, match=r"no nginx\.conf"):
        apply({**nginx.params({}), "files": []}, run_command, check_mode=False)
