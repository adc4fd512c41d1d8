# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Schedules of jobs: as written in the inventory, for cron, and for systemd."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes import due
from ansible_collections.pyweb.stack.plugins.module_utils.processes.due import is_due
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.clock_changes import further_times
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import ScheduleError, parse
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs, systemd_services
from host_facts import GOOD

SYSTEMD = GOOD
BARE = {**GOOD, "init": "none", "supervisor": True}


@pytest.mark.parametrize(
    ("text", "cron", "on_calendar"),
    [
        ("hourly", "0 * * * *", ["*-*-* *:00:00"]),
        ("Daily", "0 0 * * *", ["*-*-* 00:00:00"]),
        ("weekly", "0 0 * * 1", ["Mon *-*-* 00:00:00"]),
        ("quarterly", "0 0 1 1,4,7,10 *", ["*-01,04,07,10-01 00:00:00"]),
        (" 30  2 * * 1-5 ", "30 2 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00"]),
        ("*/20 9-17/4 * * *", "0,20,40 9-17/4 * * *", ["*-*-* 09,13,17:00,20,40:00"]),
        ("0 0 * JAN,jul sun", "0 0 * 1,7 0", ["Sun *-01,07-* 00:00:00"]),
        ("0 0 * * 5-7", "0 0 * * 5-7", ["Sun,Fri,Sat *-*-* 00:00:00"]),
        ("* * * * *", "* * * * *", ["*-*-* *:*:00"]),
        # cron: either day matches, unless one of the fields begins with *.
        ("0 4 1 * mon", "0 4 1 * 1", ["*-*-01 04:00:00", "Mon *-*-* 04:00:00"]),
        ("0 4 */10 * mon", "0 4 */10 * 1", ["Mon *-*-01,11,21,31 04:00:00"]),
    ],
)
def test_a_schedule_means_the_same_to_both(text: str, cron: str, on_calendar: list[str]) -> None:
    schedule = parse(text)
    assert schedule.cron == cron
    assert schedule.on_calendar == on_calendar


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dayly", ["is not one of hourly", "Did you mean 'daily'?"]),
        ("@daily", ["Did you mean 'daily'?"]),
        ("", ["has 0 fields instead of five", "'30 2 * * *'"]),
        ("0 0 * *", ["has 4 fields"]),
        ("Mon *-*-* 02:30:00", ["has 3 fields"]),
        ("60 0 * * *", ["invalid minute '60'", "from 0 to 59"]),
        ("0 24 * * *", ["invalid hour '24'"]),
        ("0 0 0 * *", ["invalid day of the month '0'", "from 1 to 31"]),
        ("0 0 * 13 *", ["invalid month '13'", "jan to dec"]),
        ("0 0 * * 8", ["invalid day of the week '8'", "sun to sat"]),
        ("0 0 * * moon", ["invalid day of the week 'moon'"]),
        ("0 5-2 * * *", ["invalid hour '5-2'"]),
        ("*/0 * * * *", ["invalid minute '*/0'"]),
        ("5/10 * * * *", ["invalid minute '5/10'", "*/2"]),
        ("0,,5 * * * *", ["invalid minute '0,,5'"]),
        ("-5 * * * *", ["invalid minute '-5'"]),
        ("0 0 30 2 *", ["never occurs", "30"]),
        ("0 0 31 4,6,9,11 *", ["never occurs", "31"]),
    ],
)
def test_what_is_no_schedule_is_told_with_the_remedy(text: str, words: list[str]) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    for word in words:
        assert word in str(caught.value)


def test_a_day_that_some_month_lacks_is_fine() -> None:
    assert parse("0 0 31 2,3 *").on_calendar == ["*-02,03-31 00:00:00"]
    # Any Monday matches.
    assert len(parse("0 0 31 2 1").on_calendar) == 2


# Clock changes

BERLIN = "Europe/Berlin"
ZONED = " Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "zone", "wanted"),
    [
        # A time that a change leaves out is made up for at its end, on that day of the year alone.
        ("30 2 * * *", BERLIN, ["Sun *-03-25,26,27,28,29,30,31 03:00:00 Europe/Berlin"]),
        ("*/10 1-3 * * *", BERLIN, ["Sun *-03-25,26,27,28,29,30,31 03:00:00 Europe/Berlin"]),
        ("30 2 * * *", "America/New_York", ["Sun *-03-08,09,10,11,12,13,14 03:00:00 Europe/Berlin"]),
        ("30 2 29 3 *", BERLIN, ["Sun *-03-29 03:00:00 Europe/Berlin"]),
        # It is not affected.
        ("30 3 * * *", BERLIN, []),
        ("30 2 * * 1-6", BERLIN, []),
        ("30 2 * 4 *", BERLIN, []),
        ("30 2 * * *", "UTC", []),
        ("30 2 * * *", "", []),
        ("30 2 * * *", "No/Where", []),
        # While an hour is repeated, jobs of every hour continue.
        ("*/30 * * * *", BERLIN, ["Sun *-10-25,26,27,28,29,30,31 01:00,30:00 UTC"]),
        ("0 * * * *", "Australia/Sydney", ["Sat *-03-31 16:00:00 UTC", "Sat *-04-01,02,03,04,05,06 16:00:00 UTC"]),
        ("0 * * * 1-5", BERLIN, []),
        ("* * * * *", "Asia/Kolkata", []),
    ],
)
def test_timers_have_further_times_for_clock_changes(text: str, zone: str, wanted: list[str]) -> None:
    assert further_times(parse(text), zone, ZONED) == wanted


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def due_times(text: str, zone: str, begin: str, hours: int) -> list[str]:
    """The minutes (UTC) at which a job starts, among those at which cron starts the check."""
    days, *fields = parse(text).explicit
    numbers = [{int(number) for number in field.split(",")} for field in fields]
    asked = {int(minute) for minute in parse(text).minutes_in_any_zone.split(",")}
    moments = [utc(begin) + timedelta(minutes=number) for number in range(60 * hours)]
    found = [one for one in moments if one.minute in asked and is_due(one, ZoneInfo(zone), numbers, days == "either")]
    return [f"{one:%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("text", "zone", "begin", "wanted"),
    [
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["29 01:00", "30 00:30"]),
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["25 00:30", "26 01:30"]),
        ("30 2 * * 1-6", BERLIN, "2026-03-28T12:00", ["30 00:30"]),
        ("0 12 * * *", "Asia/Kathmandu", "2026-03-28T00:00", ["28 06:15", "29 06:15"]),
        ("0 0 1 * 1", "UTC", "2026-06-01T00:00", ["01 00:00"]),
    ],
)
def test_cron_starts_a_job_of_another_zone_like_a_timer(text: str, zone: str, begin: str, wanted: list[str]) -> None:
    assert due_times(text, zone, begin, 40)[: len(wanted)] == wanted
    assert len(due_times(text, zone, begin, 40)) == len(wanted)


def test_a_job_of_every_hour_goes_on_while_an_hour_is_repeated() -> None:
    assert due_times("30 * * * *", BERLIN, "2026-10-25T00:00", 3) == ["25 00:30", "25 01:30", "25 02:30"]
    assert due_times("30 * * * *", BERLIN, "2026-03-29T00:00", 3) == ["29 00:30", "29 01:30", "29 02:30"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # cron makes up only for times without a star.
        ("*/20 2 * * *", "0,20,40 2 * * *"),
        ("5 */8 * * mon", "5 0,8,16 * * 1"),
        ("*/20 * * * *", "*/20 * * * *"),
        ("5-7 9-17/4 */2 * *", "5-7 9-17/4 */2 * *"),
    ],
)
def test_only_schedules_of_every_hour_have_a_star_for_cron(text: str, wanted: str) -> None:
    assert parse(text).cron == wanted


@pytest.mark.parametrize(("zone", "init"), [(None, "systemd"), ("Europe/Berlin", "systemd"), ("Europe/Berlin", "none")])
def test_a_job_has_a_time_zone_on_both_managers(zone: str | None, init: str) -> None:
    job = {"name": "nightly", "command": "x", "schedule": "30 2 * * *", **({"timezone": zone} if zone else {})}
    webapps = [{"name": "shop", "source": {"path": "x"}, "wsgi": "x:a", "jobs": [job]}]
    facts = {**(BARE if init == "none" else SYSTEMD), "timezone": "America/New_York"}
    if init == "systemd":
        (timer,) = [one["timer"] for one in systemd_services(webapps, facts) if one.get("timer")]
        assert timer["on_calendar"] == (
            ["*-*-* 02:30:00 Europe/Berlin", "Sun *-03-25,26,27,28,29,30,31 03:00:00 Europe/Berlin"]
            if zone
            else ["*-*-* 02:30:00", "Sun *-03-08,09,10,11,12,13,14 03:00:00"]
        )
        return
    (program,) = [one for one in supervisor_programs(webapps, facts) if one.get("schedule")]
    assert program["schedule"] == "0,15,30,45 * * * *"
    assert program["command"][3:6] == [due.PROGRAM, "Europe/Berlin", "both"]
    assert program["command"][-3:] == ["/srv/webapps/shop/current/bin/job", "nightly", "3600"]


@pytest.mark.parametrize("zone", ["Europe/Berlinn", "CET +1", "../etc", ""])
def test_a_time_zone_that_is_none_is_refused(zone: str) -> None:
    job = {"name": "nightly", "command": "x", "schedule": "daily", "timezone": zone}
    _apps, problems = normalised([{"name": "shop", "source": {"path": "x"}, "wsgi": "x:a", "jobs": [job]}])
    assert "is not a time zone. Use a name of the tz database" in " ".join(problems)
