# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The promises that an application is closed to others, and can't do more than it needs. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import (
    Verdict,
    does_not_apply,
    failed,
    judged,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# Properties that systemd must report for every unit of an application.
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictSUIDSGID": "yes",
    "CapabilityBoundingSet": "",
}
NO_ROOT = "the inspection did not run as root, so it could not try other accounts"
NO_PROCESS = "no process of its account runs"
NO_SANDBOX = "supervisor has no sandbox"


def secrets_are_for_the_application_alone(view: View) -> Verdict:
    wanted = {"env": ("root", view.name, "0640"), "manifest": ("root", None, "0600"), "key": ("root", None, "0600")}
    files = view.found["files"]
    seen = [key for key in wanted if files.get(key)]
    bad = wrong_modes(files, wanted)
    for one in view.found["certificates"]:
        # A key that another tool keeps on the host may have any owner, but no account may read it by its mode.
        if one["key"]:
            seen.append(one["key"]["path"])
            if int(one["key"]["mode"], 8) & 0o007:
                bad.append(f"{one['key']['path']} has mode {one['key']['mode']}")
    return judged(seen, bad, nothing="none of its private files was found")


def wrong_modes(files: dict[str, Any], wanted: dict[str, tuple[str, str | None, str]]) -> list[str]:
    bad = []
    for key, (owner, group, mode) in wanted.items():
        found = files.get(key)
        if found and (found["owner"], group and found["group"], found["mode"]) != (owner, group, mode):
            bad.append(f"{found['path']} is {found['owner']}:{found['group']} {found['mode']}")
    return bad


def no_other_account_can_read_its_files(view: View) -> Verdict:
    """Tried as the accounts of the other applications, and as the account ``nobody``.

    Also logs, sockets, and files in public folders that have secrets, such as a drop-in of a unit.
    """
    found, tried = view.found["exposed"], view.found["tried"]
    if not found:
        return judged(tried["accounts"], [], nothing=NO_ROOT, left_out=tried["unread"])
    if found["path"].startswith("not tried"):
        return failed(f"{found['account']}: {found['path']}")
    remedy = "run the playbook site, which sets the modes of its folders again. Correct the modes of other files"
    return failed(f"the account {found['account']} can read {found['path']}: {remedy}")


def no_other_account_can_reach_its_processes(view: View) -> Verdict:
    """Tried as the same accounts: reading the environment and the memory, and sending signals."""
    found, tried = view.found["reached"], view.found["tried"]
    if not found:
        if view.found["exposed"].get("path", "").startswith("not tried"):
            return failed(f"{view.found['exposed']['account']}: {view.found['exposed']['path']}")
        if not tried["accounts"]:
            return does_not_apply(NO_ROOT)
        return judged(tried["processes"], [], nothing=NO_PROCESS)
    return failed(
        f"the account {found['account']} can do this to {found['path']}. Do both have the same user ID, or has the "
        "account a capability? Each application needs an account of its own"
    )


def its_command_lines_hold_no_secret(view: View) -> Verdict:
    """Every account can read the command lines of all processes."""
    found, tried = view.found["told"], view.found["tried"]
    bad = [f"{'; '.join(found)} in its command line"] if found else []
    nothing = "its environment has no password or key that can be recognised" if tried["processes"] else NO_PROCESS
    return judged(
        tried["processes"] if tried["secrets"] else [],
        bad,
        nothing=nothing,
        remedy="Let the program read it from its environment or from a file",
    )


def it_sees_no_processes_of_others(view: View) -> Verdict:
    """Looked up in the mounts of its running processes."""
    found = view.found["open_proc"]
    if found is None:
        return does_not_apply(f"{NO_SANDBOX}, so it sees the command lines of all processes")
    unit = view.process.get("unit") or {}
    if "ProtectProc" in view.app["systemd"]:
        return does_not_apply(f"the inventory sets ProtectProc: {view.app['systemd']['ProtectProc']}")
    if unit.get("ProtectProc", "invisible") != "invisible":
        return failed(
            f"its unit has ProtectProc={unit['ProtectProc']}. Run site.yml, then restart.yml -e app={view.name}"
        )
    if found:
        return does_not_apply(
            f"processes {', '.join(map(str, found))} see all others. They are older than the setting, or this host "
            f"gives units no /proc of their own. restart.yml -e app={view.name} shows which"
        )
    return judged(view.found["tried"]["processes"], [], nothing=NO_PROCESS)


def it_can_not_change_its_own_code(view: View) -> Verdict:
    """No file and no folder of the live release, or of its environment."""
    found = view.found["changeable"]
    remedy = f"Give it to root, without write permission for others, or run restart.yml -e app={view.name} after that"
    code = (view.found["files"].get("source") or {}).get("path")
    return judged([code] if code else [], found, nothing="its code was not found", remedy=remedy)


def its_environment_is_as_installed(view: View) -> Verdict:
    environment = view.found["environment"]
    if environment["fault"]:
        return failed(f"{environment['fault']}. Run the playbook site, which builds a new release")
    return Verdict(1) if environment["version"] else does_not_apply("its environment does not name its Python version")


def what_its_builds_trust_is_closed_to_it(view: View) -> Verdict:
    found = view.found.get("worlds")
    if not found:
        return does_not_apply("the inspection did not run as root")
    folder = found["build"]
    if "path" not in folder:
        return failed("there is no build account with a folder of its own: run the playbook site")
    if (folder["owner"], folder["mode"]) == (folder["wanted"], "0700"):
        return Verdict(1)
    return failed(
        f"{folder['path']} is {folder['owner']} {folder['mode']}: run the playbook site, which sets both again"
    )


def its_commands_are_sandboxed(view: View) -> Verdict:
    """Tried by a command. Without systemd, commands have no sandbox, but they can't gain rights either."""
    found = view.found.get("worlds")
    if not found:
        return does_not_apply("the inspection did not run as root")
    if found["problem"]:
        return failed(f"a command can't be run: {found['problem']}")
    bad = []
    if found["no_new_privs"] != "1" and "NoNewPrivileges" not in view.app["systemd"]:
        bad.append("a command can gain rights by a setuid program")
    if found["capabilities"] and "CapabilityBoundingSet" not in view.app["systemd"]:
        bad.append(f"its capabilities are limited to {found['capabilities']}")
    if found["systemd"] and not found["in_unit"]:
        bad.append("a command runs in no unit of systemd")
    if bad:
        return failed(f"{', '.join(bad)}: run the playbook site")
    if not found["systemd"]:
        return does_not_apply("without systemd, commands have no sandbox. They have no capabilities and can't gain any")
    return Verdict(1)


def only_nginx_reaches_its_socket(view: View) -> Verdict:
    found = view.found["socket"]
    if found["link"] != found["expected"]:
        return failed(f"current.sock leads to {found['link'] or 'nothing'}")
    if not found["there"]:
        return failed(f"{found['link']} is not there")
    if found["nginx"] not in ("", "ok"):
        return failed(f"nginx can't connect: {found['nginx']}")
    if found["stranger"] == "ok":
        return failed("any account can connect")
    return Verdict(1) if found["nginx"] and found["stranger"] else does_not_apply(NO_ROOT)


def its_sockets_belong_to_root(view: View) -> Verdict:
    """Else an application could replace a socket, and nginx would ask another application under its name."""
    found = view.found["socket"]
    if not found["inherited"]:
        return failed(
            f"the release {view.found['release']} was built by an earlier version and makes its own sockets: run the "
            "playbook site, which builds a new release"
        )
    wrong = [
        f"{one['path']} is {one['owner']}:{one['group']} {one['mode']}"
        if one["is_socket"]
        else f"{one['path']} is not a socket"
        for one in found["live"]
        if one and (not one["is_socket"] or (one["owner"], one["mode"]) != ("root", "0660"))
    ]
    missing = len([one for one in found["live"] if not one])
    folder = found["folder"]
    if folder and (folder["owner"] != "root" or int(folder["mode"], 8) & 0o022):
        wrong.append(f"{folder['path']} is {folder['owner']}:{folder['group']} {folder['mode']}")
    if found["writer"]:
        wrong.append(f"the account {found['writer']} can write to the folder of the sockets")
    if missing:
        wrong.append("a socket is missing")
    return judged(
        found["live"],
        wrong,
        nothing="it has no socket",
        remedy=f"Start new processes: restart.yml -e app={view.name}",
    )


def its_units_are_hardened(view: View) -> Verdict:
    """The units of the web process and of the background processes. supervisor has no sandbox."""
    # A different value in the inventory is intended.
    hardened = {key: value for key, value in HARDENED.items() if key not in view.app["systemd"]}
    units = {"": view.process.get("unit")}
    units |= {f"{one['service']}: ": one.get("unit") for one in view.found["processes"]}
    known = {name: unit for name, unit in units.items() if unit is not None}
    weak = []
    for name, unit in known.items():
        weak += [f"{name}{key}={unit.get(key, '')}" for key, value in hardened.items() if unit.get(key, "") != value]
        if unit.get("User") != view.name:
            weak.append(f"{name}User={unit.get('User')}")
    unknown = [f"{name}systemd does not know this unit" for name in units if name not in known]
    if view.found["process_manager"] == "systemd":
        return judged(known, [*weak, *unknown], nothing="systemd knows none of its units")
    return judged(known, weak, nothing=f"{NO_SANDBOX}: its processes are separated by their accounts alone")
