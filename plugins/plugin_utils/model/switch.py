# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for an application whose old release stops before the new one starts."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inheritance import words_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label

# The statuses of nginx for an application that is not there. With stop_first, it responds with 503 instead.
REPLACED = ("502", "504")


def check_switch(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report directives that have no effect because nginx responds with 503 while the application is stopped."""
    if app["switch"] != "stop_first":
        return
    site = app["site"]
    places = [(f"{where}.site", site)]
    places += [
        (f"{where}.site.locations {label(location, index)}", location)
        for index, location in enumerate(site["locations"])
    ]
    for place, item in places:
        for words in words_of(item["extra"]):
            found = [status for status in REPLACED if words[0] == "error_page" and status in words[1:-1]]
            if found:
                checker.problem(
                    f"{place}.extra",
                    f"error_page {' '.join(found)} has no effect with switch: stop_first, because visitors then get "
                    "503 with Retry-After instead. Remove it, and set error_pages: [{status: [503], page: busy.html}] "
                    "for a page of your own.",
                )
