# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What visitors get of sites that say much of what a site may: the packaged nginx in front of real applications."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from pyweb_places import Place, everywhere, wait_until


@pytest.fixture
def ask(http):
    """Asks for a path of the site."""

    def run(path="/", method="GET", host="mirror.example.com", **options):
        headers = {"Host": host, **options.pop("headers", {})}
        return http(path, method, headers=headers, **options)

    return run


@pytest.fixture
def raw(facts):
    """Sends bytes as they are, which a client library would mend; gives all that comes back."""

    def run(request, pause=b""):
        with socket.create_connection((facts.address, 80), timeout=10) as visitor:
            visitor.sendall(request)
            if pause:
                time.sleep(0.2)
                visitor.sendall(pause)
            seen = b""
            try:
                while piece := visitor.recv(65536):
                    seen += piece
            except (ConnectionResetError, TimeoutError):
                pass
            return seen

    return run


# Who is served


def test_the_longest_path_wins_and_gunicorn_knows_the_prefix(ask):
    outer, inner = ask("/innermost/p").json(), ask("/inner/p%20q?x=1").json()
    assert (outer["SCRIPT_NAME"], outer["PATH_INFO"]) == ("", "/innermost/p")
    assert (inner["SCRIPT_NAME"], inner["PATH_INFO"], inner["QUERY_STRING"]) == ("/inner", "/p q", "x=1")
    assert inner["HTTP_X_FORWARDED_PREFIX"] == "/inner"
    assert ask("/inner").json()["PATH_INFO"] == ""


def test_other_names_lead_to_the_first_and_unknown_ones_nowhere(ask, raw):
    answer = ask("/p?q=1", host="www.mirror.example.com")
    assert (answer.status_code, answer.headers["Location"]) == (301, "http://mirror.example.com/p?q=1")
    assert raw(b"GET / HTTP/1.1\r\nHost: unknown.example.com\r\n\r\n") == b""


@pytest.mark.attack("low", "A visitor sends headers that claim an address, a scheme or an identity")
def test_nobody_can_forge_who_he_is(ask):
    forged = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Prefix"), "6.6.6.6")
    told = ask("/", headers={**forged, "X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on"}).json()
    assert "6.6.6.6" not in json.dumps(told)
    assert (told["HTTP_X_FORWARDED_PROTO"], told["HTTP_X_FORWARDED_HOST"]) == ("http", "mirror.example.com")


def test_some_paths_are_for_some_visitors(ask):
    assert (ask("/staff").status_code, ask("/staff", auth=("alice", "password")).status_code) == (401, 200)
    assert ask("/staff", auth=("alice", "wrong")).status_code == 401
    assert ask("/nobody").status_code == 403


def test_who_asks_too_often_is_told_so(ask):
    assert [ask("/limited").status_code for _ in range(3)] == [200, 200, 429]
    assert {ask("/").status_code for _ in range(10)} == {200}


def test_maintenance_closes_one_site_but_not_its_health(ask):
    answer = ask("/", "POST", host="closed.example.com")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "120")
    assert "Back soon" in answer.text
    assert ask("/healthz", host="closed.example.com").status_code == 200
    assert ask("/").status_code == 200


# Files


def test_files_are_kept_for_ever_and_sent_compressed(ask):
    plain = ask("/static/style.css", headers={"Accept-Encoding": "identity"})
    assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Content-Type"].startswith("text/css")
    packed = ask("/static/style.css", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Length" in packed.headers, "from the file beside it: nginx knows its length"
    assert packed.text == plain.text
    known = {"If-None-Match": plain.headers["ETag"], "Accept-Encoding": "identity"}
    assert ask("/static/style.css", headers=known).status_code == 304


def test_brotli_is_sent_to_those_who_take_it(ask):
    def sent(path):
        with ask(path, headers={"Accept-Encoding": "br"}, stream=True) as answer:
            assert answer.headers["Content-Encoding"] == "br"
            return answer.raw.read(decode_content=False)

    # nginx's module leaves the file out now and then: see roles/nginx/README.md.
    assert b"as it was made" in [sent("/static/style.css") for _ in range(5)], "from the file beside it"
    assert sent("/" + "long/" * 300) not in (b"", b"as it was made"), "and on the fly"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../mirror.py",
        "/static/%2e%2e/mirror.py",
        "/static/..%2fmirror.py",
        "/static../mirror.py",
        "/static/.hidden/key.txt",
        "/static/%2ehidden/key.txt",
        "/protected/report.txt",
        "/.pyweb/1.html",
    ],
)
def test_what_is_not_meant_for_visitors_stays_where_it_is(raw, path):
    answer = raw(f"GET {path} HTTP/1.1\r\nHost: mirror.example.com\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split()[1])
    body = answer.partition(b"\r\n\r\n")[2]
    # Without the slash, the path is another one of the application: it tells of the path, and gives away nothing.
    assert status in (400, 404) or (path.startswith("/static..") and b'"PATH_INFO"' in body)
    for secret in (b"wsgi.input", b"secret", b"to give away", b"Sorry"):
        assert secret not in body


def test_the_application_gives_protected_files_away(ask):
    answer = ask("/private")
    assert (answer.status_code, answer.text) == (200, "for the application to give away\n")
    assert "X-Accel-Redirect" not in answer.headers


@pytest.mark.attack("5", "An application links to the files of another one, and sends the visitor to its paths")
def test_an_application_gives_nothing_of_another_away(ask):
    answer = ask("/inner/private")
    assert (answer.status_code, answer.text) == (200, "")


# Answers


def test_headers_protect_the_site_and_no_lie_about_https_is_told(ask):
    headers = ask("/").headers
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert "default-src" in headers["Content-Security-Policy-Report-Only"]
    assert "Strict-Transport-Security" not in headers
    inner = ask("/inner")
    assert inner.status_code == 200
    assert "X-Frame-Options" not in inner.headers, "another application's site says nothing of headers"


def test_what_is_cached_is_asked_for_once(ask):
    path = f"/cached/{time.time()}"  # a kept host has old answers to what was asked before
    first, second = ask(path), ask(path)
    assert second.headers["X-Cache-Status"] == "HIT"
    assert first.json()["time"] == second.json()["time"]
    assert ask(path, headers={"Cookie": "session=1"}).json()["time"] > first.json()["time"]


def test_events_arrive_one_by_one(ask):
    begun = time.monotonic()
    arrived = []
    with ask("/events", stream=True) as answer:
        for line in answer.iter_lines():
            if line:
                arrived.append(time.monotonic() - begun)
    assert len(arrived) == 3
    assert arrived[0] < 0.8
    assert arrived[2] - arrived[0] > 1.5


def test_own_pages_take_the_place_of_errors_where_it_is_said(ask):
    assert (ask("/broken").text, ask("/intercepted/broken").text) == ("broken", "<h1>Sorry</h1>\n")
    assert ask("/intercepted/broken").status_code == 500


def test_the_user_s_own_directives_are_there(ask):
    assert ask("/own").text == "the user's own\n"


# What is refused


def test_bodies_are_limited_by_path(ask):
    body = b"x" * 2_000_000
    assert ask("/", "POST", data=body).status_code == 413
    assert ask("/upload", "POST", data=body).json()["body"] == len(body)


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST / HTTP/1.1\r\nHost: mirror.example.com\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nX",
        b"POST / HTTP/1.1\r\nHost: mirror.example.com\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nHost: mirror.example.com\r\nContent-Length: -5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: mirror.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: mirror.example.com\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mirror.example.com\r\nHost: other.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mirror.example.com\r\nX-Big: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mirror.example.com\r\n" + b"X-Many: %b\r\n" % (b"x" * 4000) * 20 + b"\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: mirror.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mirror.example.com\r\nX-Nul: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mirror.example.com/x\r\n\r\n",
    ],
    ids=[
        "both lengths",
        "two lengths",
        "negative length",
        "bad chunk",
        "unknown coding",
        "two hosts",
        "big header",
        "many headers",
        "long line",
        "zero byte",
        "host with a path",
    ],
)
def test_a_request_of_two_meanings_or_no_measure_is_refused(raw, request_head):
    good = raw(b"GET / HTTP/1.1\r\nHost: mirror.example.com\r\nConnection: close\r\n\r\n")
    assert b"PATH_INFO" in good, "who asks well is answered"
    answer = raw(request_head)
    assert answer == b"" or int(answer.split()[1]) in (400, 413, 414, 431, 501), answer[:200]
    assert b"PATH_INFO" not in answer


# What the operator sees


def test_the_log_is_one_object_for_each_request_with_the_application_s_id(ask, host):
    told = ask("/logged?q=1", headers={"User-Agent": 'a "quoted" agent'}).json()
    # Of this request: on a kept host there are others.
    find = f"grep {told['HTTP_X_REQUEST_ID']} /var/log/nginx/mirror.access.log"
    wait_until(lambda: host.run(find).rc == 0, 20)  # nginx writes within a second
    entry = json.loads(host.check_output(find))
    assert (entry["status"], entry["uri"], entry["user_agent"]) == (200, "/logged?q=1", 'a "quoted" agent')
    assert entry["request_id"] == told["HTTP_X_REQUEST_ID"]
    assert float(entry["upstream_response_time"]) >= 0
    assert entry["remote_addr"] == told["HTTP_X_FORWARDED_FOR"]


def test_after_a_rotation_the_new_log_is_written(ask, host):
    log = "/var/log/nginx/mirror.access.log"
    ask("/before-the-rotation")
    host.check_output("logrotate --force /etc/logrotate.d/nginx")

    def written():
        # Again, for a worker that is yet to be told of the rotation writes to the old one.
        ask("/after-the-rotation")
        return "/after-the-rotation" in host.file(log).content_string

    wait_until(written, 20)
    wait_until(lambda: "/before-the-rotation" in host.file(f"{log}.1").content_string, 20)


def test_counters_are_for_this_host_alone(host, http, facts):
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8090/status').read().decode())"
    assert "Active connections" in host.check_output("python3 -c %s", script)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((facts.address, 8090), timeout=5)


# Over time; the last tests, because they change the hosts, all of them at once

# A new connection for each request: at a reload, nginx closes idle connections, and a request on one of them at that
# moment fails.
ANEW = {"Connection": "close", "Host": "mirror.example.com"}
SECOND = {"edition": "second"}


def visited(places: list[Place], path: str = "/", **headers: str) -> list[int]:
    """The status that a visitor of each host gets."""
    return [place.ask(path, headers={**ANEW, **headers}).status_code for place in places]


def visited_while(running: list[Future], places: list[Place]) -> set[int]:
    """The statuses that visitors get until these runs are over."""
    seen: set[int] = set()
    while not all(run.done() for run in running):
        seen.update(visited(places))
        time.sleep(0.02)
    return seen


def test_pages_loaded_before_a_switch_still_find_their_files(places, run_playbook):
    assert visited(places, "/static/only-in-first.css") == [200, 200]
    assert run_playbook("pyweb.stack.site", SECOND).status == 0
    for edition, status in (("second", 200), ("first", 200), ("third", 404)):
        assert visited(places, f"/static/only-in-{edition}.css") == [status, status]


def test_a_hand_edit_is_healed_while_visitors_are_served(places, run_playbook):
    file = "/etc/nginx/pyweb/current/sites/closed.conf"
    everywhere(lambda place: place.run(f"sed -i s/closed.example/edited.example/ {file} && nginx -s reload"), places)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_playbook, "pyweb.stack.site", SECOND)
        assert visited_while([running], places) == {200}
    assert running.result().status == 0
    assert [running.result().counts(place.name)["changed"] for place in places] == [1, 1]
    assert visited(places, "/healthz", Host="closed.example.com") == [200, 200]
    assert everywhere(lambda place: place.run(f"grep -c edited {file}", check=False).strip(), places) == ["0", "0"]


def test_a_full_disk_changes_nothing_and_the_next_run_goes_on(places, run_playbook):
    def look(place: Place) -> str:
        return place.run("ls /etc/nginx/pyweb/trees; readlink /etc/nginx/pyweb/current")

    before = everywhere(look, places)
    everywhere(lambda place: place.run("cat /dev/zero >/etc/nginx/pyweb/filling", check=False), places)
    variables = {**SECOND, "nginx_extra": "map $host $unused {\n    default on-a-full-disk;\n}\n"}
    run = run_playbook("pyweb.stack.site", variables)
    for place in places:
        assert "No space left on device" in run.failure(place.name)
    assert everywhere(look, places) == before
    assert visited(places) == [200, 200]
    everywhere(lambda place: place.run("rm /etc/nginx/pyweb/filling"), places)
    assert run_playbook("pyweb.stack.site", variables).status == 0
    everywhere(lambda place: place.run("nginx -T 2>/dev/null | grep -q on-a-full-disk"), places)
    assert visited(places) == [200, 200]


def test_two_runs_at_once_take_turns(places, run_playbook):
    with ThreadPoolExecutor(2) as pool:
        extras = [f"# run {number}\n" for number in range(2)]
        runs = [pool.submit(run_playbook, "pyweb.stack.site", {**SECOND, "nginx_extra": extra}) for extra in extras]
        assert visited_while(runs, places) == {200}
    assert [run.result().status for run in runs] == [0, 0]
