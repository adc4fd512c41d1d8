# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The application model: ``webapps`` of the inventory, checked and filled with defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.application import check_app
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.together import check_together
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts


class Applications(list[dict[str, Any]]):
    """Applications that are already normalised. ``normalised`` returns them unchanged."""

    def where(self, condition: Callable[[dict[str, Any]], bool]) -> Applications:
        """The applications that meet a condition, still normalised."""
        return Applications(app for app in self if condition(app))

    @property
    def present(self) -> Applications:
        return self.where(lambda app: app["state"] == "present")


def normalised(webapps: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The applications with types converted and defaults filled in, and every problem found in them."""
    if isinstance(webapps, Applications):
        return webapps, []
    checker = Checker()
    options = role_options("webapp")["webapps"]["options"]
    if not isinstance(webapps, list):
        if isinstance(webapps, dict):
            checker.problem("webapps", mapping_problem(webapps))
        else:
            checker.list(webapps, {"elements": "dict"}, "webapps")
        return [], checker.problems
    apps = []
    for index, item in enumerate(webapps):
        where = f"webapps {label(item, index)}"
        before = len(checker.problems)
        app = checker.mapping(with_settings(checker, item, where), options, where)
        if len(checker.problems) == before:
            check_app(checker, app, where)
            check_texts(checker, app, {"options": options}, where)
        apps.append(app)
    if not checker.problems:
        check_together(checker, apps)
    return (apps if checker.problems else Applications(apps)), checker.problems


def mapping_problem(webapps: dict[Any, Any]) -> str:
    """The problem of applications that are written as a mapping: of their names, or as one application."""
    first = next(iter(webapps), "shop")
    name = webapps.get("name", first) if {"name", "source", "wsgi"} & {*webapps} else first
    return f"this is a mapping, but it must be a list. Begin each application with a dash and its name: - name: {name}"


def with_settings(checker: Checker, item: Any, where: str) -> Any:
    """An application without a text as the settings of a server; the problem translates it."""
    texts = {key: item[key] for key in SERVERS if isinstance(item.get(key), str)} if isinstance(item, dict) else {}
    for key, text in texts.items():
        rules = SERVERS[key].rules
        checker.problem(f"{where}.{key}", rules.translator(rules.OWN).text_problem(text))
    return {**item, **{key: {} for key in texts}} if texts else item
