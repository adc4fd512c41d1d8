# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Schedules of jobs: as written in the inventory, for cron, and for systemd."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import ScheduleError, parse


@pytest.mark.parametrize(
    ("text", "cron", "on_calendar"),
    [
        ("hourly", "0 * * * *", ["*-*-* *:00:00"]),
        ("Daily", "0 0 * * *", ["*-*-* 00:00:00"]),
        ("weekly", "0 0 * * 1", ["Mon *-*-* 00:00:00"]),
        ("quarterly", "0 0 1 1,4,7,10 *", ["*-01,04,07,10-01 00:00:00"]),
        (" 30  2 * * 1-5 ", "30 2 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00"]),
        ("*/20 9-17/4 * * *", "*/20 9-17/4 * * *", ["*-*-* 09,13,17:00,20,40:00"]),
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
