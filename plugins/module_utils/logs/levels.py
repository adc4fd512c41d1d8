# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The levels of lines in logs. Pure. Used on both sides."""

from __future__ import annotations

import re

# From the least to the most severe. The other words mean the same as these.
LEVELS = ("debug", "info", "notice", "warning", "error", "critical")
SAME = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "informational": "info",
    "warn": "warning",
    "err": "error",
    "exception": "error",
    **dict.fromkeys(("crit", "fatal", "severe", "alert", "emerg", "emergency", "panic"), "critical"),
}
RANKS = {word: LEVELS.index(level) for word, level in SAME.items()}
INFO, WARNING, ERROR = RANKS["info"], RANKS["warning"], RANKS["error"]
# The levels of syslog, 0 to 7.
PRIORITIES = (5, 5, 5, 4, 3, 2, 1, 0)

WRONG = "level is '{}'. Set -e level=error, or another of: " + ", ".join(LEVELS) + "."

WORDS = "|".join(sorted(SAME, key=len, reverse=True))
# In square brackets (nginx, gunicorn), as a word in capitals (logging of Python), or as a key (JSON and logfmt).
MARKS = re.compile(
    rf"\[(?:{WORDS})\]|(?-i:\b(?:{WORDS.upper()})\b)"
    rf"|\b(?:level|levelname|log_level|loglevel|severity)[\"']?\s*[:=]\s*[\"']?(?:{WORDS})\b",
    re.IGNORECASE,
)
WORD = re.compile(rf"({WORDS})\W*$", re.IGNORECASE)
TRACEBACK = re.compile(r"\s*(?:\S+ )?Traceback \(most recent call last\):")
# The status of a request in an access log, as text and as JSON.
STATUS = re.compile(r'" (\d{3}) |"status":\s*"?(\d{3})\b')
# The part of a line in which its level is looked for.
HEAD = 300


def rank_of(word: str) -> int | None:
    """The rank of a level that an operator names; None if it is none."""
    return RANKS.get(word.strip().lower())


def marked(line: str) -> int | None:
    """The level that a line names; None if it names none."""
    found = MARKS.search(line[:HEAD])
    if found and (word := WORD.search(found[0])):
        return RANKS[word[1].lower()]
    return ERROR if TRACEBACK.match(line) else None


def of_request(line: str) -> int:
    """The level of a request in an access log: 5xx is an error, 4xx a warning."""
    found = STATUS.search(line)
    status = int(found[1] or found[2]) if found else 0
    return ERROR if status >= 500 else WARNING if status >= 400 else INFO


def of_priority(priority: str) -> int | None:
    """The level of a priority of syslog. Lines that a process prints have 6, which says nothing about them."""
    return PRIORITIES[int(priority)] if priority in "0123457" and len(priority) == 1 else None
