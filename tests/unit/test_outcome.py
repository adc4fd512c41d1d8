# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The table at the end of a run on a single host. test_barrier.py and test_rollout.py have those of several hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import outcome
from test_plan import Host, Run
from test_plan import shop as shop  # a fixture

NEW = "20261122T000000Z-22222222"


def stages(**changes: Any) -> dict[str, dict[str, Any]]:
    build = {"name": "shop", "current": "20261101T000000Z-11111111", "candidate": NEW, "revision": "8e77b01a0000"}
    switched = {"name": "shop", "release": NEW, "seconds": 4.2}
    found: dict[str, dict[str, Any]] = {
        "look": {"fleet": {"names": ["shop"], "revisions": {"shop": {"live": "3f2c1a9b0000"}}}},
        "deploy": {"deployment": {"names": ["shop"], "apps": [build]}, "parts": {"webapp": {"activated": [switched]}}},
        **{stage: {} for stage in outcome.STAGES},
    }
    return found | changes


def test_a_single_host_has_one_short_row_for_each_application() -> None:
    assert outcome.table({"web1": stages()}, ["web1"], {"shop": "https://shop.example.com/"}) == [
        "application  host  revision                     seconds  address",
        "shop         web1  3f2c1a9b0000 → 8e77b01a0000  4.2      https://shop.example.com/",
    ]


def test_a_run_without_a_change_has_no_table() -> None:
    unchanged = {"deployment": {"names": ["shop"], "apps": [{"name": "shop", "current": NEW, "candidate": None}]}}
    assert outcome.table({"web1": stages(deploy=unchanged)}, ["web1"]) == []


@pytest.mark.parametrize("seconds", ["\x1b[2J", None, [1], {"a": 1}])
def test_a_duration_of_the_wrong_kind_is_not_shown(seconds: Any) -> None:
    """The host may report anything."""
    switched = {"apps": [{"name": "shop", "seconds": seconds}, "shop", None]}
    built = stages()["deploy"]["deployment"]
    (_head, row) = outcome.table({"web1": stages(deploy={"deployment": built}, switch=switched)}, ["web1"])
    assert row == "shop         web1  3f2c1a9b0000 → 8e77b01a0000"


def test_the_stage_report_prints_the_table(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.pyweb.stack.plugins.action import apply

    lines: list[str] = []
    monkeypatch.setattr(apply.display, "display", lambda text, **_options: lines.append(text))
    run = Run({"web1": Host()}, monkeypatch)
    run([shop])
    run([shop], stage="report")
    assert [line.split() for line in lines[-2:]] == [
        ["application", "host", "revision", "seconds", "address"],
        ["shop", "web1", "none", "→", NEW, "http://shop.example.com/"],
    ]
