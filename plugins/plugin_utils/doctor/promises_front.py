# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The promises about what visitors get: answers, redirects, certificates, headers and static files. Pure."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.status.row import answer_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.answers import left_out, served, unreadable
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import Verdict, does_not_apply, judged
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.visits import wanted_headers

NO_TLS = "the site has no TLS"
NO_ANSWER = "the site did not answer the controller"


def every_domain_is_healthy(view: View) -> Verdict:
    visits = [visit for visit in view.visits if not visit["redirect"]]
    bad = [
        f"{visit['domain'] or visit['address']}: {answer_text(visit['answer'])}"
        for visit in visits
        if not view.passes(visit["answer"])
    ]
    return judged(visits, bad, nothing="the controller requested no domain of the site")


def every_redirect_leads_to_the_first_domain(view: View) -> Verdict:
    visits = [visit for visit in view.visits if visit["redirect"]]
    wanted = f"://{(view.app['site']['domains'] or [''])[0]}"
    bad = []
    for visit in visits:
        location = visit["answer"]["headers"].get("location", "")
        if visit["answer"]["status"] not in (301, 308) or wanted not in location:
            bad.append(f"{visit['domain']}: {answer_text(visit['answer'])} {location}".rstrip())
    return judged(visits, bad, nothing="site.redirects is empty")


def http_leads_to_https(view: View) -> Verdict:
    """A site with TLS redirects requests over http to it."""
    visits = [visit for visit in view.visits if visit["plain"]]
    if visits and view.plain_until_certified:
        return does_not_apply("no certificate was issued yet, so the site is served over http")
    bad = [
        f"{visit['domain'] or visit['address']}: {answer_text(visit['plain'])}"
        for visit in visits
        if visit["plain"]["status"] not in (301, 308)
        or not visit["plain"]["headers"].get("location", "").startswith("https://")
    ]
    return judged(visits, bad, nothing=NO_TLS)


def its_certificate_is_valid(view: View) -> Verdict:
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
    return judged(view.found["certificates"], bad, nothing=NO_TLS)


def its_headers_are_set(view: View) -> Verdict:
    """Every answer has the headers that the inventory declares."""
    wanted = wanted_headers(view.app)
    if not wanted:
        return does_not_apply("the inventory declares no header: site.header_preset and site.headers are empty")
    answers = [visit["answer"] for visit in view.visits if not visit["redirect"]]
    answers = [answer for answer in answers if answer["status"] is not None]
    missing = {name for answer in answers for name in wanted if name.lower() not in answer["headers"]}
    return judged(answers, [f"not sent: {', '.join(sorted(missing))}"] if missing else [], nothing=NO_ANSWER)


def nginx_hides_its_version(view: View) -> Verdict:
    answers = [visit["answer"] for visit in view.visits if visit["answer"]["status"] is not None]
    servers = {answer["headers"].get("server", "") for answer in answers} - {"", "nginx"}
    bad = [f"the header Server says: {', '.join(sorted(servers))}"] if servers else []
    return judged(answers, bad, nothing=NO_ANSWER)


def static_files_come_from_nginx(view: View) -> Verdict:
    bad, asked, empty = [], [], []
    for found in view.found["static"]:
        if not found["there"]:
            cause = f": {'. Remedy: '.join(left_out(found))}" if found.get("ignored") else ""
            bad.append(f"{found['folder']} is not there{cause}")
        elif found["blocked"]:
            bad.append(f"nginx may not read {found['blocked']}: {'. Remedy: '.join(unreadable(found))}")
        elif "answer" not in found:
            empty.append(f"{found['url']} was not requested, because {found['folder']} has no file yet")
        else:
            asked.append(found)
            if found["answer"]["status"] not in served(view):
                bad.append(f"{found['asked']}: {answer_text(found['answer'])}")
    return judged(asked, bad, nothing="site.static is empty", left_out=empty)
