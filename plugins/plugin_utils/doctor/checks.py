# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The promises of a deployed site, each with a check. Pure. The playbook verify and the pytest checks share them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.answers import left_out, served, unreadable
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View, answer_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.visits import wanted_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.workers import its_workers_stay_alive

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


class Note(str):
    """Why a promise does not apply to an application. That is no problem."""

    __slots__ = ()


def the_release_runs_and_is_good(view: View) -> str:
    if not view.found["release"]:
        return "no release is live"
    if view.process["state"] != "running":
        return f"the process of release {view.found['release']} is {view.process['state']}"
    return "" if view.found["state"] == "good" else f"the live release is marked {view.found['state']}"


def no_other_release_runs(view: View) -> str:
    others = view.process.get("others") or []
    return f"also there: {', '.join(others)}" if others else ""


def it_comes_back_after_a_boot(view: View) -> str:
    if not view.process["enabled"]:
        return "the instance of the live release is not enabled"
    return "nginx is not enabled" if view.host["nginx"]["enabled"] is False else ""


def nginx_runs_what_is_configured(view: View) -> str:
    nginx = view.host["nginx"]
    if not nginx["running"]:
        return "nginx does not run"
    if nginx["complaint"]:
        return f"nginx refuses what is on the disk: {nginx['complaint']}"
    if nginx["loaded"] != nginx["live"]:
        return f"nginx runs the tree {nginx['loaded']}, but {nginx['live']} is the live one"
    return "" if view.found["configured"] else "nginx has no site of this application"


def it_is_started_again_when_it_ends(view: View) -> str:
    """The web process and the background processes, also after a signal, which process managers count as success."""
    bad = []
    if "autorestart" in view.process and view.process["autorestart"] != "true":
        bad.append(f"supervisor has autorestart={view.process['autorestart'] or 'unexpected'} for it")
    # A different value in the inventory is intended.
    if "Restart" not in view.app["systemd"]:
        units = {"its unit": view.process.get("unit")}
        units |= {one["service"]: one.get("unit") for one in view.found["processes"]}
        bad += [
            f"{name} has Restart={unit.get('Restart', '')}"
            for name, unit in units.items()
            if unit and unit.get("Restart") != "always"
        ]
    return f"{', '.join(bad)}. Run site.yml, then restart.yml -e app={view.name}" if bad else ""


def nginx_is_started_again_when_it_ends(view: View) -> str:
    """Also after a signal: nginx ends with status 0 then."""
    restart = view.host["nginx"].get("restart")
    return f"the unit of nginx has Restart={restart}. Run site.yml" if restart not in (None, "always") else ""


def it_listens_on_loopback_only(view: View) -> str:
    """The application is reached through nginx alone."""
    public = [
        f"{one['program'] or 'a program'} on {one['address']}:{one['port']}"
        for one in view.host["listeners"]
        if one["account"] == view.name and not ipaddress.ip_address(one["address"]).is_loopback
    ]
    return f"reachable past nginx: {', '.join(public)}" if public else ""


def every_domain_is_healthy(view: View) -> str:
    bad = [
        f"{visit['domain'] or visit['address']}: {answer_text(visit['answer'])}"
        for visit in view.visits
        if not visit["redirect"] and not view.passes(visit["answer"])
    ]
    return "; ".join(bad)


def every_redirect_leads_to_the_first_domain(view: View) -> str:
    site = view.app["site"]
    bad = []
    for visit in view.visits:
        location = visit["answer"]["headers"].get("location", "")
        wanted = f"://{(site['domains'] or [''])[0]}"
        if visit["redirect"] and (visit["answer"]["status"] not in (301, 308) or wanted not in location):
            bad.append(f"{visit['domain']}: {answer_text(visit['answer'])} {location}".rstrip())
    return "; ".join(bad)


def http_leads_to_https(view: View) -> str:
    """A site with TLS redirects requests over http to it."""
    bad = [
        f"{visit['domain'] or visit['address']}: {answer_text(visit['plain'])}"
        for visit in view.visits
        if visit["plain"]
        and not view.plain_until_certified
        and not (
            visit["plain"]["status"] in (301, 308)
            and visit["plain"]["headers"].get("location", "").startswith("https://")
        )
    ]
    return "; ".join(bad)


def its_certificate_is_valid(view: View) -> str:
    """The certificate that nginx serves has every name, has not expired, and is the one on the disk."""
    bad = []
    for one in view.found["certificates"]:
        shown, disk = one["shown"], one["disk"]
        if not disk:
            bad.append(f"{one['path']}: {one['problem'] or 'it is not there'}")
        elif not shown:
            bad.append(f"nginx serves none on port {one['port']}")
        elif shown["ends"] <= view.host["time"]:
            bad.append(f"it has expired on {shown['end_date']}")
        elif shown["missing"]:
            bad.append(f"it lacks {', '.join(shown['missing'])}")
        elif shown["fingerprint"] != disk["fingerprint"]:
            bad.append(f"nginx serves another one than {one['path']}")
    return "; ".join(bad)


def its_headers_are_set(view: View) -> str:
    """Every answer has the headers that the inventory declares."""
    missing = {
        name
        for visit in view.visits
        if not visit["redirect"] and visit["answer"]["status"] is not None
        for name in wanted_headers(view.app)
        if name.lower() not in visit["answer"]["headers"]
    }
    return f"not sent: {', '.join(sorted(missing))}" if missing else ""


def nginx_hides_its_version(view: View) -> str:
    servers = {visit["answer"]["headers"].get("server", "") for visit in view.visits} - {"", "nginx"}
    return f"the header Server says: {', '.join(sorted(servers))}" if servers else ""


def static_files_come_from_nginx(view: View) -> str:
    bad = []
    for found in view.found["static"]:
        if not found["there"]:
            cause = f": {'. Remedy: '.join(left_out(found))}" if found.get("ignored") else ""
            bad.append(f"{found['folder']} is not there{cause}")
        elif found["blocked"]:
            bad.append(f"nginx may not read {found['blocked']}: {'. Remedy: '.join(unreadable(found))}")
        elif found.get("answer", {"status": 200})["status"] not in served(view):
            bad.append(f"{found['asked']}: {answer_text(found['answer'])}")
    return "; ".join(bad)


def secrets_are_for_the_application_alone(view: View) -> str:
    wanted = {"env": ("root", view.name, "0640"), "manifest": ("root", None, "0600"), "key": ("root", None, "0600")}
    found = wrong_modes(view.found["files"], wanted)
    for one in view.found["certificates"]:
        # A key that another tool keeps on the host may have any owner, but no account may read it by its mode.
        if one["key"] and int(one["key"]["mode"], 8) & 0o007:
            found.append(f"{one['key']['path']} has mode {one['key']['mode']}")
    return "; ".join(found)


def no_other_account_can_read_its_files(view: View) -> str:
    """Tried as the accounts of the other applications, and as the account ``nobody``.

    Also logs, sockets, and files in public folders that have secrets, such as a drop-in of a unit.
    """
    found = view.found["exposed"]
    if not found:
        return ""
    if found["path"].startswith("not tried"):
        return f"{found['account']}: {found['path']}"
    remedy = "run the playbook site, which sets the modes of its folders again. Correct the modes of other files"
    return f"the account {found['account']} can read {found['path']}: {remedy}"


def no_other_account_can_reach_its_processes(view: View) -> str:
    """Tried as the same accounts: reading the environment and the memory, and sending signals."""
    found = view.found["reached"]
    if not found:
        return ""
    return (
        f"the account {found['account']} can do this to {found['path']}. Do both have the same user ID, or has the "
        "account a capability? Each application needs an account of its own"
    )


def its_command_lines_hold_no_secret(view: View) -> str:
    """Every account can read the command lines of all processes."""
    found = view.found["told"]
    remedy = "Let the program read it from its environment or from a file"
    return f"{'; '.join(found)} in its command line. {remedy}" if found else ""


def it_sees_no_processes_of_others(view: View) -> str:
    """Looked up in the mounts of its running processes."""
    found = view.found["open_proc"]
    if found is None:
        return Note("supervisor has no sandbox, so it sees the command lines of all processes")
    unit = view.process.get("unit") or {}
    if "ProtectProc" in view.app["systemd"]:
        return Note(f"the inventory sets ProtectProc: {view.app['systemd']['ProtectProc']}")
    if unit.get("ProtectProc", "invisible") != "invisible":
        return f"its unit has ProtectProc={unit['ProtectProc']}. Run site.yml, then restart.yml -e app={view.name}"
    if found:
        return Note(
            f"processes {', '.join(map(str, found))} see all others. They are older than the setting, or this host "
            f"gives units no /proc of their own. restart.yml -e app={view.name} shows which"
        )
    return ""


def it_can_not_change_its_own_code(view: View) -> str:
    """No file and no folder of the live release, or of its environment."""
    found = view.found["changeable"]
    remedy = f"Give it to root, without write permission for others, or run restart.yml -e app={view.name} after that"
    return f"{'; '.join(found)}. {remedy}" if found else ""


def its_environment_is_as_installed(view: View) -> str:
    fault = view.found["environment"]["fault"]
    return f"{fault}. Run the playbook site, which builds a new release" if fault else ""


def what_its_builds_trust_is_closed_to_it(view: View) -> str:
    found = view.found.get("worlds")
    if not found:
        return ""
    folder = found["build"]
    if "path" not in folder:
        return "there is no build account with a folder of its own: run the playbook site"
    if (folder["owner"], folder["mode"]) == (folder["wanted"], "0700"):
        return ""
    return f"{folder['path']} is {folder['owner']} {folder['mode']}: run the playbook site, which sets both again"


def its_commands_are_sandboxed(view: View) -> str:
    """Tried by a command. Without systemd, commands have no sandbox, but they can't gain rights either."""
    found = view.found.get("worlds")
    if not found:
        return ""
    if found["problem"]:
        return f"a command can't be run: {found['problem']}"
    bad = []
    if found["no_new_privs"] != "1" and "NoNewPrivileges" not in view.app["systemd"]:
        bad.append("a command can gain rights by a setuid program")
    if found["capabilities"] and "CapabilityBoundingSet" not in view.app["systemd"]:
        bad.append(f"its capabilities are limited to {found['capabilities']}")
    if found["systemd"] and not found["in_unit"]:
        bad.append("a command runs in no unit of systemd")
    return f"{', '.join(bad)}: run the playbook site" if bad else ""


def only_nginx_reaches_its_socket(view: View) -> str:
    found = view.found["socket"]
    if found["link"] != found["expected"]:
        return f"current.sock leads to {found['link'] or 'nothing'}"
    if found["nginx"] not in ("", "ok"):
        return f"nginx can't connect: {found['nginx']}"
    return "any account can connect" if found["stranger"] == "ok" else ""


def its_sockets_belong_to_root(view: View) -> str:
    """Else an application could replace a socket, and nginx would ask another application under its name."""
    found = view.found["socket"]
    if not found["inherited"]:
        return (
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
    return f"{'; '.join(wrong)}. Start new processes: restart.yml -e app={view.name}" if wrong else ""


def its_units_are_hardened(view: View) -> str:
    """The units of the web process and of the background processes. supervisor has no sandbox."""
    # A different value in the inventory is intended.
    hardened = {key: value for key, value in HARDENED.items() if key not in view.app["systemd"]}
    units = {"": view.process.get("unit")}
    units |= {f"{one['service']}: ": one.get("unit") for one in view.found["processes"]}
    weak = []
    for name, unit in units.items():
        if unit is None:
            continue
        weak += [f"{name}{key}={unit.get(key, '')}" for key, value in hardened.items() if unit.get(key, "") != value]
        if unit.get("User") != view.name:
            weak.append(f"{name}User={unit.get('User')}")
    return ", ".join(weak)


def its_background_processes_run(view: View) -> str:
    bad = [f"{one['service']} is {one['state']}" for one in view.found["processes"] if one["state"] != "running"]
    return ", ".join(bad)


def its_jobs_are_scheduled(view: View) -> str:
    bad = [one["name"] for one in view.found["jobs"] if not one["scheduled"]]
    return f"nothing starts {', '.join(bad)}" if bad else ""


def wrong_modes(files: dict[str, Any], wanted: dict[str, tuple[str, str | None, str]]) -> list[str]:
    bad = []
    for key, (owner, group, mode) in wanted.items():
        found = files.get(key)
        if found and (found["owner"], group and found["group"], found["mode"]) != (owner, group, mode):
            bad.append(f"{found['path']} is {found['owner']}:{found['group']} {found['mode']}")
    return bad


CHECKS: tuple[Callable[[View], str], ...] = (
    the_release_runs_and_is_good,
    no_other_release_runs,
    it_comes_back_after_a_boot,
    nginx_runs_what_is_configured,
    it_is_started_again_when_it_ends,
    its_workers_stay_alive,
    nginx_is_started_again_when_it_ends,
    it_listens_on_loopback_only,
    every_domain_is_healthy,
    every_redirect_leads_to_the_first_domain,
    http_leads_to_https,
    its_certificate_is_valid,
    its_headers_are_set,
    nginx_hides_its_version,
    static_files_come_from_nginx,
    secrets_are_for_the_application_alone,
    no_other_account_can_read_its_files,
    no_other_account_can_reach_its_processes,
    its_command_lines_hold_no_secret,
    it_sees_no_processes_of_others,
    it_can_not_change_its_own_code,
    its_environment_is_as_installed,
    what_its_builds_trust_is_closed_to_it,
    its_commands_are_sandboxed,
    only_nginx_reaches_its_socket,
    its_sockets_belong_to_root,
    its_units_are_hardened,
    its_background_processes_run,
    its_jobs_are_scheduled,
)


def checks(view: View) -> list[dict[str, Any]]:
    found = [(check.__name__.replace("_", " "), check(view)) for check in CHECKS]
    return [
        {"check": name, "problem": "", "note": str(text)}
        if isinstance(text, Note)
        else {"check": name, "problem": text, "note": ""}
        for name, text in found
    ]


def check_table(host: str, apps: list[dict[str, Any]]) -> list[str]:
    """The checks of every application as lines of text, the failed ones first."""
    lines = []
    for app in apps:
        failed = [one for one in app["checks"] if one["problem"]]
        others = [one for one in app["checks"] if one.get("note")]
        applicable = len(app["checks"]) - len(others)
        lines.append(f"{app['name']} on {host}: {applicable - len(failed)} of {applicable} hold")
        lines += [f"  FAILED {one['check']}: {one_line(one['problem'])}" for one in failed]
        lines += [f"  n/a    {one['check']}: {one_line(one['note'])}" for one in others]
        lines += [f"  ok     {one['check']}" for one in app["checks"] if not one["problem"] and not one.get("note")]
    return lines
