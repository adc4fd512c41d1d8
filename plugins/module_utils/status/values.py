# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Values of hosts as short texts for the page. A value of another type than expected becomes its text. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line

if TYPE_CHECKING:
    # Python 3.9 has no TypeGuard.
    from typing import TypeGuard  # novm

# Characters of one value that are shown. The embedded data have all of them.
MOST = 300
NONE = "–"  # noqa: RUF001  # the dash of an empty cell
UTC = datetime.timezone.utc
# No value of a host is larger. A larger integer does not fit into a float, and would be a long row of digits.
LARGEST = 10**15


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def dictionaries(found: Any) -> list[Mapping[str, Any]]:
    """The dictionaries of a list; none if it is no list."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def text(value: Any, most: int = MOST) -> str:
    """A value in one line; a dash if there is none."""
    if value is None or value == "" or value == [] or value == {}:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = one_line(str(value))
    return shown if len(shown) <= most else f"{shown[:most]}…"


def size(value: Any) -> str:
    """A number of bytes in a unit that people read."""
    if not is_number(value):
        return text(value)
    if value < 1024**3:
        return f"{value / 1024**2:.0f} MiB"
    return f"{value / 1024**3:.{1 if value < 10 * 1024**3 else 0}f} GiB"


def seconds(value: Any) -> str:
    """A duration as a release or a switch has it."""
    if not is_number(value) or value < 0:
        return text(value)
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def latency(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def rate(value: float) -> str:
    """Requests a minute."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}" if value >= 0.1 else "< 0.1"


def share(value: float) -> str:
    """A share of 1 in percent."""
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"


def timestamp(value: Any) -> float | None:
    """The seconds since 1970 of a time as the collection records it, such as ``2026-11-21T09:05:30Z``."""
    try:
        moment = datetime.datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp()


def moment(value: Any) -> str:
    """A recorded time as people read it."""
    return text(value) if timestamp(value) is None else str(value)[:16].replace("T", " ")


def clock(at: float) -> str:
    """The time of a day."""
    return f"{datetime.datetime.fromtimestamp(at, UTC):%H:%M}"


def day(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, UTC):%A, %Y-%m-%d}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def names(found: list[str], most: int = 4) -> str:
    """The first names of a list, and how many follow."""
    shown = [text(name, 80) for name in found]
    if len(shown) <= most + 1:
        return ", ".join(shown)
    return f"{', '.join(shown[:most])} and {len(shown) - most} more"
