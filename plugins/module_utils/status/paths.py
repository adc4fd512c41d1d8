# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a published status page, which both sides name."""

from __future__ import annotations

# The folder that nginx serves. Only root and the group of nginx can enter it.
FOLDER = "/var/lib/pyweb-status-page"
PAGE = f"{FOLDER}/index.html"
PROGRAM = "/usr/local/lib/pyweb/status_page.pyz"
PLAN = "/usr/local/lib/pyweb/status_page.json"
UNIT = "pyweb-status-page"
SERVICE = f"/etc/systemd/system/{UNIT}.service"
TIMER = f"/etc/systemd/system/{UNIT}.timer"
WANTS = f"/etc/systemd/system/timers.target.wants/{UNIT}.timer"
# Seconds after which a page is old: three renewals were missed.
OLD = 900
