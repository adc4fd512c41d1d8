# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that are on a host, but not in its inventory: how they are found, named and removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.preflight import orphans as host
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import diagnosis, operations, status
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import orphans as shown
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import check_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import orphans
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory

RELEASE = "20261121T010735Z-ab12cd34"
SYSTEMD = "# Managed by pyweb.stack (role systemd).\n\n[Service]\nExecStart={}\n"
SUPERVISOR = "; Managed by pyweb.stack (role supervisor).\n\n[program:x]\ncommand={}\n"
CRON = "# Managed by pyweb.stack (role supervisor).\n0 3 * * * root {}\n"
SITE = (
    "# Owner: webapps\nserver {{\n    listen 80;\n    server_name {domain};\n    location / {{\n"
    "        proxy_pass http://unix:{root}/{name}/current.sock;\n    }}\n}}\n"
)


class Machine:
    """A host in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        parts = ("apps", "units", "supervisor", "cron", "nginx", "passwd")
        self.places = host.Places(*(str(folder / part) for part in parts))

    def write(self, path: str, text: str = "") -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).symlink_to(target)

    def deploy(self, name: str, *exclusive: str) -> None:
        processes = [{"service": f"{name}.{one}", "exclusive": True} for one in exclusive]
        processes += [{"service": f"{name}.worker", "exclusive": False}]
        self.write(f"apps/{name}/releases/{RELEASE}/release.json", json.dumps({"processes": processes}))
        self.link(f"apps/{name}/current", f"releases/{RELEASE}")
        self.link(f"apps/{name}/current.sock", "/run/some.sock")

    def serve(self, site: str, *names: str, domain: str = "shop.example.com") -> None:
        text = "".join(SITE.format(name=name, root=self.places.root, domain=domain) for name in names)
        self.write(f"nginx/pyweb/current/sites/{site}.conf", text)

    def found(self, *known: str) -> dict[str, dict[str, Any]]:
        answer = orphans.checked(json.loads(json.dumps(host.orphans(known, self.places))))
        return {one["name"]: one for one in answer["apps"]}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# On the host


def test_everything_of_an_application_is_found(machine: Machine) -> None:
    machine.deploy("shop", "beat")
    release = f"{machine.places.root}/shop/releases/%i/bin"
    machine.write("units/shop@.service", SYSTEMD.format(f"{release}/web"))
    machine.write("units/shop.worker@.service", SYSTEMD.format(f'"{release}/worker" 1'))
    machine.write(
        "units/shop.nightly.service", SYSTEMD.format(f"{machine.places.root}/shop/current/bin/job nightly 60")
    )
    machine.write(f"supervisor/conf.d/shop.worker-{RELEASE}.conf", SUPERVISOR.format(f"{release}/worker 1"))
    script = machine.write("supervisor/scheduled/shop.weekly", f"# {host.MARK}\nexec {release}/../current/bin/job\n")
    script.write_text(f"#!/bin/sh\n# {host.MARK}\nexec {machine.places.root}/shop/current/bin/job weekly 60\n")
    machine.write("cron/pyweb-shop_weekly", CRON.format(script))
    machine.serve("shop", "shop")
    machine.write("nginx/pyweb/certificates/shop.pem")
    (shop,) = machine.found("blog").values()
    assert shop["release"] == RELEASE
    assert shop["units"] == ["shop.nightly.service", "shop.worker@.service", "shop@.service"]
    assert shop["programs"] == [f"shop.worker-{RELEASE}.conf", "shop.weekly"]
    assert (shop["crontabs"], shop["jobs"]) == (["pyweb-shop_weekly"], ["nightly", "weekly"])
    assert (shop["processes"], shop["exclusive"]) == (["shop.beat", "shop.worker"], ["shop.beat"])
    assert shop["sites"] == [{"name": "shop", "names": [[80, "shop.example.com"]], "certificate": True}]
    assert machine.found("shop") == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("units/shop@.service", SYSTEMD.format("{root}/shop/releases/%i/bin/web")),
        ("units/shop.nightly.service", SYSTEMD.format("{root}/shop/current/bin/job nightly 60")),
        ("supervisor/templates/shop@.conf", SUPERVISOR.format("{root}/shop/releases/@RELEASE@/bin/web")),
        (f"supervisor/conf.d/shop-{RELEASE}.conf", SUPERVISOR.format("{root}/shop/releases/x/bin/web")),
        ("supervisor/scheduled/shop.nightly", "# Managed by pyweb.stack\nexec {root}/shop/current/bin/job x 1\n"),
        ("apps/shop/deployments.log", ""),
    ],
)
def test_each_part_alone_shows_an_application(machine: Machine, path: str, text: str) -> None:
    machine.write(path, text.replace("{root}", machine.places.root))
    assert list(machine.found()) == ["shop"]
    assert not machine.found("shop")


def test_an_application_of_another_root_is_found(machine: Machine) -> None:
    machine.write("units/shop@.service", SYSTEMD.format("/opt/apps/shop/releases/%i/bin/web"))
    assert machine.found()["shop"]["root"] == "/opt/apps"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        # Written by hand, or by another tool.
        ("units/shop@.service", "[Service]\nExecStart=/srv/webapps/shop/releases/%i/bin/web\n"),
        ("apps/shop/releases/1/app.py", ""),
        ("apps/shop/shared/file", ""),
        # Services of the roles alone.
        ("units/mailer.service", SYSTEMD.format("/usr/bin/mailer")),
        ("supervisor/conf.d/mailer.conf", SUPERVISOR.format("/usr/bin/mailer")),
        ("supervisor/scheduled/my.report", "# Managed by pyweb.stack\nexec /usr/bin/report\n"),
        ("cron/pyweb-my_report", CRON.format("/etc/supervisor/scheduled/my.report")),
        # A site whose application is gone, and one of the operator's own.
        ("nginx/pyweb/current/sites/shop.conf", SITE.format(name="shop", root="/nowhere", domain="a")),
        ("nginx/pyweb/current/sites/docs.conf", "# Owner: nginx_sites\nserver {\n    listen 80;\n}\n"),
    ],
)
def test_other_files_are_no_application(machine: Machine, path: str, text: str) -> None:
    machine.write(path, text)
    assert machine.found() == {}


def test_the_account_of_a_removed_application_shows_that_its_data_are_left(machine: Machine) -> None:
    """So purging it works although the inventory does not know it; no command warns of it."""
    root = machine.places.root
    machine.write("passwd", f"shop:x:998:998::{root}/shop:/bin/false\nother:x:997:997::/home/other:/bin/sh\nbad line\n")
    machine.write("apps/shop/shared/file")
    assert [(name, one["only_data"]) for name, one in machine.found().items()] == [("shop", True)]
    assert machine.found("shop") == {}


def test_links_are_not_followed(machine: Machine) -> None:
    machine.write("elsewhere/deployments.log")
    machine.link("apps/shop", str(machine.folder / "elsewhere"))
    unit = machine.write("elsewhere/unit", SYSTEMD.format("/srv/webapps/shop/releases/%i/bin/web"))
    machine.link("units/shop@.service", str(unit))
    os.mkfifo(machine.folder / "units" / "blog@.service")
    assert machine.found() == {}


def test_a_site_of_a_known_application_that_leads_to_an_unknown_one_is_found(machine: Machine) -> None:
    machine.deploy("blog")
    machine.serve("shop", "shop", "blog")
    assert [site["name"] for site in machine.found("shop")["blog"]["sites"]] == ["shop"]


def test_a_host_without_unknown_applications_reads_no_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.deploy("shop")
    machine.write("units/shop@.service", SYSTEMD.format("/srv/webapps/shop/releases/%i/bin/web"))
    machine.serve("shop", "shop")
    read = host.text_of
    monkeypatch.setattr(
        host, "text_of", lambda path: read(path) if path == machine.places.accounts else pytest.fail(f"{path} was read")
    )
    assert machine.found("shop") == {}


# Warnings of a run


def orphan(**changes: Any) -> dict[str, Any]:
    site = {"name": "shop", "names": [[80, "shop.example.com"]], "certificate": False}
    found = {"name": "shop", "root": "/srv/webapps", "release": RELEASE, "running": 3, "sites": [site], **changes}
    return orphans.checked({"apps": [found], "exclusive": changes.get("beside", {})})


def test_a_warning_names_everything_and_what_to_do() -> None:
    (text,) = orphans.warnings(
        orphan(processes=["shop.beat"], exclusive=["shop.beat"], jobs=["nightly"], crontabs=["pyweb-shop_nightly"]),
        "web1",
    )
    for words in (
        "web1: the application 'shop' is on the host, but not in its inventory",
        RELEASE,
        "3 running processes",
        "background process shop.beat (exclusive)",
        "job nightly",
        "crontab pyweb-shop_nightly",
        "site shop (shop.example.com)",
        "This run changes nothing of it. It keeps running and is still served by nginx. To remove it: ",
        "remove.yml -i INVENTORY -e app=shop -e confirm=shop --limit web1",
        "{name: shop, state: absent}",
        "webapp_foreign_applications",
    ):
        assert words in text


def test_the_rest_of_a_first_deployment_that_failed_is_in_no_way(machine: Machine) -> None:
    machine.write("apps/shop/deployments.log")
    machine.serve("shop", "shop")
    found = machine.found()["shop"]
    assert (found["release"], found["sites"]) == ("", [])
    (text,) = orphans.warnings({"apps": [found]}, "web1")
    assert "This run changes nothing of it. To remove it: " in text


def test_neither_data_nor_applications_of_another_inventory_cause_a_warning() -> None:
    assert orphans.warnings(orphan(only_data=True), "web1") == []
    found = orphan()
    assert orphans.warnings(orphans.checked(found, ["shop"]), "web1") == []
    assert orphans.warnings(orphans.checked(found, ["blog"]), "web1") != []


@pytest.mark.attack("13.1", "A host reports applications of the wrong kind")
@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"apps": "shop"},
        {"apps": ["shop", {"name": "../x", "root": "/srv"}, {"name": 5}, {"name": "shop", "root": "/srv/{{ x }}"}]},
        {"apps": [{"name": "shop"}], "exclusive": []},
    ],
)
def test_an_answer_of_the_wrong_kind_is_left_out(answer: Any) -> None:
    assert orphans.checked(answer)["apps"] == []
    odd = {"name": "shop", "root": "/srv", "sites": [1, {"names": [["80", "a"], [1]]}], "units": "x", "running": "y"}
    (found,) = orphans.checked({"apps": [odd]})["apps"]
    assert (found["sites"], found["units"], found["running"]) == (
        [{"name": "None", "names": [], "certificate": False}],
        [],
        0,
    )


# Refusals of a run


def app(name: str = "store", **changes: Any) -> dict[str, Any]:
    return {"name": name, "source": {"path": name}, "wsgi": f"{name}:app", **changes}


def conflicts(webapps: list[dict[str, Any]], found: dict[str, Any], own_sites: Any = None) -> list[str]:
    apps, problems, sites, _settings = checked_inventory(webapps, "/srv/webapps", {}, own_sites)
    assert problems == []
    return orphans.conflicts([one for one in apps if one["state"] == "present"], sites, found)


@pytest.mark.parametrize(
    ("site", "names", "conflict"),
    [
        ({"domains": ["shop.example.com"]}, [[80, "shop.example.com"]], True),
        ({"domains": ["a.example.com"], "redirects": ["shop.example.com"]}, [[80, "shop.example.com"]], True),
        ({"domains": ["shop.example.com"], "path": "/b"}, [[80, "shop.example.com"]], True),
        ({}, [[80, ""]], True),
        ({"domains": ["shop.example.com"], "tls": {"mode": "selfsigned"}}, [[443, "shop.example.com"]], True),
        ({"domains": ["shop.example.com"], "port": 8080}, [[80, "shop.example.com"]], False),
        ({"domains": ["store.example.com"]}, [[80, "shop.example.com"], [80, ""]], False),
    ],
)
def test_a_domain_of_an_unknown_application_is_not_taken(site: dict[str, Any], names: Any, conflict: bool) -> None:
    found = orphan(sites=[{"name": "shop", "names": names}])
    problems = conflicts([app(site=site)], found)
    assert bool(problems) is conflict
    for text in problems:
        assert "'store'" in text
        assert "is served by 'shop'" in text
        assert "{name: shop, state: absent}" in text
    # One of another inventory is not in the way of anything else, but its domains are its own.
    assert conflicts([app(site=site)], orphans.checked(found, ["shop"])) == problems


def test_a_site_of_the_operator_takes_no_domain_either() -> None:
    site = {"name": "docs", "domains": ["shop.example.com"], "locations": [{"path": "/", "alias": "/srv/docs"}]}
    (problem,) = conflicts([], orphan(), [site])
    assert problem.startswith("nginx_sites 'docs': 'shop.example.com' on port 80 is served by 'shop'")


def test_an_exclusive_process_does_not_run_twice_after_a_renaming() -> None:
    renamed = app(
        processes=[{"name": "beat", "command": "x", "exclusive": True}], site={"domains": ["store.example.com"]}
    )
    beside = orphan(exclusive=["shop.beat"])
    (problem,) = conflicts([renamed], beside)
    assert "its exclusive process 'beat' would run beside shop.beat of 'shop'" in problem
    assert "{name: shop, state: absent}" in problem
    assert "webapp_foreign_applications" in problem
    # It runs already, so a refusal would only stop its deployments: the warning names the other one.
    assert conflicts([renamed], orphan(exclusive=["shop.beat"], beside={"store": ["store.beat"]})) == []
    assert conflicts([renamed], orphans.checked(beside, ["shop"])) == []
    assert conflicts([renamed], orphan(exclusive=["shop.other"])) == []
    once = {**renamed, "processes": [{"name": "beat", "command": "x", "exclusive": True, "count": 0}]}
    assert conflicts([once], beside) == []


# Status, doctor, verify


def test_status_doctor_and_verify_show_it() -> None:
    view = {"name": "web1", "orphans": orphan(units=["shop@.service"])}
    assert shown.entries(view, "blog") == []
    (entry,) = shown.entries(view)
    row = entry["status"]
    assert (row["in_inventory"], row["application"], row["release"]) == (False, "shop", RELEASE)
    table = status.status_table([row])
    assert "systemd" in table[1]
    assert table[1].endswith("NOT IN THE INVENTORY (3 processes run)  -")
    text = "\n".join(diagnosis.report("web1", "shop", entry["diagnosis"]))
    assert text.startswith("shop on web1 was NOT CHECKED:\n  watch: inventory")
    assert "-e app=shop -e confirm=shop --limit web1" in text
    assert any(
        "n/a    it is in the inventory: it is on the host, but not" in line for line in check_table("web1", [entry])
    )
    assert not [check for check in entry["checks"] if check["problem"]]


def test_a_service_of_a_role_that_no_list_has_is_shown(machine: Machine) -> None:
    machine.write("units/mailer.service", SYSTEMD.format("/usr/bin/mailer"))
    machine.write("units/foreign.service", "[Service]\nExecStart=/usr/bin/foreign\n")
    machine.write("units/shop@.service", SYSTEMD.format(f"{machine.places.root}/shop/releases/%i/bin/web"))
    machine.write("supervisor/conf.d/sender.conf", SUPERVISOR.format("/usr/bin/sender"))
    machine.write("supervisor/conf.d/pyweb-cron.conf", SUPERVISOR.format("/usr/sbin/cron"))
    machine.write("supervisor/conf.d/group@all.conf", SUPERVISOR.format("x"))
    machine.write(f"supervisor/conf.d/shop-{RELEASE}.conf", SUPERVISOR.format("x"))
    machine.write(
        "supervisor/scheduled/my.report", "# Managed by pyweb.stack (role supervisor).\nexec /usr/bin/report\n"
    )
    found = host.lone_services(machine.places)
    assert found == [
        {"name": "my.report", "role": "supervisor"},
        {"name": "sender", "role": "supervisor"},
        {"name": "mailer", "role": "systemd"},
    ]
    view = {"name": "web1", "orphans": orphans.checked({"services": [*found, {"name": "x", "role": "y"}]})}
    listed = {"supervisor_programs": [{"name": "sender"}, {"name": "my.report"}]}
    assert [one["name"] for one in shown.entries(view)] == ["my.report", "sender", "mailer"]
    (entry,) = shown.entries(view, inventory=listed)
    assert entry["status"]["health"] == "NOT IN THE INVENTORY (service of the role systemd)"
    assert "{name: mailer, state: absent}' to systemd_services" in entry["diagnosis"]["warnings"][0]["fix"]
    view["orphans"] = orphans.checked({"services": found}, ["mailer"])
    assert shown.entries(view, inventory=listed) == []


# Removal

FACTS: dict[str, Any] = {"init": "systemd", "supervisor": True, "cpus": 1, "memory_bytes": 2**30}


def facts(*names: str, **changes: Any) -> dict[str, Any]:
    apps = [{"name": name, "root": "/opt/apps", **changes} for name in names]
    return {**FACTS, "orphans": orphans.checked({"apps": apps})}


def test_an_application_that_only_the_host_knows_is_removed() -> None:
    found = operations.removal([app("blog")], "shop", "shop", "false", facts("shop"), "web1")
    assert (found["question"], found["names"]) == ("", ["shop"])
    assert [one["name"] for one in found["stay"]] == ["blog"]
    (spec,) = found["activations"]
    assert (spec["name"], spec["state"], spec["root"]) == ("shop", "absent", "/opt/apps")
    assert spec["process_managers"] == ["systemd", "supervisor"]
    assert "-e app=shop -e confirm=shop" in operations.removal([], "shop", "", "false", facts("shop"))["question"]


def test_hosts_without_it_have_nothing_to_remove() -> None:
    found = operations.removal([app("blog")], "shop", "shop", "false", FACTS, "web2", ["shop"])
    assert (found["question"], found["names"], found["activations"]) == ("", [], [])
    (line,) = operations.removal_report([], "shop", removed=[])
    assert "not on this host" in line
    with pytest.raises(ModelError, match="'shpo' is not an application on this host"):
        operations.removal([app("blog")], "shpo", "shpo", "false", facts("shop"), "web1", ["shop"])


def test_all_applications_of_a_host_need_its_name() -> None:
    given = [app("blog")], "all", "web1", "false", facts("shop")
    found = operations.removal(*given, "web1")
    assert (found["question"], found["names"], found["stay"]) == ("", ["blog", "shop"], [])
    for host_name in ("web2", ""):
        question = operations.removal(*given, host_name)["question"]
        assert f"all applications of {host_name} (blog, shop)" in question
    assert "-e app=all -e confirm=web2 --limit web2" in operations.removal(*given, "web2")["question"]
    lines = operations.removal_report([], "all", removed=["blog", "shop"], known=["blog"])
    assert lines == [
        "blog is removed. Remove it from webapps, or the next run of site.yml deploys it again.",
        "shop is removed.",
    ]


def test_all_leaves_other_inventories_and_kept_data_alone() -> None:
    others = facts("shop")
    others["orphans"] = orphans.checked(others["orphans"], ["shop"])
    assert operations.removal([], "all", "web1", "true", others, "web1")["names"] == []
    data = facts("shop", only_data=True)
    assert operations.removal([], "all", "web1", "false", data, "web1")["names"] == []
    assert operations.removal([], "all", "web1", "true", data, "web1")["names"] == ["shop"]
    # An application may have this name.
    assert operations.removal([app("all")], "all", "all", "false", facts("shop"), "web1")["names"] == ["all"]


def test_the_programs_that_applications_share_stay_while_one_that_only_the_host_knows_needs_them() -> None:
    gone = [{"name": "blog", "state": "absent"}]
    names = {one["name"] for one in supervisor_programs(gone, {**FACTS, "init": "none"})}
    assert "pyweb-nginx" in names
    beside = {**facts("shop", programs=["shop@.conf"]), "init": "none"}
    assert {one["name"] for one in supervisor_programs(gone, beside)} == {"blog@", "blog.*@", "blog.*"}
