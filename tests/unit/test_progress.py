# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lines about a module call while it runs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import progress
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.progress import doing


@pytest.mark.parametrize(
    ("module", "arguments", "told"),
    [
        (
            "pyweb.stack.apply",
            {"parts": [{"role": "webapp"}, {"role": "nginx"}]},
            "applying the parts webapp, nginx and building releases",
        ),
        ("pyweb.stack.apply", {"parts": [{"role": "nginx"}]}, "applying the parts nginx"),
        (
            "pyweb.stack.webapp_activate",
            {"apps": [{"name": f"a{number}"} for number in range(7)]},
            "starting new processes of a0, a1, a2, a3, a4 and 2 more and waiting until they are healthy",
        ),
        (
            "pyweb.stack.webapp_activate",
            {"apps": [{"name": "shop"}], "stage": "commands"},
            "running the release commands of shop",
        ),
        (
            "pyweb.stack.webapp_activate",
            {"apps": [{"name": "shop"}], "stage": "commit"},
            "stopping the old release of shop",
        ),
        ("pyweb.stack.webapp_activate", {"apps": [{"name": "shop"}], "stage": "renew"}, ""),
        ("pyweb.stack.webapp_run", {"app": "shop"}, "running the command of shop"),
        (
            "pyweb.stack.webapp_activate",
            {"apps": [{"name": "shop", "switch": "rollback"}, {"name": "blog", "switch": "rollback"}]},
            "going back to an earlier release of shop, blog and waiting until it is healthy",
        ),
        ("pyweb.stack.webapp_activate", {"apps": [{"name": "shop", "state": "absent"}]}, "stopping and removing shop"),
        (
            "pyweb.stack.webapp_activate",
            {"apps": [{"name": "shop", "state": "absent"}, {"name": "blog", "state": "present"}]},
            "starting new processes of shop, blog and waiting until they are healthy",
        ),
        ("pyweb.stack.webapp_activate", {"apps": []}, ""),
        ("ansible.builtin.apt", {}, "installing Debian packages"),
        ("pyweb.stack.webapp_drain", {"state": "idle"}, "waiting until no request is open"),
        ("pyweb.stack.webapp_drain", {"state": "look"}, ""),
        ("pyweb.stack.balancer_wait", {"state": "up"}, "waiting until the balancers send requests to the host"),
        ("pyweb.stack.webapp_inspect", {"apps": []}, "looking at the applications"),
        ("pyweb.stack.webapp_logs", {"app": "shop"}, ""),
    ],
)
def test_a_call_is_described(module: str, arguments: dict[str, Any], told: str) -> None:
    assert doing(module, arguments) == told


def test_a_long_call_prints_lines_and_a_short_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, bool]] = []
    seen = threading.Event()

    def display(text: str, stderr: bool = False) -> None:
        told.append((text, stderr))
        seen.set()

    monkeypatch.setattr(progress.display, "display", display)
    with progress.progress("web-1", "running the command of shop"):
        pass
    assert told == []
    monkeypatch.setattr(progress, "FIRST", 0.01)
    with progress.progress("web-1", "running the command of shop"):
        assert seen.wait(5)

    assert told[0] == ("web-1: running the command of shop (0 s)", True)


def test_a_call_that_fails_ends_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="broken"), progress.progress("web-1", "runs"):
        raise OSError("broken")
    assert threading.active_count() == before
