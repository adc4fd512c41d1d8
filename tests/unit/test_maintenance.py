# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Closing applications for maintenance, and removing them: what is asked, and what is then to be done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import operations
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import applications, sites


def app(name: str = "shop", **changes: Any) -> dict[str, Any]:
    return {"name": name, "source": {"path": name}, "wsgi": f"{name}:app", **changes}


# Maintenance and removal

OPTIONS = {"app": "", "state": "on", "allow": "", "retry_after": "300", "page": ""}
CLOSED = {"enabled": True, "retry_after": 60, "allow": []}


def two() -> list[dict[str, Any]]:
    return [app(), app("blog", site={"domains": ["blog.example.com"], "path": "/b"}, health={"path": "/ok"})]


def test_a_closed_application_keeps_its_health_url_open() -> None:
    shop, blog = sites.nginx_sites(two(), "/srv/webapps", {"blog": CLOSED})
    assert "maintenance" not in shop
    assert blog["maintenance"] == {**CLOSED, "page": None, "open_paths": ["/b/ok"]}


def test_the_switch_on_the_host_has_the_last_word() -> None:
    app_ = app(site={"maintenance": {"page": "closed.html", "allow": ["192.0.2.1"]}}, health={"path": "/ok"})
    (site,) = sites.nginx_sites([app_], "/s", {"shop": {"enabled": False, "retry_after": 60, "allow": []}})
    assert site["maintenance"]["enabled"] is False
    assert site["maintenance"]["page"] == "/s/shop/current/src/closed.html"
    (site,) = sites.nginx_sites([app_], "/s")
    assert site["maintenance"]["enabled"] is True


def test_maintenance_switches_all_or_one_and_remembers_the_others() -> None:
    facts = {"maintenance": {"shop": CLOSED}}
    told = operations.maintenance_switch(
        two(), {**OPTIONS, "app": "blog", "allow": "192.0.2.1, 2001:db8::/32"}, facts, "/s"
    )
    assert told["question"] == ""
    assert [file["path"] for file in told["files"]] == ["/s/blog/maintenance.json"]
    assert told["switches"]["shop"] == CLOSED
    assert told["switches"]["blog"]["allow"] == ["192.0.2.1", "2001:db8::/32"]
    told = operations.maintenance_switch(two(), {**OPTIONS, "state": "off"}, facts, "/s")
    assert [file["path"] for file in told["files"]] == ["/s/shop/maintenance.json", "/s/blog/maintenance.json"]
    assert not any(switch["enabled"] for switch in told["switches"].values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"app": "shpo"}, ["'shpo' is not an application", "shop, blog"]),
        ({"state": "maybe"}, ["maintenance is 'maybe'", "maintenance=on"]),
        ({"allow": "everybody"}, ["everybody"]),
        ({"retry_after": "soon"}, ["retry_after is 'soon'", "seconds"]),
    ],
)
def test_a_mistaken_switch_is_told(change: dict[str, Any], words: list[str]) -> None:
    told = operations.maintenance_switch(two(), {**OPTIONS, **change}, {"maintenance": {}}, "/srv/webapps")
    for word in words:
        assert word in told["question"]


def test_a_removal_asks_for_the_name_again() -> None:
    facts = {"init": "systemd", "supervisor": False, "cpus": 1, "memory_bytes": 2**30}
    told = operations.removal(two(), "blog", "", "false", facts)
    assert "not its data in shared/" in told["question"]
    assert "-e app=blog -e confirm=blog" in told["question"]
    assert "all its data too, for good" in operations.removal(two(), "blog", "", True, facts)["question"]
    told = operations.removal(two(), "blog", "blog", "true", facts)
    assert told["question"] == ""
    assert [one["name"] for one in told["stay"]] == ["shop"]
    assert (told["activations"][0]["state"], told["activations"][0]["purge"]) == ("absent", True)
    with pytest.raises(applications.ModelError, match=r"Available applications: shop, blog"):
        operations.removal(two(), "x", "x", False, facts)
