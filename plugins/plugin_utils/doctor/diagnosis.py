# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Why a site does not work: the chain from visitor to application, walked from outside in. Pure.

Each link is a function that gives what is wrong with it, or nothing. None tells of what is only the consequence of a
link further in: where no process runs, nobody answers on its socket, and the process is what is told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.background import background_processes, jobs
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.certificates import certificate
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import RESTARTS, Finding, last_words
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View, answer_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.mapping import protected

# Seconds that a clock may be wrong before certificates, sessions and package lists notice.
CLOCK = 30.0
# What a disk and the memory need to have left, of their whole.
DISK_LOW, MEMORY_LOW = 0.05, 0.05
# Bytes, or files, with which nothing can be written any more.
DISK_FULL = 16 * 1024**2


def diagnose(view: View) -> dict[str, Any]:
    """What is broken, the outermost link first, and what will break next."""
    found = [finding for link in LINKS.values() for finding in (link(view),) if finding]
    if not view.found["release"]:
        found = [deployment(view)]
    return {
        "links": list(LINKS),
        "broken": [asdict(finding) for finding in found if not finding.works],
        "warnings": [asdict(finding) for finding in found if finding.works],
    }


def deployment(view: View) -> Finding:
    if not view.found["deployed"]:
        return Finding(
            "deployment",
            f"there is no application '{view.name}' on this host",
            "it was never deployed here, or was removed",
            "deploy it: ansible-playbook site.yml",
        )
    return Finding(
        "deployment",
        "no release of it has ever become live",
        "its first deployment failed, or was interrupted",
        "deploy again and read what it says: ansible-playbook site.yml; its past is told by releases.yml",
    )


# --- from outside -----------------------------------------------------------------------------------------------------


def name(view: View) -> Finding | None:
    """The names of the site, as the controller resolves them."""
    for visit in view.visits:
        if visit["resolved"] == []:
            return Finding(
                "name",
                f"the name {visit['domain']} does not resolve, asked from the controller",
                "it has no DNS record, or a misspelt one",
                f"make an A (or AAAA) record of {visit['domain']} that leads to this host ({visit['address']}), or "
                "mend site.domains",
            )
        if visit["resolved"] and is_address(visit["address"]) and visit["address"] not in visit["resolved"]:
            return Finding(
                "name",
                f"the name {visit['domain']} leads to {', '.join(visit['resolved'])}, but Ansible reaches this host at "
                f"{visit['address']}",
                "its DNS record leads elsewhere; fine if a load balancer or an address translation stands there",
                f"if nothing stands between, let the record lead to {visit['address']}",
                works=True,
            )
    return None


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def port(view: View) -> Finding | None:
    """From the controller to the port."""
    failed = [visit for visit in view.visits if visit["answer"]["status"] is None]
    if not failed or view.found["front"]["status"] is None or not own_listeners(view):
        return None
    seen = f"{failed[0]['address']}:{view.port} does not answer the controller ({failed[0]['answer']['error']}), but "
    if all(ipaddress.ip_address(one["address"]).is_loopback for one in own_listeners(view)):
        return Finding(
            "port",
            f"{seen}nginx listens on port {view.port} of the host itself only",
            "somebody has changed listen in nginx's configuration to a loopback address",
            "stop nginx (systemctl stop nginx) and put the configuration back: ansible-playbook site.yml; a reload "
            "alone can't open the port to all",
        )
    return Finding(
        "port",
        f"{seen}it answers on the host itself",
        "a firewall on the host or before it keeps visitors out",
        f"let TCP port {view.port} through (nft list ruleset, or iptables -S, and your provider's firewall)",
    )


# --- nginx ------------------------------------------------------------------------------------------------------------


def own_listeners(view: View) -> list[dict[str, Any]]:
    return [one for one in view.host["listeners"] if one["port"] == view.port and one["program"] == "nginx"]


def listener(view: View) -> Finding | None:
    """Somebody listens on the port, and it is nginx."""
    nginx = view.host["nginx"]
    others = [one for one in view.host["listeners"] if one["port"] == view.port and one["program"] != "nginx"]
    if nginx["running"] and (own_listeners(view) or view.plain_until_certified):
        return None
    if not nginx["installed"]:
        return Finding("listener", "nginx is not installed", "its package was removed", "ansible-playbook site.yml")
    if others:
        other = others[0]
        who = f"{other['program'] or 'another program'} (process {other['pid']}, account {other['account']})"
        return Finding(
            "listener",
            f"port {view.port} is held by {who}, not by nginx",
            "another program was started on the port while nginx was down, and keeps nginx out",
            f"stop that program (kill {other['pid']}, or its service), then: ansible-playbook site.yml",
        )
    if nginx["complaint"]:
        return Finding(
            "listener",
            "nginx does not run, and its configuration is refused",
            nginx["complaint"],
            refusal_remedy(nginx["complaint"]),
        )
    if not nginx["running"]:
        how = {"signal": " It was killed.", "oom-kill": " It was killed because memory ran out."}
        return Finding(
            "listener",
            f"nobody listens on port {view.port}: nginx does not run.{how.get(nginx.get('result', ''), '')}",
            "nginx was stopped, or was not started after a boot",
            "start it: ansible-playbook site.yml (or systemctl start nginx on the host)",
        )
    return Finding(
        "listener",
        f"nginx runs, but does not listen on port {view.port}",
        "it runs a configuration without this site",
        "ansible-playbook site.yml",
    )


def nginx_configuration(view: View) -> Finding | None:
    """What nginx runs is what is on the disk, and nginx would take it again."""
    nginx = view.host["nginx"]
    if not nginx["running"]:
        return None
    if nginx["complaint"]:
        return Finding(
            "nginx configuration",
            "nginx still runs what it loaded before, but refuses what is on the disk: it will not come back from a "
            "restart or a boot",
            nginx["complaint"],
            refusal_remedy(nginx["complaint"]),
            works=True,
        )
    if nginx["live"] and nginx["loaded"] != nginx["live"]:
        return Finding(
            "nginx configuration",
            "nginx does not run the configuration that is on the disk",
            "it was not reloaded after the last change, or was started with another one",
            "ansible-playbook site.yml",
            works=True,
        )
    return None


def refusal_remedy(complaint: str) -> str:
    """What to do about a configuration that nginx refuses."""
    if "cannot load certificate" in complaint:
        return "put the certificate back, or have a new one made: ansible-playbook site.yml"
    return (
        "take that line back where it was written (a file beside this collection's: remove it), then: "
        "ansible-playbook site.yml"
    )


def site(view: View) -> Finding | None:
    """nginx knows the name."""
    answer = view.found["front"]
    if not own_listeners(view):
        return None
    closed = answer["status"] is None and "no answer within" not in answer["error"]
    if view.found["configured"] and not closed:
        return None
    named = view.app["site"]["domains"]
    asked = f"the name {named[0]}" if named else "requests without a known name"
    return Finding(
        "site",
        "nginx closes the connection without an answer" if closed else f"asked for {asked}, another site answers",
        f"nginx has no site for {asked}: its file was removed, or the site was never configured",
        "ansible-playbook site.yml",
    )


def maintenance(view: View) -> Finding | None:
    if not view.found["maintenance"]:
        return None
    return Finding(
        "maintenance",
        "visitors get the page of maintenance (503), only the health URL and chosen addresses are answered",
        "somebody has closed the application",
        f"open it again: ansible-playbook maintenance.yml -e maintenance=off -e app={view.name}",
        works=True,
    )


# --- between nginx and the application --------------------------------------------------------------------------------


def upstream_link(view: View) -> Finding | None:
    """current.sock, which nginx follows to the live release."""
    found = view.found["socket"]
    if found["link"] == found["expected"]:
        return None
    restart = f"ansible-playbook restart.yml -e app={view.name}"
    if not found["link"]:
        return Finding(
            "upstream link",
            f"/{view.name}/current.sock, the link that nginx follows to the live release, is missing",
            "it was removed by hand",
            f"new processes bring it back: {restart}",
        )
    leads = f"current.sock leads to {found['link']}, but the live release listens on {found['expected']}"
    return Finding(
        "upstream link",
        f"{leads}, and {'nothing is there' if not found['there'] else 'something answers there'}",
        "it was changed by hand, or a switch was interrupted",
        f"new processes put it right: {restart}",
        works=view.front_works,
    )


def socket(view: View) -> Finding | None:
    """The socket that the link leads to, and whether nginx may go there."""
    found = view.found["socket"]
    if not view.running or not found["link"] or found["link"] != found["expected"]:
        return None
    restart = f"ansible-playbook restart.yml -e app={view.name}"
    if not found["there"]:
        return Finding(
            "socket",
            f"the application runs, but its socket {found['link']} is gone",
            "the file was removed (something cleans /run?); the process does not notice",
            f"start new processes: {restart}",
        )
    if found["blocked"]:
        folder = found["folder"]
        if found["blocked"] == folder.get("path"):
            now = f"{folder['owner']}:{folder['group']} {folder['mode']}"
            seen = (
                f"nginx may not pass the folder {found['blocked']} ({now}, but it should be {view.name}:www-data 0710)"
            )
        else:
            seen = f"nginx may not pass {found['blocked']}"
        return Finding(
            "socket",
            seen,
            "its owner, group or mode was changed",
            f"each start sets the folder right: {restart}"
            if found["link"].startswith(found["blocked"])
            else "each run sets the folder right: ansible-playbook site.yml",
        )
    if found["nginx"] and found["nginx"] != "ok" and "again" not in found["nginx"] and "timed" not in found["nginx"]:
        return Finding(
            "socket",
            f"nobody listens on {found['link']} ({found['nginx'].lower()})",
            "the process that made the socket has gone, and the one that runs listens elsewhere",
            f"start new processes: {restart}",
        )
    return None


# Exit statuses by which systemd tells that it could not even start the program (systemd.exec(5)).
STARTS = {
    "200": "its folder is missing",
    "203": "its program can't be run",
    "209": "its output can't be opened",
    "216": "its group is missing",
    "217": "its account is missing",
    "226": "its sandbox can't be made: a folder that it names is missing",
}


def process(view: View) -> Finding | None:
    """The process of the live release."""
    now = view.process
    by_hand = f"ansible-playbook restart.yml -e app={view.name}"
    if not view.found["account"]:
        return Finding(
            "process", f"the account '{view.name}' is missing", "it was removed by hand", "ansible-playbook site.yml"
        )
    if view.found["process_manager"] == "supervisor" and view.host["supervisor"] != "running":
        return Finding(
            "process",
            "supervisor, which keeps the application alive, does not run",
            "it was stopped or killed, or was not started after a boot",
            "start it: ansible-playbook site.yml (or service supervisor start on the host)",
            works=view.front_works,
        )
    if now.get("stopped"):
        return Finding(
            "process",
            f"its processes are suspended (master {now['pid']}): they are there, but do nothing",
            "somebody sent SIGSTOP, or a debugger holds them",
            f"let them go on: kill -CONT {now['pid']} and its children; or {by_hand}",
        )
    if now["state"] == "running" and now["restarts"] < RESTARTS and not view.crashing:
        return None
    if now["state"] == "running" and view.direct_works:
        return Finding(
            "process",
            f"it runs, but had to be started again {now['restarts']} times",
            last_words(view.found) or "its log tells no reason",
            "read its log, mend what ends it, and deploy: ansible-playbook site.yml",
            works=True,
        )
    state = {
        "starting": f"it ends and is started again, {now['restarts']} times so far (a crash loop)",
        "running": f"it ends and is started again, {now['restarts']} times so far (a crash loop)",
        "failed": "it has ended, and its process manager has given up on it",
        "stopped": "it is stopped",
        "stopping": "it is being stopped",
        "absent": "it is stopped, and would not come back with a boot",
    }[now["state"]]
    cause, fix = why_ended(view)
    return Finding("process", f"the process of release {view.found['release']} does not run: {state}", cause, fix)


def why_ended(view: View) -> tuple[str, str]:
    """The likely reason that a process is not there, and what to do about it."""
    now, unit = view.process, view.process.get("unit", {})
    rollback = f"or go back to the release before: ansible-playbook rollback.yml -e app={view.name}"
    anew = f"ansible-playbook restart.yml -e app={view.name}"
    full = full_disk(view)
    # One that ended by order has not ended by what its log tells of.
    by_order = now["state"] in ("stopped", "absent") and unit.get("Result", "success") == "success"
    words = "" if by_order else last_words(view.found)
    if full or "No space left on device" in view.found["log"] + view.found["traceback"]:
        where = full["path"] if full else "a disk"
        return f"{where} is full", f"make room (du -xh {where} | sort -h | tail), then: {anew}"
    python = view.found["files"].get("python", {"there": True})
    if not python["there"]:
        return (
            f"its virtual environment is gone or broken: {python['path']} leads to no interpreter",
            f"was Python upgraded, or venvs/ cleaned? A new release gets a new environment: remove {python['venvs']}, "
            "add a variable to env, and run site.yml",
        )
    if unit.get("Result") == "oom-kill":
        return (
            f"it used more memory than it may (limits.memory: {unit.get('MemoryMax', 'the host')}) and was killed",
            f"raise limits.memory, or lower workers, and run site.yml; {rollback}",
        )
    if "Permission denied" in view.found["log"]:
        line = next(line for line in reversed(view.found["log"].splitlines()) if "Permission denied" in line)
        return (
            f"its account may not read what it needs: {line.strip()}",
            f"owner or mode of that file was changed: put it back (env is root:{view.name} 0640), then: {anew}",
        )
    if words:
        return words, f"mend that and deploy: ansible-playbook site.yml; {rollback}"
    if unit.get("ExecMainStatus") in STARTS and now["state"] != "absent":
        return f"systemd could not start it: {STARTS[unit['ExecMainStatus']]}", "ansible-playbook site.yml"
    if unit.get("Result") == "signal":
        return f"it was killed by signal {unit.get('ExecMainStatus')}", f"start it: {anew}"
    if now.get("said"):
        return f"supervisor says: {now['said']}", "mend that, then: ansible-playbook site.yml"
    return "somebody stopped it", f"start it: {anew}"


# --- answers ----------------------------------------------------------------------------------------------------------


def direct_answer(view: View) -> Finding | None:
    """What the application answers on its socket, without nginx."""
    answer, path = view.found["direct"], view.found["question"]["path"]
    blocked = view.found["socket"]
    if not view.running or view.direct_works or blocked["link"] != blocked["expected"] or not blocked["there"]:
        return None
    if view.process["restarts"] >= RESTARTS:
        return None
    told = f"asked for {path} on its own socket, the application gives: {answer_text(answer)}"
    link = "answer on the socket"
    if answer["status"] is None:
        if "no answer within" not in answer["error"]:
            return Finding(
                link, told, last_words(view.found) or "its workers end while they answer", "read its log on the host"
            )
        return Finding(
            link,
            told,
            "all its workers are busy or blocked: each waits for something (a database, another service, a lock), or "
            "there are too few of them",
            "find out what the requests wait for, give that a time-out of its own; then workers, threads, timeout; "
            f"for now: ansible-playbook restart.yml -e app={view.name}",
        )
    status = answer["status"]
    if status == 404:
        cause, fix = (
            f"the application knows no page {path}",
            "name one that it has as health.path; if it has this one: are its routes registered under "
            'if __name__ == "__main__", or does site.path not match?',
        )
    elif status == 400:
        cause, fix = (
            f"it refuses the host name {view.found['question']['host']}",
            "let it accept the names of site.domains (Flask: TRUSTED_HOSTS; Django: ALLOWED_HOSTS)",
        )
    elif status == 503:
        log = f" ({last_words(view.found)})" if view.found["traceback"] else ""
        cause, fix = f"it says itself that it is not ready, or a part of it is down{log}", "read its log on the host"
    elif status >= 500 and view.found["traceback"]:
        cause, fix = last_words(view.found), "mend that and deploy: ansible-playbook site.yml; or go back: rollback.yml"
    elif status >= 500:
        cause, fix = (
            "an exception in the application, which its log does not show",
            "let the application log to stderr, and read its log on the host",
        )
    else:
        wanted = view.app["health"]["status"]
        cause, fix = (
            f"health.status is {wanted}, without {status}" if wanted else f"it refuses the request for {path}",
            "name a health.path that a visitor without credentials may read, or add the status to health.status",
        )
    return Finding(link, told, cause, fix)


def answer_through_nginx(view: View) -> Finding | None:
    """nginx gives what the application gives."""
    front, direct = view.found["front"], view.found["direct"]
    bad = socket(view) or upstream_link(view)
    if not own_listeners(view) or not view.direct_works or (bad and not bad.works):
        return None
    if front["status"] in (direct["status"], *served(view)[1:]):
        return None
    if front["status"] is None and "no answer within" not in front["error"]:
        return None
    seen = f"on its socket the application gives {answer_text(direct)}, through nginx comes {answer_text(front)}"
    if view.found["nginx_errors"]:
        return Finding(
            "answer through nginx", seen, f"nginx says: {view.found['nginx_errors'][-1]}", "ansible-playbook site.yml"
        )
    return Finding(
        "answer through nginx",
        seen,
        "another part of nginx's configuration answers in its place: site.extra, nginx_extra, or a file in conf.d or "
        "sites-enabled with the same name and port",
        "look for it in what nginx -T prints on the host",
    )


def scheme_and_host(view: View) -> Finding | None:
    """Where the application sends its visitors: it must take itself for what they see."""
    if not view.direct_works:
        return None
    location = urlsplit(view.found["direct"]["headers"].get("location", ""))
    asked = view.found["question"]
    if not location.netloc:
        return None
    if location.scheme == "https" and asked["scheme"] == "http":
        return Finding(
            "scheme and host",
            f"the application sends every visitor to https ({location.geturl()}), but this site has no TLS",
            "the application insists on https (a setting such as SECURE_SSL_REDIRECT, Talisman, a redirect of its own)",
            "turn that off, or give the site TLS; a health.path that answers without a redirect would tell more",
        )
    if location.netloc.lower() not in (asked["host"], *view.app["site"]["domains"]):
        return Finding(
            "scheme and host",
            f"the application sends its visitors to another host: {location.geturl()}",
            "it does not know the name that its visitors use: a fixed SERVER_NAME, or it ignores X-Forwarded-Host",
            "set that name to one of site.domains; proxy_fix: true makes it believe what nginx says",
            works=True,
        )
    return None


def served(view: View) -> tuple[int, ...]:
    """What nginx may answer for a file that is there."""
    return (200, 401, 403) if protected(view.app["site"]) else (200,)


def static_paths(view: View) -> Finding | None:
    """The folders that nginx serves itself."""
    for found in view.found["static"]:
        if not found["there"]:
            return Finding(
                "static paths",
                f"{found['url']} is served from {found['folder']}, which is not there",
                "site.static names a folder that the release does not have: a misspelt path, or a build command that "
                "should make it",
                "mend site.static[].path (it counts from the application root), or commands.build, and run site.yml",
            )
        if found["blocked"]:
            return Finding(
                "static paths",
                f"nginx may not read {found['blocked']}, which {found['url']} is served from",
                "its mode was changed, or the source has files that only their owner may read",
                "make the source's own files readable for others (chmod -R o+rX), on the host and in the source; "
                "then: ansible-playbook site.yml, which opens the other folders for nginx",
            )
        answer = found.get("answer")
        if answer and answer["status"] not in served(view) and own_listeners(view) and view.front_works:
            return Finding(
                "static paths",
                f"{found['asked']} is there, but nginx answers {answer_text(answer)}",
                "another part of nginx's configuration answers in its place",
                "look for it in what nginx -T prints on the host",
            )
    return None


# --- the host ---------------------------------------------------------------------------------------------------------


def full_disk(view: View) -> dict[str, Any] | None:
    for disk in view.host["disks"]:
        if (disk["size"] and disk["free"] < DISK_FULL) or (disk["files"] and disk["files_free"] == 0):
            return disk
    return None


def disk(view: View) -> Finding | None:
    full = full_disk(view)
    if full:
        left = f"{full['free'] // 1024**2} MiB are left"
        what = left if full["free"] < DISK_FULL else "no further file can be made"
        return Finding(
            "disk",
            f"the disk of {full['path']} is full: {what}",
            "logs, uploads, old releases or a forgotten file have filled it",
            f"find the largest: du -xh {full['path']} | sort -h | tail; webapp_keep_releases limits the releases",
            works=view.front_works,
        )
    for one in view.host["disks"]:
        if one["size"] and one["free"] < DISK_LOW * one["size"]:
            return Finding(
                "disk",
                f"the disk of {one['path']} is nearly full: {one['free'] // 1024**2} MiB of "
                f"{one['size'] // 1024**2} MiB are left",
                "logs, uploads or old releases",
                f"find the largest: du -xh {one['path']} | sort -h | tail",
                works=True,
            )
    return None


def memory(view: View) -> Finding | None:
    found = view.host["memory"]
    if found["available"] >= MEMORY_LOW * found["total"]:
        return None
    return Finding(
        "memory",
        f"{found['available'] // 1024**2} MiB of {found['total'] // 1024**2} MiB memory are left",
        f"the processes of the host need more than it has; those of {view.name} take "
        f"{view.process['memory'] // 1024**2} MiB",
        "lower workers, set limits.memory, or give the host more",
        works=True,
    )


def clock(view: View) -> Finding | None:
    ahead = view.host["ahead"]
    if abs(ahead) <= CLOCK:
        return None
    return Finding(
        "clock",
        f"the host's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} the controller's",
        "the time is not kept by anything on the host (or on the controller)",
        "apt install systemd-timesyncd (or chrony); certificates and sessions depend on the time",
        works=True,
    )


def next_boot(view: View) -> Finding | None:
    """What runs now would come back."""
    nginx = view.host["nginx"]
    if nginx["installed"] and nginx["enabled"] is False:
        return Finding(
            "next boot",
            "nginx would not be started by a boot",
            "systemctl disable nginx",
            "systemctl enable nginx on the host, or ansible-playbook site.yml",
            works=True,
        )
    if view.process["state"] == "running" and not view.process["enabled"]:
        return Finding(
            "next boot",
            "the live release would not be started by a boot",
            "its instance was disabled by hand",
            f"ansible-playbook restart.yml -e app={view.name}",
            works=True,
        )
    return None


LINKS: dict[str, Callable[[View], Finding | None]] = {
    "name": name,
    "port": port,
    "listener": listener,
    "nginx configuration": nginx_configuration,
    "site": site,
    "certificate": certificate,
    "maintenance": maintenance,
    "upstream link": upstream_link,
    "socket": socket,
    "process": process,
    "answer on the socket": direct_answer,
    "answer through nginx": answer_through_nginx,
    "scheme and host": scheme_and_host,
    "static paths": static_paths,
    "background processes": background_processes,
    "jobs": jobs,
    "disk": disk,
    "memory": memory,
    "clock": clock,
    "next boot": next_boot,
}


def report(host: str, app: str, diagnosis: dict[str, Any]) -> list[str]:
    """A diagnosis as lines for people."""
    broken, warnings = diagnosis["broken"], diagnosis["warnings"]
    if not broken:
        looked = f".\n  Looked at: {', '.join(diagnosis['links'])}."
        lines = f"{app} on {host} works{', but:' if warnings else looked}".splitlines()
    else:
        # Visitors notice nothing of what is only in the background.
        partly = broken[0]["link"] == "background processes"
        what = "answers its visitors, but a part of it DOES NOT WORK" if partly else "DOES NOT WORK"
        lines = [f"{app} on {host} {what}. The first broken link: {broken[0]['link']}"]
    for number, finding in enumerate([*broken, *warnings]):
        if number or not broken:
            lines.append(f"  also broken: {finding['link']}" if number < len(broken) else f"  watch: {finding['link']}")
        lines += [f"    seen:   {finding['seen']}", f"    cause:  {finding['cause']}", f"    fix:    {finding['fix']}"]
    return lines
