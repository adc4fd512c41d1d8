# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The application model: refused values and their messages, conversions, and messages without secrets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.names import RESERVED_NAMES, suggest_name
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside, nested
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import domain_problem

SECRET = "hunter2-correct-horse"


def app(**changes: Any) -> dict[str, Any]:
    return {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", **changes}


def problems(*apps: Any) -> list[str]:
    return normalised(list(apps))[1]


def only(*apps: Any) -> str:
    found = problems(*apps)
    assert len(found) == 1, found
    return found[0]


def accepted(**changes: Any) -> dict[str, Any]:
    apps, found = normalised([app(**changes)])
    assert found == []
    return apps[0]


def test_a_short_application_gets_every_default() -> None:
    found = accepted()
    assert found["state"] == "present"
    assert found["workers"] == "auto"
    assert found["python"]["interpreter"] is None, "that of the source, or python3"
    assert found["site"] == {
        **found["site"],
        "domains": [],
        "redirects": [],
        "path": "/",
        "port": 80,
        "max_body_size": "16m",
    }
    assert found["health"]["timeout"] is None, "60, or 15 for a release that answers with errors"
    assert found["commands"] == {"build": [], "release": []}


def test_the_inventory_itself_is_not_changed() -> None:
    given = app(site={"domains": ["Shop.Example.COM."], "path": "/shop/"}, shared=["instance/"], workers="3")
    before = copy.deepcopy(given)
    normalised([given])
    assert given == before


def test_texts_become_what_the_specification_wants() -> None:
    found = accepted(threads="8", workers="3", proxy_fix="yes", site={"port": "8080"}, health={"status": ["200", 204]})
    assert (found["threads"], found["workers"], found["proxy_fix"]) == (8, 3, True)
    assert found["site"]["port"] == 8080
    assert found["health"]["status"] == [200, 204]


def test_names_of_hosts_and_prefixes_are_written_one_way() -> None:
    found = accepted(site={"domains": ["Shop.Example.COM."], "path": "/shop/"})
    assert found["site"]["domains"] == ["shop.example.com"]
    assert found["site"]["path"] == "/shop"


@pytest.mark.parametrize("url", ["https://me:token@index.example.com/simple", "http://10.0.0.5:8080/", "/srv/wheels"])
def test_a_package_index_is_taken_as_it_is(url: str) -> None:
    python = accepted(python={"index_url": url, "extra_index_urls": [url]})["python"]
    assert (python["index_url"], python["extra_index_urls"]) == (url, [url])


def test_texts_of_several_lines_are_taken_where_they_belong() -> None:
    tls = {"mode": "provided", "certificate": "-----BEGIN\nMIIB\n-----END\n", "key": "-----BEGIN\nMIIC\n-----END\n"}
    found = accepted(site={"domains": ["shop.example.com"], "extra": "a on;\nb on;\n", "tls": tls})["site"]
    assert (found["extra"], found["tls"]["key"]) == ("a on;\nb on;\n", tls["key"])


def test_the_least_limits_are_taken() -> None:
    assert accepted(limits={"memory": "1M", "cpu": "1%", "tasks": 1})["limits"]["tasks"] == 1


def test_shared_folders_are_written_one_way() -> None:
    assert accepted(shared=["instance/", "./var//uploads"])["shared"] == ["instance", "var/uploads"]


@pytest.mark.parametrize(
    ("changes", "where", "value", "remedy"),
    [
        ({"name": "a/b"}, ".name", "'a/b'", "'a-b'"),
        ({"name": "Shop_1"}, ".name", "'Shop_1'", "'shop-1'"),
        ({"name": "9lives"}, ".name", "'9lives'", "'lives'"),
        ({"name": "a" * 32}, ".name", "a" * 32, "31 characters"),
        ({"name": "shop\n"}, ".name", "shop", "'shop'"),
        ({"name": "www-data"}, ".name", "'www-data'", "'www-data-app'"),
        ({"name": "getty"}, ".name", "'getty'", "'getty-app'"),
        ({"name": "user"}, ".name", "'user'", "'user-app'"),
        ({"name": "systemd-coredump"}, ".name", "'systemd-coredump'", "Choose another"),
        ({"state": "gone"}, ".state", "'gone'", "present, absent"),
        ({"state": "presnt"}, ".state", "'presnt'", "Did you mean 'present'?"),
        ({"source": None}, ".source", "no source", "path (a folder on the controller)"),
        ({"source": {}}, ".source", "no source", "Set one of"),
        ({"source": {"path": "a", "package": "b"}}, ".source", "path and package", "Keep one"),
        ({"source": {"path": "a", "subdir": "../b"}}, ".source.subdir", "'../b'", "inside it"),
        ({"source": {"path": "a", "subdir": "/b"}}, ".source.subdir", "'/b'", "inside it"),
        ({"source": {"package": "a", "subdir": "b"}}, ".source.subdir", "'b'", "Remove it"),
        ({"source": {"path": "a", "version": "v1"}}, ".source.version", "'v1'", "only to git"),
        ({"source": {"git": "--upload-pack=x"}}, ".source.git", "'--upload-pack=x'", "begins with '-'"),
        ({"source": {"git": "https://h/x", "version": "a b"}}, ".source.version", "'a b'", "whitespace"),
        ({"source": {"package": "-r x"}}, ".source.package", "'-r x'", "shop==1.4.2"),
        ({"source": {"package": "."}}, ".source.package", "not a requirement", "shop==1.4.2"),
        ({"source": {"package": "a\n-r x"}}, ".source.package", "not a requirement", "shop==1.4.2"),
        ({"wsgi": None}, "", "'wsgi' is missing", "app:app"),
        ({"wsgi": "shop"}, ".wsgi", "'shop'", "'shop:app'"),
        ({"wsgi": "shop/wsgi.py"}, ".wsgi", "'shop/wsgi.py'", "'shop.wsgi:app'"),
        ({"wsgi": "./app.py:app"}, ".wsgi", "'./app.py:app'", "'app:app'"),
        ({"wsgi": "shop:app; rm"}, ".wsgi", "'shop:app; rm'", "shop.wsgi:app"),
        ({"wsgi": "shop:app\n"}, ".wsgi", "shop:app", "shop.wsgi:app"),
        ({"wsgi": "shop:create_app(a b)"}, ".wsgi", "'shop:create_app(a b)'", "plain values"),
        ({"wsgi": "shop:create_app(open('x'))"}, ".wsgi", "create_app(open('x'))", "plain values"),
        ({"wsgi": "shop:create_app()()"}, ".wsgi", "create_app()()", "plain values"),
        ({"workers": 0}, ".workers", "'0'", "from 1 to 1000, or auto"),
        ({"workers": "many"}, ".workers", "'many'", "from 1 to 1000, or auto"),
        ({"workers": "²"}, ".workers", "'²'", "from 1 to 1000, or auto"),
        ({"workers": True}, ".workers", "'True'", "from 1 to 1000, or auto"),
        ({"threads": 0}, ".threads", "0", "from 1 to 1000"),
        ({"threads": "²"}, ".threads", "²", "whole number"),
        ({"threads": "--5"}, ".threads", "--5", "whole number"),
        ({"timeout": 0}, ".timeout", "0", "from 1"),
        ({"health": {"timeout": 0}}, ".health.timeout", "0", "from 1"),
        ({"health": {"status": [99]}}, ".health.status", "99", "such as 200"),
        ({"health": {"path": "healthz"}}, ".health.path", "'healthz'", "'/healthz'"),
        ({"health": {"path": "/a b"}}, ".health.path", "'/a b'", "no spaces"),
        ({"health": {"path": "/grün"}}, ".health.path", "'/grün'", "'/healthz'"),
        ({"site": {"port": 70000}}, ".site.port", "70000", "to 65535"),
        ({"limits": {"memory": "lots"}}, ".limits.memory", "'lots'", "512M"),
        ({"limits": {"memory": "0M"}}, ".limits.memory", "'0M'", "512M"),
        ({"limits": {"memory": "٣M"}}, ".limits.memory", "'٣M'", "512M"),
        ({"limits": {"cpu": "1.5"}}, ".limits.cpu", "'1.5'", "150%"),
        ({"limits": {"cpu": "0%"}}, ".limits.cpu", "'0%'", "150%"),
        ({"systemd": {"ProtectHome": "yes\nUser=root"}}, ".systemd", "'yes\\nUser=root' of ProtectHome", "one line"),
        ({"systemd": {"Environment": ["A=1", "B=2\\"]}}, ".systemd", "of Environment", "backslash at the end"),
        ({"systemd": {"Environment": [{"A": "1"}]}}, ".systemd", "'Environment'", "ProtectHome: read-only"),
        ({"systemd": {"Service.User": "root"}}, ".systemd", "'Service.User'", "ProtectHome: read-only"),
        ({"gunicorn": {"bind": "0.0.0.0:80"}}, ".gunicorn.bind", "can't be set", "leave it out"),
        ({"gunicorn": {"workers": 3}}, ".gunicorn.workers", "can't be set", "outside of gunicorn"),
        ({"gunicorn": {"max-requests": 3}}, ".gunicorn", "'max-requests'", "'max_requests'"),
        ({"gunicorn": {"x = 1\nimport os": 3}}, ".gunicorn", "not the name", "Leave it out"),
        ({"gunicorn": {"worker_class": "gthreads"}}, ".gunicorn.worker_class", "'gthreads'", "'gthread'"),
        ({"uwsgi": {"socket": ":3031"}}, ".uwsgi.socket", "':3031'", "Write 127.0.0.1:3031"),
        ({"uwsgi": {"max_requests": 5}}, ".uwsgi", "'max_requests'", "'max-requests'"),
        ({"env": {"A-B": "1"}}, ".env", "'A-B'", "letters, digits and '_'"),
        ({"env": {1: "1"}}, ".env", "'1'", "letters, digits and '_'"),
        ({"env": {"A\n": "1"}}, ".env", "'A\n'", "letters, digits and '_'"),
        ({"env": {"A": True}}, ".env.A", "boolean", '"true"'),
        ({"env": {"A": None}}, ".env.A", "it has no value", "or remove the variable"),
        ({"env": {"A": [1]}}, ".env.A", "this is a list", "Quote the value"),
        ({"env": {"A": "x\0y"}}, ".env.A", "zero byte", "Remove it"),
        ({"env": {"A": "ü" * 70000}}, ".env.A", "140002 bytes, but the kernel allows 131071", "file"),
        ({"python": {"interpreter": "python3 -S"}}, ".python.interpreter", "'python3 -S'", "such as python3"),
        ({"python": {"interpreter": " "}}, ".python.interpreter", "' '", "such as python3"),
        ({"python": {"packages": ["-e ."]}}, ".python.packages", "'-e .'", "requirements file"),
        ({"python": {"packages": ["a\n--index-url x"]}}, ".python.packages", "not a requirement", "requirements"),
        ({"python": {"packages": ["flask=2.0"]}}, ".python.packages", "'flask=2.0'", "redis>=5"),
        ({"python": {"packages": ["flask 2.0"]}}, ".python.packages", "'flask 2.0'", "redis>=5"),
        ({"python": {"index_url": "pypi.example.org/simple"}}, ".python.index_url", "not the address", "https://"),
        ({"python": {"extra_index_urls": ["simple/"]}}, ".python.extra_index_urls", "not the address", "https://"),
        ({"python": {"ca_bundle": "ca.pem"}}, ".python.ca_bundle", "'ca.pem'", "absolute path"),
        ({"python": {"requirements": ["../r.txt"]}}, ".python.requirements", "'../r.txt'", "relative path"),
        ({"shared": ["/var/lib"]}, ".shared", "'/var/lib'", "'instance'"),
        ({"shared": ["."]}, ".shared", "'.'", "'instance'"),
        ({"shared": ["a/../../b"]}, ".shared", "'a/../../b'", "'instance'"),
        ({"shared": ["~/x"]}, ".shared", "'~/x'", "'instance'"),
        (
            {"shared": ["instance", "instance/uploads"]},
            ".shared",
            "'instance/uploads' is inside",
            "Remove 'instance/uploads'",
        ),
        ({"shared": ["instance", "./instance/"]}, ".shared", "'instance' is listed twice", "Remove one"),
        ({"commands": {"build": [" "]}}, ".commands.build", "one line", "flask db upgrade"),
        ({"commands": {"release": ["a\nb"]}}, ".commands.release", "one line", "flask db upgrade"),
        ({"site": {"domains": ["http://x.org/"]}}, ".site.domains", "is a URL", "'x.org'"),
        ({"site": {"domains": ["x.org:8080"]}}, ".site.domains", "has a port", "and port: "),
        (
            {"site": {"domains": ["[2001:db8::1]:8080"]}},
            ".site.domains",
            "has a port",
            "'[2001:db8::1]' here, and port",
        ),
        ({"site": {"domains": ["2001:DB8::1"]}}, ".site.domains", "without brackets", "Write '[2001:db8::1]'"),
        ({"site": {"domains": ["192.0.2"]}}, ".site.domains", "looks like an IPv4 address", "192.0.2.7"),
        ({"site": {"domains": ["a\u200db.org"]}}, ".site.domains", "is not a host name", "letters, digits"),
        ({"site": {"extra": "proxy_set_header Host x;"}}, ".site.extra", "Host has no effect", "domains decide"),
        ({"site": {"extra": "proxy_set_header Upgrade x;"}}, ".site.extra", "Upgrade has no", "websocket: true"),
        ({"site": {"extra": "uwsgi_param A b;"}}, ".site.extra", "server is gunicorn", "proxy_set_header"),
        (
            {"site": {"static": [{"url": "/", "path": "s", "fallback": "index.html"}]}},
            ".site.static '/'",
            "[{path: /api/}]",
            "Set health.path",
        ),
        (
            {"site": {"static": [{"url": "/s/", "path": "s", "fallback": "/x"}]}},
            ".site.static '/s/'.fallback",
            "'/x'",
            "index.html",
        ),
        (
            {"site": {"static": [{"url": "/s/", "path": "s", "charset": "utf8"}]}},
            ".site.static '/s/'.charset",
            "'utf8'",
            "utf-8",
        ),
        (
            {"site": {"static": [{"url": "/s/", "path": "s", "package": "a-b"}]}},
            ".site.static '/s/'.package",
            "'a-b'",
            "such as shop",
        ),
        ({"site": {"locations": [{"path": "/"}, {"path": "/"}]}}, ".site.locations", "'/' is listed twice", "Keep one"),
        ({"site": {"domains": ["a_b.org"]}}, ".site.domains", "'a_b.org'", "shop.example.com"),
        ({"site": {"domains": [""]}}, ".site.domains", "''", "shop.example.com"),
        ({"site": {"domains": ["x.org; }"]}}, ".site.domains", "'x.org; }'", "shop.example.com"),
        ({"site": {"redirects": ["www.x.org"]}}, ".site.redirects", "no domain", "under domains"),
        (
            {"site": {"domains": ["*.x.org"], "redirects": ["y.org"]}},
            ".site.redirects",
            "'*.x.org'",
            "Name another first",
        ),
        ({"site": {"domains": ["x.org"], "redirects": ["x.org"]}}, ".site.redirects", "'x.org'", "Remove it from one"),
        ({"site": {"path": "shop"}}, ".site.path", "'shop'", "'/shop'"),
        ({"site": {"path": "/a//b"}}, ".site.path", "'/a//b'", "'/shop'"),
        ({"site": {"path": "/a/../b"}}, ".site.path", "'/a/../b'", "'/shop'"),
        ({"site": {"path": "/a b"}}, ".site.path", "'/a b'", "'/shop'"),
        ({"site": {"max_body_size": "16 MB"}}, ".site.max_body_size", "'16 MB'", "16m"),
        ({"site": {"static": [{"url": "static", "path": "s"}]}}, ".site.static", "'static'", "'/static/'"),
        ({"site": {"static": [{"url": "/", "path": "s"}]}}, ".site.static '/'", "takes all paths", "index.html"),
        ({"site": {"static": [{"url": "/s/", "path": "/etc"}]}}, ".site.static", "'/etc'", "'static'"),
        ({"site": {"static": [{"url": "/s/"}]}}, ".site.static", "'path' is missing", "Folder inside"),
        (
            {"site": {"static": [{"url": "/s/", "path": "a"}, {"url": "/s/", "path": "b"}]}},
            ".site.static",
            "'/s'",
            "another path",
        ),
        ({"site": {"tls": {"mode": "acme"}}}, ".site.tls", "no domains", "selfsigned"),
        ({"site": {"tls": {"mode": "letsencrypt"}}}, ".site.tls.mode", "'letsencrypt'", "acme"),
        ({"site": {"tls": {"mode": "provided", "key": "k"}}}, ".site.tls.certificate", "is missing", "both"),
        ({"site": {"tls": {"certificate": "c"}}}, ".site.tls.certificate", "mode none", "mode: provided"),
        ({"site": {"tls": {"mode": "selfsigned", "port": 0}}}, ".site.tls.port", "0", "from 1 to 65535"),
        ({"site": {"tls": {"mode": "selfsigned", "port": 80}}}, ".site.tls.port", "port 80", "another"),
        ({"site": {"domains": ["*.x.org"], "tls": {"mode": "acme"}}}, ".site.tls", "'*.x.org'", "mode: provided"),
        ({"site": {"domains": ["192.0.2.1"], "tls": {"mode": "selfsigned"}}}, ".site.tls", "'192.0.2.1'", "a name"),
        ({"server": "gunicron"}, ".server", "'gunicron'", "Did you mean 'gunicorn'?"),
        ({"process_manager": "pm2"}, ".process_manager", "'pm2'", "supervisor"),
        ({"workes": 3}, "", "'workes'", "Did you mean 'workers'?"),
        ({"site": {"domain": ["x.org"]}}, ".site", "'domain'", "Did you mean 'domains'?"),
        ({"zzz": 3}, "", "'zzz'", "Known keys"),
    ],
)
def test_one_mistake_gets_one_message_with_place_value_and_remedy(
    changes: dict[str, Any], where: str, value: str, remedy: str
) -> None:
    message = only(app(**changes))
    name = changes.get("name", "shop")
    assert message.startswith(f"webapps '{name}'{where}")
    assert value in message
    assert remedy in message


@pytest.mark.attack("17", "A reader of error messages looks for secrets of the inventory")
@pytest.mark.parametrize(
    "changes",
    [
        {"env": f"PASSWORD={SECRET}"},
        {"env": [f"PASSWORD={SECRET}"]},
        {"env": {f"PASSWORD={SECRET}": None}},
        {"env": {f"PASS WORD={SECRET}": "x"}},
        {"env": {"PASSWORD": [SECRET]}},
        {"env": {"PASSWORD": {"a": SECRET}}},
        {"env": {"PASSWORD": f"{SECRET}\0"}},
        {"env": {"PASS-WORD": SECRET}},
        {"env": {"PASSWORD": SECRET}, "name": "A B"},
        {"python": {"index_url": [f"https://u:{SECRET}@h/"]}},
        {"python": {"extra_index_urls": f"https://u:{SECRET}@h/"}},
        {"python": {"extra_index_urls": [[f"https://u:{SECRET}@h/"]]}},
        {"python": {"index_url": True}},
    ],
)
def test_no_message_shows_a_secret(changes: dict[str, Any]) -> None:
    found = problems(app(**changes))
    assert found
    assert SECRET not in "\n".join(found)


@pytest.mark.parametrize(
    ("webapps", "words"),
    [(None, "nothing"), ({"shop": {}}, "a mapping"), ("shop", "[shop]"), (3, "a whole number")],
)
def test_webapps_must_be_a_list(webapps: Any, words: str) -> None:
    apps, found = normalised(webapps)
    assert apps == []
    assert len(found) == 1
    assert found[0].startswith("webapps: ")
    assert words in found[0]


def test_an_item_that_is_no_mapping_is_named_by_its_place() -> None:
    assert only(app(), "shop").startswith(
        "webapps no. 2: this is a string, but it must be a mapping with the keys name"
    )


def test_every_problem_of_a_run_is_told_together() -> None:
    found = problems(app(threads=0, workers="many", site={"path": "x"}), app(name="Bad Name"), {"name": "third"})
    text = "\n".join(found)
    for words in (
        "'shop'.threads",
        "'shop'.workers",
        "'shop'.site.path",
        "'Bad Name'.name",
        "'third'.source",
        "'wsgi'",
    ):
        assert words in text
    assert len(found) == 6


def test_an_application_that_goes_needs_only_its_name() -> None:
    apps, found = normalised([{"name": "shop", "state": "absent"}])
    assert found == []
    assert apps[0]["purge"] is False


def test_the_name_of_one_that_goes_is_checked_all_the_same() -> None:
    assert "'../etc'" in only({"name": "../etc", "state": "absent"})


def test_two_applications_have_two_names() -> None:
    message = only(app(site={"domains": ["a.org"]}), app(site={"domains": ["b.org"]}))
    assert message.startswith("webapps no. 2: no. 1 has the name 'shop' already")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {}, ["port 80", "'/'", "'shop'", "Set its domains"]),
        ({"port": 81}, {"port": 81}, ["port 81"]),
        ({"domains": ["a.org"]}, {"domains": ["b.org", "A.ORG"]}, ["http://a.org/", "'shop'", "another domain"]),
        (
            {"domains": ["a.org"], "path": "/x", "port": 81},
            {"domains": ["a.org"], "path": "/x/", "port": 81},
            ["http://a.org:81/x"],
        ),
        ({"domains": ["a.org"]}, {"domains": ["b.org"], "redirects": ["a.org"]}, ["'a.org' can't redirect", "'shop'"]),
        (
            {"domains": ["a.org"], "redirects": ["w.org"]},
            {"domains": ["b.org"], "redirects": ["w.org"]},
            ["'w.org' can't redirect to b.org", "to a.org", "'shop'"],
        ),
        ({"static": [{"url": "/s/", "path": "s"}]}, {"path": "/s"}, ["path '/s'", "'shop'"]),
    ],
)
def test_two_applications_have_two_places(first: Any, second: Any, words: list[str]) -> None:
    message = only(app(site=first), app(name="blog", site=second))
    assert message.startswith("webapps 'blog'.site")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"port": 81}),
        ({}, {"path": "/blog"}),
        ({}, {"domains": ["a.org"]}),
        ({"domains": ["a.org"]}, {"domains": ["a.org"], "path": "/blog"}),
        (
            {"domains": ["a.org"], "redirects": ["w.org"]},
            {"domains": ["a.org"], "path": "/b", "redirects": ["w.org"]},
        ),
        ({"domains": ["a.org"]}, {"domains": ["b.org"], "redirects": ["a.org"], "port": 81}),
    ],
)
def test_two_places_that_differ_are_fine(first: Any, second: Any) -> None:
    assert problems(app(site=first), app(name="blog", site=second)) == []


def test_one_that_goes_frees_its_place() -> None:
    assert problems(app(state="absent"), app(name="blog")) == []


@pytest.mark.parametrize("name", ["a", "shop", "shop-2", "a" * 31])
def test_good_names(name: str) -> None:
    assert accepted(name=name)["name"] == name


def test_names_of_system_accounts_are_reserved() -> None:
    # The accounts of a fresh Debian that are also valid names in the model.
    names = "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc"
    assert {*names.split(" "), "nobody"} <= RESERVED_NAMES


@pytest.mark.parametrize(
    ("name", "wanted"), [("My Shop!", "my-shop"), ("---", "shop"), ("42", "shop"), ("x" * 40, "x" * 31)]
)
def test_the_suggested_name_is_a_good_one(name: str, wanted: str) -> None:
    assert suggest_name(name) == wanted


@pytest.mark.parametrize(
    "wsgi", ["app:app", "shop.wsgi:app", "a:b.c", "a:create_app()", 'a:create_app("x", debug=True)']
)
def test_good_callables(wsgi: str) -> None:
    assert accepted(wsgi=wsgi)["wsgi"] == wsgi


@pytest.mark.parametrize(
    "domain", ["localhost", "a.b-c.example", "*.example.com", "192.0.2.1", "[2001:db8::1]", "xn--mnchen-3ya.de"]
)
def test_good_domains(domain: str) -> None:
    assert domain_problem(domain) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("*.B\u00dcCHER.example", "*.xn--bcher-kva.example"),
        ("bu\u0308cher.example.", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        # As browsers look it up. Python's codec would make it strasse.de, another domain.
        ("stra\u00dfe.de", "xn--strae-oqa.de"),
        ("\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ],
)
def test_a_domain_is_written_as_browsers_ask_for_it(given: str, wanted: str) -> None:
    assert accepted(site={"domains": [given]})["site"]["domains"] == [wanted]
    assert accepted(site={"domains": ["a.org"], "redirects": [given]})["site"]["redirects"] == [wanted]


def test_two_spellings_of_a_domain_are_one() -> None:
    message = only(
        app(site={"domains": ["b\u00fccher.example"]}), app(name="blog", site={"domains": ["xn--bcher-kva.example"]})
    )
    assert "'shop' already serves http://xn--bcher-kva.example/" in message


@pytest.mark.parametrize(
    "domain", ["-a.org", "a..org", "a" * 64 + ".org", "a.*.org", ".org", "a b", "a" * 250 + ".org"]
)
def test_bad_domains(domain: str) -> None:
    assert domain_problem(domain) is not None


@pytest.mark.parametrize(("path", "wanted"), [("a", True), ("a/b", True), (".a", True), ("..a", True), ("", False)])
def test_inside(path: str, wanted: bool) -> None:
    assert is_inside(path) is wanted


def test_nested_folders_are_found_in_any_order() -> None:
    assert nested(["a/b", "a", "ab", "c", "c"]) == [("a", "a/b"), ("c", "c")]


@pytest.mark.parametrize("value", ["", "it's", 'say "no"', "100%", "$HOME", "a\nb", "ü€😀", 5, 1.5, "x" * 100_000])
def test_any_text_can_be_a_variable(value: Any) -> None:
    assert accepted(env={"A": value})["env"] == {"A": value}


# Characters that no text may contain


def test_applications_that_were_normalised_are_not_normalised_again() -> None:
    apps, _ = normalised([app(), app(name="blog", state="absent")])
    assert normalised(apps)[0] is apps
    assert [one["name"] for one in normalised(apps.present)[0]] == ["shop"]
    assert normalised([app(name="Bad")])[0].__class__ is list


@pytest.mark.parametrize(
    "package", ["flask", "redis[hiredis]>=5,<6", "a @ https://h/a.whl", "git+https://h/x", "./x.whl", ".", ".[big]"]
)
def test_good_requirements(package: str) -> None:
    assert accepted(python={"packages": [package]})["python"]["packages"] == [package]


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "granian"])
def test_settings_as_a_text_are_translated_for_each_server(server: str) -> None:
    (found,) = problems(app(**{"server": server, server: "--backlog 256"}))
    assert f"'shop'.{server}: this is a text, but settings are a mapping, such as {server}: {{" in found
    assert "--backlog:" in found


@pytest.mark.parametrize("key", ["granian_settings", "granian_options"])
def test_other_names_of_granians_settings(key: str) -> None:
    (found,) = problems(app(**{key: {}}))
    assert "Did you mean 'granian'?" in found
