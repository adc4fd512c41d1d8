# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Reports that a run prints at its end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_line, lease_of
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import hold_line, short_run, shown_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import host_header
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present

# The CA certificate of the host, which signs the certificates of mode `selfsigned`.
CA = "/etc/nginx/pyweb/certificates/ca.crt"


def urls(
    webapps: Any,
    address: str,
    builds: list[dict[str, Any]],
    stages: Iterable[Mapping[str, Any]] = (),
    switched: Iterable[Mapping[str, Any]] = (),
    check: bool = False,
) -> list[str]:
    """One line for every application: its addresses, and whether this run has switched to a new release.

    ``stages`` are the results of the later stages, in which an application may have failed. ``switched`` are the
    results of the switches. One that has stopped the old release first says for how long. With ``check``, the run is in
    check mode, so the lines say what would change.
    """
    failed = {name for stage in stages for name in (stage.get("failures") or {}).get("names", [])}
    found = {build["name"]: build for build in builds}
    seconds = {result["name"]: result.get("without_service") for result in switched or []}
    lines = []
    for app in present(webapps):
        places = ", ".join(addresses_of(app, address))
        build = found.get(app["name"], {})
        if app["name"] in failed or build.get("action") == "failed":
            serves = f"release {build['current']} still serves" if build.get("current") else "no release serves"
            lines.append(f"{app['name']} FAILED: {serves} {places}")
            continue
        lines.append(f"{app['name']} {state_of(build, places, outage(seconds.get(app['name'])), check)}")
    if any(app["site"]["tls"]["mode"] == "selfsigned" for app in present(webapps)):
        lines.append(f"Import {CA} from this host into your browser to trust its certificates")
    return lines


def addresses_of(app: Mapping[str, Any], address: str) -> list[str]:
    """The URLs of an application, on a host with an address."""
    site = app["site"]
    secure = site["tls"]["mode"] != "none"
    scheme, port, usual = ("https", site["tls"]["port"], 443) if secure else ("http", site["port"], 80)
    path = site["path"] if site["path"].endswith("/") else site["path"] + "/"
    return [f"{scheme}://{host_header(domain, port, usual)}{path}" for domain in site["domains"] or [address]]


def state_of(build: Mapping[str, Any], places: str, pause: str, check: bool) -> str:
    """Where an application is, and with which release, as the rest of a line."""
    current, candidate = build.get("current") or "", build.get("candidate") or ""
    if build.get("held"):
        return f"is at {places} (release {current}, HELD since a rollback{pause})"
    if build.get("action") == "none":
        return f"is at {places} (release {current}, unchanged{pause})"
    if check:
        new = f"release {candidate}" if candidate else "a new release"
        if not current:
            return f"would be at {places} ({new}, the first)"
        return f"is at {places} (release {current}; {new} would replace it)"
    return f"is at {places} ({f'release {candidate}, new' if candidate else 'a new release'}{pause})"


def outage(seconds: Any) -> str:
    """For how long no release has served, as a part of a sentence; empty if one always has."""
    return f", after {seconds:.1f} seconds without service" if isinstance(seconds, (int, float)) else ""


def release_table(apps: list[dict[str, Any]]) -> list[str]:
    """The releases of a host as lines of a table. The live ones are marked."""
    head = ("", "application", "release", "result", "revision", "source", "built (UTC)", "by", "run")
    rows = [head]
    for app in apps:
        for release in app["releases"]:
            live = release["id"] == app["current"]
            source = str(release.get("source") or "")
            rows.append(
                (
                    "*" if live else "",
                    app["name"],
                    release["id"],
                    state_in_table(release, app, live),
                    shown_revision(release["revision"], source),
                    shown_revision("", source) if source else "",
                    release["created"].replace("T", " ").rstrip("Z"),
                    release["by"],
                    short_run(release.get("run")),
                )
            )
        if not app["releases"]:
            rows.append(("", app["name"], "none", "", "", "", "", "", ""))
    lines = [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    leased = [lease_line(app["name"], app["lease"]) for app in apps if lease_of(app.get("lease"))]
    held = [hold_line(app["name"], app["hold"]) for app in apps if app.get("hold")]
    return [*table, *map(one_line, [*leased, *held])]


def state_in_table(release: Mapping[str, Any], app: Mapping[str, Any], live: bool) -> str:
    """The state of a release for the table. A provisional one serves, and can still be reverted."""
    if not live:
        return str(release["state"])
    return "provisional" if lease_of(app.get("lease")).get("release") == release["id"] else "live"
