# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Everything is killed, test after test, and is back before visitors have waited long."""

from __future__ import annotations

import time

import pytest
from pyweb_places import Place, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("served")]


@pytest.fixture(scope="module")
def served(places: list[Place], run_playbook):
    """The application, which other tests have taken away."""
    assert run_playbook("pyweb.stack.site").status == 0


KILLED_WORKER = """
old=$(pgrep -u shop -P $(pgrep -o -u shop -f bin/gunicorn) | head -1); kill -9 $old; begun=$(date +%s%N)
until [ $(pgrep -u shop -P $(pgrep -o -u shop -f bin/gunicorn) | grep -vx $old | wc -l) = 2 ]; do sleep 0.01; done
echo $((($(date +%s%N) - begun) / 1000000))
"""


KILLED_PROCESS = """
old=$(pgrep -o -u shop -f 'rq worker'); kill -9 $old; begun=$(date +%s%N)
until [ $(pgrep -u shop -f 'rq worker' | grep -vx $old | wc -l) = 2 ]; do sleep 0.01; done
echo $((($(date +%s%N) - begun) / 1000000))
"""


def recovery(place: Place, kill: str, path: str = "/healthz") -> float:
    """Seconds of the longest outage that visitors see from the kill on, with half a second to notice it."""
    assert place.answers(path)
    place.run(kill)
    begun = time.monotonic()
    down = up = None
    while up is None or time.monotonic() - up < 0.5:
        now = time.monotonic()
        assert now - begun < 20, "it does not come back"
        if place.answers(path):
            up = up or now
        else:
            down, up = down or now, None
    return (up - begun) if down else 0.0


def test_a_killed_worker_is_back_within_a_second(places, tell):
    for place in places:
        seconds = int(place.run(KILLED_WORKER)) / 1000
        tell(f"{place.name}: a killed worker of gunicorn was back after {seconds:.2f} s")
        assert seconds < 1


def test_a_killed_master_is_back_within_two_seconds(places, tell):
    for place in places:
        seconds = recovery(place, "kill -9 $(pgrep -o -u shop -f bin/gunicorn)")
        tell(f"{place.name}: visitors were answered {seconds:.2f} s after gunicorn's master was killed")
        assert seconds < 2


def test_a_killed_background_process_is_back_within_two_seconds(places, tell):
    for place in places:
        seconds = int(place.run(KILLED_PROCESS)) / 1000
        tell(f"{place.name}: a killed background process was back after {seconds:.2f} s")
        assert seconds < 2


def test_a_killed_nginx_comes_back(places, tell):
    for place in places:
        seconds = recovery(place, "kill -9 $(cat /run/nginx.pid)")
        tell(f"{place.name}: visitors were answered {seconds:.2f} s after nginx's master was killed")
        wait_until(lambda place=place: place.run("kill -0 $(cat /run/nginx.pid) && echo yes", check=False), 20)
        assert seconds < 2


def test_a_worker_that_takes_all_the_memory_is_the_only_one_to_go(places, tell):
    for place in places:
        master = place.run("pgrep -o -u shop -f bin/gunicorn")
        begun = time.monotonic()
        # It gets no answer, and other requests are answered meanwhile.
        assert place.ask("/memory", "POST", timeout=60).status_code == 502
        killed = time.monotonic()
        wait_until(lambda place=place: place.answers("/healthz"), 2)
        wait_until(lambda place=place: place.answers("/libraries"), 20)
        tell(
            f"{place.name}: visitors were answered {time.monotonic() - killed:.2f} s after the kernel had killed "
            f"a worker for its memory, {killed - begun:.1f} s after it began to take it"
        )
        assert place.run("pgrep -o -u shop -f bin/gunicorn") == master
