# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain that show in answers: the application's own, those through nginx, and static files. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ansible_collections.pyweb.stack.plugins.module_utils.status.row import RESTARTS, answer_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding, last_words
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.process import socket, upstream_link
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.refusals import refusal
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import protected

ON_SOCKET = "answer on the socket"
OTHER_CONFIGURATION = "another part of nginx's configuration answers instead"
SEARCH = "search for it in the output of nginx -T on the host"


def direct_answer(view: View) -> Finding | None:
    """The answer of the application on its socket, without nginx."""
    answer, path, link = view.found["direct"], view.found["question"]["path"], view.found["socket"]
    if not view.running or view.direct_works or link["link"] != link["expected"] or not link["there"]:
        return None
    if view.process["restarts"] >= RESTARTS:
        return None
    cause, fix = why_silent(view, answer) if answer["status"] is None else why_unhealthy(view, answer["status"], path)
    seen = f"asked for {path} on its own socket, the application gives: {answer_text(answer)}"
    return Finding(ON_SOCKET, seen, cause, fix)


def why_silent(view: View, answer: dict[str, Any]) -> tuple[str, str]:
    if "no answer within" not in answer["error"]:
        return last_words(view.found) or "its workers end while they answer", "read its log on the host"
    return (
        "all its workers are busy or blocked: each waits for something (a database, another service, a lock), or there "
        "are too few of them",
        "find out what the requests wait for, and set a time-out of its own for it; then change workers, threads or "
        f"timeout. For now: ansible-playbook restart.yml -e app={view.name}",
    )


def why_unhealthy(view: View, status: int, path: str) -> tuple[str, str]:
    if status == 404:
        return (
            f"the application has no page {path}",
            "set health.path to a page that it has. If it has this one: are its routes registered under "
            'if __name__ == "__main__", or does site.path not match?',
        )
    if status == 400:
        return (
            f"it refuses the host name {view.found['question']['host']}",
            "let it accept the names of site.domains (Flask: TRUSTED_HOSTS; Django: ALLOWED_HOSTS)",
        )
    if status == 503:
        log = f" ({last_words(view.found)})" if view.found["traceback"] else ""
        return f"it reports that it is not ready, or that a part of it is down{log}", "read its log on the host"
    if status >= 500 and (told := refusal(view)):
        return f"{last_words(view.found) or told[0]}: {told[1]}", told[2]
    if status >= 500 and view.found["traceback"]:
        return last_words(view.found), "fix that and deploy: ansible-playbook site.yml; or go back: rollback.yml"
    if status >= 500:
        return (
            "an exception in the application, which its log does not show",
            "let the application log to stderr, and read its log on the host",
        )
    expected = view.app["health"]["status"]
    return (
        f"health.status is {expected}, without {status}" if expected else f"it refuses the request for {path}",
        "set health.path to a page that needs no credentials, or add the status to health.status",
    )


def answer_through_nginx(view: View) -> Finding | None:
    """Whether nginx passes on the answer of the application."""
    front, direct = view.found["front"], view.found["direct"]
    bad = socket(view) or upstream_link(view)
    if not view.nginx_listeners or not view.direct_works or (bad and not bad.works):
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
        f"{OTHER_CONFIGURATION}: site.extra, nginx_extra, or a file in conf.d or sites-enabled with the same name and "
        "port",
        SEARCH,
    )


def scheme_and_host(view: View) -> Finding | None:
    """Where the application redirects its visitors: to the scheme and the host that they see."""
    if not view.direct_works:
        return None
    location = urlsplit(view.found["direct"]["headers"].get("location", ""))
    question = view.found["question"]
    if not location.netloc:
        return None
    if location.scheme == "https" and question["scheme"] == "http":
        return Finding(
            "scheme and host",
            f"the application redirects every visitor to https ({location.geturl()}), but this site has no TLS",
            "the application insists on https (a setting such as SECURE_SSL_REDIRECT, Talisman, a redirect of its own)",
            "turn that off, or give the site TLS. A health.path that answers without a redirect makes a better check",
        )
    if location.netloc.lower() not in (question["host"], *view.app["site"]["domains"]):
        return Finding(
            "scheme and host",
            f"the application redirects its visitors to another host: {location.geturl()}",
            "it uses another name than its visitors: a fixed SERVER_NAME, or it ignores X-Forwarded-Host",
            "set that name to one of site.domains; with proxy_fix: true the application trusts nginx's headers",
            works=True,
        )
    return None


def served(view: View) -> tuple[int, ...]:
    """The statuses with which nginx may answer for a file that exists."""
    return (200, 401, 403) if protected(view.app["site"]) else (200,)


def unreadable(found: dict[str, Any]) -> tuple[str, str]:
    """Why nginx may not read a file or folder that it serves, and what to do."""
    if not found.get("shared"):
        return (
            "its mode was changed, or the source has files that only their owner may read",
            "make the source's own files readable for others (chmod -R o+rX), on the host and in the source; "
            "then: ansible-playbook site.yml, which opens the other folders for nginx",
        )
    repair = f"for the files that are there: chmod -R go+rX {found['folder']}"
    if not found.get("lists"):
        return (
            "the file system of this shared folder has no access control lists, so nginx has only the rights of all "
            f"accounts, and the mode is {found['mode']}",
            "mount it with access control lists, or let the application create files with the mode 0644 and folders "
            f"with 0755; {repair}",
        )
    return (
        f"the application gave it the mode {found['mode']}, as tempfile does, or moved it there from another folder, "
        "so the right of nginx that new files get did not reach it",
        "let the application set the mode after it has written or moved an upload: os.chmod(path, 0o644), for a folder "
        f"0o755. In Django, FILE_UPLOAD_PERMISSIONS and FILE_UPLOAD_DIRECTORY_PERMISSIONS do it; {repair}",
    )


def left_out(found: dict[str, Any]) -> tuple[str, str]:
    """Why a release lacks a static folder that a .gitignore names, and the remedy."""
    return (
        f".gitignore leaves it out of the source ({found['ignored']}), and no build command has created it",
        "let a command of commands.build create it, or create it on the controller and run site.yml: a source.path is "
        "sent with the folders of site.static",
    )


def static_paths(view: View) -> Finding | None:
    """The folders that nginx serves itself."""
    for found in view.found["static"]:
        if not found["there"]:
            told = f"{found['url']} is served from {found['folder']}, which is not there"
            if found.get("ignored"):
                return Finding("static paths", told, *left_out(found))
            return Finding(
                "static paths",
                told,
                "site.static names a folder that the release does not have: the path is misspelt, or a build command "
                "does not make it",
                "correct site.static[].path (relative to the application root), or commands.build, and run site.yml",
            )
        if found["blocked"]:
            return Finding(
                "static paths",
                f"nginx may not read {found['blocked']}, which {found['url']} is served from",
                *unreadable(found),
            )
        answer = found.get("answer")
        if answer and answer["status"] not in served(view) and view.nginx_listeners and view.front_works:
            return Finding(
                "static paths",
                f"{found['asked']} is there, but nginx answers {answer_text(answer)}",
                OTHER_CONFIGURATION,
                SEARCH,
            )
    return None
