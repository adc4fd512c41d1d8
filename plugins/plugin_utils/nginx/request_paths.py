# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Requests whose path nginx and an application could read differently. Pure.

nginx compares locations and rules with a path that it has decoded and cleaned. The application gets the path as the
client sent it. Dot segments would make a difference on every site. Encoded slashes and doubled slashes make one only
where the rules depend on the path, and applications may use them elsewhere.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts

# The settings of a location that decide who may request what, and how often.
RULES = ("basic_auth", "allow", "deny", "satisfy", "rate_limit", "connection_limit", "maintenance")

# Directives of a user that decide the same.
RULE_DIRECTIVES = re.compile(
    r"(?m)(?:^|[;{}\s])(?:auth_\w+|allow|deny|satisfy|limit_\w+|secure_link\w*|return\s+[45]\d\d)\b"
)
OWN_LOCATION = re.compile(r"(?m)(?:^|[;{}\s])(?:location|if)\b")

REFUSE_AMBIGUOUS = ["if ($pyweb_ambiguous) {", "    return 400;", "}"]


def path_lines(site: dict[str, Any], parts: Parts) -> list[str]:
    """Lines of a server that answer 400 to such requests, before any rule is applied."""
    paths = paths_with_rules(site)
    if not paths:
        return list(REFUSE_AMBIGUOUS)
    # A doubled slash matters only inside the path of a rule: nginx finds the rule without it.
    depth = max(0, *(path.count("/") - 1 for path in paths))
    ambiguous = parts.map(
        "$request_uri",
        {
            r'"~^[^?]*(?:\x5c|%2[Ff]|%5[Cc])"': "1",
            f'"~^(?:/[^/?]+){{0,{depth}}}//"': "1",
        },
    )
    return [*REFUSE_AMBIGUOUS, f"if ({ambiguous}) {{", "    return 400;", "}"]


def paths_with_rules(site: dict[str, Any]) -> list[str]:
    """The paths that rules depend on; empty if the same rules hold for every path of the applications."""
    passed = [location for location in site["locations"] if location["upstream"] is not None]
    rules = [rules_of(location, site) for location in passed]
    differ = any(found != rules[0] for found in rules) or any(has_own_rules(location["extra"]) for location in passed)
    paths = [location["path"].rstrip("/") for location in passed] if differ else []
    for maintenance in (item["maintenance"] for item in (site, *passed)):
        if maintenance and maintenance["enabled"]:
            paths += maintenance["open_paths"]
    if OWN_LOCATION.search(site["extra"]) and has_own_rules(site["extra"]):
        paths += [f"/{path}" for path in re.findall(r"location\s+[=~*^\s]*/([\w./-]*)", site["extra"])] or ["/"]
    return paths


def rules_of(location: dict[str, Any], site: dict[str, Any]) -> dict[str, Any]:
    """The rules that hold in a location: its own, else those of its site. Disabled ones count as none."""
    found = {key: site[key] if location[key] is None else location[key] for key in RULES}
    if found["basic_auth"] and not found["basic_auth"]["users"]:
        found["basic_auth"] = None
    if found["maintenance"] and not found["maintenance"]["enabled"]:
        found["maintenance"] = None
    return {key: value or None for key, value in found.items()}


def has_own_rules(extra: str) -> bool:
    return bool(RULE_DIRECTIVES.search(extra))
