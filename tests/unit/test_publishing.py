# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status page that a host publishes of itself: its rules, its site, its part of the plan, and its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import STATUS_PAGE, STATUS_SITE
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.removals import removal_warnings
from ansible_collections.pyweb.stack.plugins.module_utils.publishing import installing
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import page_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import diagnose
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row, status_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import ROLES
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing import packing
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing.site import is_open
from test_doctor import NOW, view
from test_plan import Failed, Host, Run

HASH = "$6$pyweb$XmHhtHgkdqldBCjHZeQq.stwZuEYCu1cxsamXT8qJ.uO8l9G3eFMV.NvE36Ps7cGQ0l/D31PUjyiomRMFPCHR."
PASSWORD = {"users": {"anna": HASH}}
PAGE = {"domain": "status.example.com", "basic_auth": PASSWORD}
SECRET = "s3cret-of-the-inventory"


@pytest.fixture
def shop() -> dict[str, Any]:
    site = {"domains": ["shop.example.com"], "redirects": ["www.shop.example.com"]}
    return {"name": "shop", "source": {"package": "shop"}, "wsgi": "shop:app", "env": {"KEY": SECRET}, "site": site}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run({"web1": Host()}, monkeypatch)


# The rules


@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        ({}, True),
        ({"basic_auth": {"users": {}}}, True),
        ({"basic_auth": PASSWORD}, False),
        ({"allow": ["10.0.0.0/8"]}, False),
        ({"allow": ["2001:db8::/32", "192.0.2.7"]}, False),
        ({"allow": ["all"]}, True),
        ({"allow": ["10.0.0.0/8", "0.0.0.0/0"]}, True),
        ({"allow": ["0.0.0.0/1", "128.0.0.0/1"]}, True),
        ({"allow": ["::/0"]}, True),
        ({"allow": ["all"], "basic_auth": PASSWORD}, False),
        ({"allow": ["all"], "basic_auth": PASSWORD, "satisfy": "any"}, True),
        ({"allow": ["10.0.0.0/8"], "basic_auth": PASSWORD, "satisfy": "any"}, False),
        ({"basic_auth": PASSWORD, "satisfy": "any"}, False),
        ({"satisfy": "any"}, True),
    ],
)
def test_whether_anyone_could_read_the_page(access: dict[str, Any], wanted: bool) -> None:
    assert is_open(access) is wanted


@pytest.mark.attack("20", "A visitor without a password asks for the status page that a host publishes")
@pytest.mark.parametrize(
    ("page", "says"),
    [
        ({"domain": "status.example.com"}, "anyone could read the page"),
        ({**PAGE, "basic_auth": {"users": {}}}, "anyone could read the page"),
        ({**PAGE, "basic_auth": None, "allow": ["0.0.0.0/0"]}, "Set webapp_status_site.basic_auth"),
        ({**PAGE, "domain": "shop.example.com"}, "'shop.example.com' is a name of the site 'shop'"),
        ({**PAGE, "domain": "shop.example.com", "tls": {"mode": "selfsigned"}}, "is a name of the site 'shop'"),
        ({**PAGE, "domain": "shop.example.com", "port": 8080}, "'shop.example.com' is a name of the site 'shop'"),
        ({**PAGE, "domain": "www.shop.example.com", "port": 8080}, "is a name of the site 'shop'"),
        ({"basic_auth": PASSWORD}, "webapp_status_site: the key 'domain' is missing"),
        ({**PAGE, "domains": ["a.example.com"]}, "unknown key 'domains'. Did you mean 'domain'?"),
        ({**PAGE, "domain": "no domain"}, "webapp_status_site"),
        ({**PAGE, "basic_auth": {"users": {"anna": "look"}}}, "webapp_status_site.basic_auth.users"),
        ("status.example.com", "webapp_status_site"),
    ],
)
def test_a_page_is_refused_before_anything_changes(run: Run, shop: dict[str, Any], page: Any, says: str) -> None:
    with pytest.raises(Failed) as failed:
        run([shop], more={"webapp_status_site": page})
    text = str(failed.value)
    assert text.startswith("1 problem found before anything was changed")
    assert says in text
    assert f"nginx_sites '{STATUS_SITE}'" not in text
    assert "look" not in text
    assert "pyweb.stack.apply" not in [name for name, _arguments in run.hosts["web1"].calls]


def test_a_site_of_the_inventory_may_not_have_the_name_of_the_page(run: Run, shop: dict[str, Any]) -> None:
    own = {"name": STATUS_SITE, "domains": ["x.example.com"], "locations": [{"path": "/", "alias": "/srv/x/"}]}
    with pytest.raises(Failed, match=r"the status page of the host has this name\. Give the site another one\."):
        run([shop], more={"nginx_sites": [own]})


def test_a_host_without_systemd_is_refused(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match=r"this host does not run systemd\. Set the variable to null for it"):
        Run({"web1": Host(init="none")}, monkeypatch)([shop], more={"webapp_status_site": PAGE})


# The plan


def test_the_site_is_an_ordinary_one_with_an_owner_of_its_own(run: Run, shop: dict[str, Any]) -> None:
    run([shop], more={"webapp_status_site": {**PAGE, "tls": {"mode": "selfsigned"}}})
    sent = run.hosts["web1"].whole()
    files = {file["path"]: file for file in sent["nginx"]["files"]}
    text = files[f"sites/{STATUS_SITE}.conf"]["content"]
    for line in ("# Owner: webapp_status_site", "server_name status.example.com;", "auth_basic Restricted;"):
        assert line in text
    assert "/var/lib/pyweb-status-page/" in text
    assert "ssl_certificate " in text
    assert [one["name"] for one in sent["nginx"]["certificates"]] == [STATUS_SITE]
    assert HASH in json.dumps(sent["nginx"]["secret_files"])


@pytest.mark.attack("20", "An account of a host reads secrets in the program that makes its status page")
def test_the_part_has_nothing_secret(run: Run, shop: dict[str, Any]) -> None:
    run([shop], more={"webapp_status_site": PAGE})
    part = run.hosts["web1"].sent()["status_site"]
    wanted = part["inputs"]["wanted"]
    assert [app["name"] for app in wanted["plan"]["apps"]] == ["shop"]
    assert wanted["plan"]["host"] == "web1"
    assert SECRET not in json.dumps(part)
    assert HASH not in json.dumps(part)


@pytest.mark.parametrize("left_out", ["nginx", "webapp"])
def test_a_play_without_one_of_its_roles_leaves_the_page_alone(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    run = Run({"web1": Host(status_site=True)}, monkeypatch)
    run([shop], [role for role in ROLES if role != left_out], more={"webapp_status_site": PAGE})
    sent = run.hosts["web1"].sent()
    assert "status_site" not in sent
    assert STATUS_SITE not in json.dumps(sent.get("nginx", {}))


def test_a_second_run_sends_nothing(run: Run, shop: dict[str, Any]) -> None:
    run([shop], more={"webapp_status_site": PAGE})
    assert run([shop], more={"webapp_status_site": PAGE})["changed"] is False
    assert run.hosts["web1"].trips.count("apply") == 1


@pytest.mark.parametrize(("is_there", "wanted"), [(False, None), (True, {"wanted": None})])
@pytest.mark.parametrize("more", [{}, {"webapp_status_site": None}])
def test_a_page_that_is_no_longer_wanted_is_removed(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, is_there: bool, wanted: Any, more: dict[str, Any]
) -> None:
    run = Run({"web1": Host(status_site=is_there)}, monkeypatch)
    run([shop], more=more)
    assert run.hosts["web1"].whole().get("status_site") == wanted


def test_the_run_says_that_the_site_is_removed() -> None:
    site = "# Owner: webapp_status_site\nserver {\n    listen 80;\n    server_name status.example.com;\n}\n"
    (warning,) = removal_warnings({f"sites/{STATUS_SITE}.conf": site}, {}, ())
    assert warning == (
        "nginx no longer serves the status page of this host (status.example.com): webapp_status_site is not set."
    )
    assert STATUS_PAGE in site


def test_the_program_has_every_file_that_it_imports() -> None:
    sources = packing.sources()
    for path, text in sources.items():
        if path.endswith(".py"):
            missing = [name for name in packing.imports(text) if f"{name.replace('.', '/')}.py" not in sources]
            assert not missing, f"{path}: {missing}"
    # It takes no other account and reads no secret.
    assert not [path for path in sources if path.endswith(("doctor/secrets.py", "doctor/strangers.py"))]


# Reports of status, doctor and the page of status.yml

GOOD = {"made": NOW - 200, "timer": "active", "result": "success"}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, ""),
        (GOOD, ""),
        ({**GOOD, "timer": "inactive"}, "pyweb-status-page.timer is inactive"),
        ({**GOOD, "result": "exit-code"}, "pyweb-status-page.service failed (exit-code)"),
        ({**GOOD, "made": NOW - 3000}, "was not renewed for 50 minutes"),
        ({**GOOD, "made": 0.0}, "was never made"),
        ({"made": "x\x1b", "timer": ["\x1b[31m"], "result": {}}, "is not renewed"),
    ],
)
def test_a_page_that_is_not_renewed_is_reported(found: Any, says: str) -> None:
    seen = view(host={"status_page": found})
    text = page_problem(found, NOW)
    assert says in text
    assert "\x1b" not in text
    assert bool(text) == bool(says)
    row = status_row(seen)
    assert row["status_page"] == (text or None)
    assert [line for line in status_table([row]) if text and text in line] == ([f"web1: {text}."] if text else [])
    warned = [one for one in diagnose(seen)["warnings"] if one["link"] == "status page"]
    assert [one["seen"] for one in warned] == ([f"the host has a problem: {text}"] if text else [])


# On the host


class PaperHost:
    """A host whose commands are noted, and whose files are only compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, differs: bool, fails: str = "") -> None:
        self.fails = fails
        self.told: list[str] = []
        paths = ["/usr/local/lib/pyweb/status_page.json"] if differs else []
        monkeypatch.setattr(installing, "apply_files", lambda files, check_mode=False: (paths, []))
        monkeypatch.setattr(installing, "make_folder", lambda group: None)
        monkeypatch.setattr(installing, "folder_is_right", lambda group: True)
        for name in ("PAGE", "WANTS", "PROGRAM", "FOLDER", "TIMER"):
            monkeypatch.setattr(installing, name, str(folder / name))
        if not differs:
            (folder / "PAGE").write_text("")
            (folder / "WANTS").write_text("")

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        self.told.append(" ".join(argv[1:]))
        return (1, "", "it failed") if self.fails and self.fails in self.told[-1] else (0, "", "")

    def apply(self, wanted: Any, check: bool = False) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return installing.apply({"wanted": wanted}, self.run, check)


WANTED = {"plan": {}, "sources": packing.packed(), "group": "root", "service": "[Service]\n", "timer": "[Timer]\n"}
STARTED = ["daemon-reload", "enable --now pyweb-status-page.timer", "start pyweb-status-page.service"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("differs", [False, True])
def test_the_timer_is_started_only_where_something_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, differs: bool, check: bool
) -> None:
    host = PaperHost(monkeypatch, tmp_path, differs)
    result, seen = host.apply(WANTED, check)
    assert result["changed"] is differs
    assert result["warnings"] == []
    assert host.told == (STARTED if differs and not check else [])
    assert seen is not None


def test_a_page_that_can_not_be_made_fails_no_run_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result, seen = PaperHost(monkeypatch, tmp_path, True, fails="start pyweb").apply(WANTED)
    assert "The status page was not made: pyweb-status-page.service failed." in result["warnings"][0]
    # Without witnesses, there is no stamp.
    assert seen is None


def test_a_timer_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(installing.PublishingError, match="Starting the timer that renews the status page"):
        PaperHost(monkeypatch, tmp_path, True, fails="enable").apply(WANTED)


@pytest.mark.parametrize("check", [False, True])
def test_the_removal_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check: bool) -> None:
    host = PaperHost(monkeypatch, tmp_path, False)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "index.html.new").write_text("")
    (tmp_path / "TIMER").write_text("")
    result, _seen = host.apply(None, check)
    assert result["changed"]
    assert "this host no longer publishes its status page" in result["warnings"][0]
    assert (tmp_path / "FOLDER").exists() is check
    assert ("disable --now pyweb-status-page.timer" in host.told) is not check
