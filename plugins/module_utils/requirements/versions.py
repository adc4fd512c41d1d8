# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Compare the versions of packages. Pure; hosts have no package for it, so the standard library is enough.

A version or a clause of an unknown form fits nothing.
"""

from __future__ import annotations

import re
from typing import Any

VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)(?:[-_.]?(?P<kind>a|b|rc)[-_.]?(?P<pre>\d+))?"
    r"(?:\.post(?P<post>\d+))?(?:\.dev(?P<dev>\d+))?(?:\+[a-z0-9.]+)?",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.!+_-]+?)(\.\*)?\s*")
LAST = 10**9
# The place of a release among its own alphas, betas and candidates.
FINAL = (LAST, 0)


def numbers(release: str) -> tuple[int, ...]:
    """The numbers of a release, without zeros at the end."""
    parts = [int(part) for part in release.split(".")]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts)


def key(version: str) -> tuple[Any, ...] | None:
    """A value that sorts as the version does; None for an unknown form."""
    found = VERSION.fullmatch(version.strip())
    if not found:
        return None
    dev = int(found["dev"]) if found["dev"] else LAST
    if found["kind"]:
        pre = ("ab".find(found["kind"].lower()) % 3, int(found["pre"]))
    else:
        # A development version of a release comes before its first alpha.
        pre = (-1, 0) if found["dev"] and not found["post"] else FINAL
    return (int(found["epoch"] or 0), numbers(found["release"]), pre, int(found["post"]) if found["post"] else -1, dev)


def starts_with(version: str, prefix: str) -> bool:
    """Whether the release numbers of a version begin with others, as in ``==1.4.*``."""
    found, wanted = VERSION.fullmatch(version), VERSION.fullmatch(prefix)
    if not found or not wanted:
        return False
    parts, first = found["release"].split("."), wanted["release"].split(".")
    parts += ["0"] * (len(first) - len(parts))
    return [int(one) for one in parts[: len(first)]] == [int(one) for one in first]


def fits_clause(version: str, operator: str, bound: str, star: bool) -> bool:
    if operator == "===":
        return version == bound
    if star:
        return operator in ("==", "!=") and starts_with(version, bound) == (operator == "==")
    mine, other = key(version), key(bound)
    if mine is None or other is None:
        return False
    if operator == "~=":
        return mine >= other and "." in bound and starts_with(version, bound.rpartition(".")[0])
    return bool(
        {
            "==": mine == other,
            "!=": mine != other,
            "<=": mine <= other,
            ">=": mine >= other,
            # The first excludes alphas and candidates of the bound, the second its post-releases.
            "<": mine < other and (mine[:2] != other[:2] or other[2:] < (FINAL, -1, LAST)),
            ">": mine > other and (mine[:2] != other[:2] or other[3] >= 0 or other[2] != FINAL),
        }[operator]
    )


def fits(version: str, clauses: str) -> bool:
    """Whether a version fits all clauses of a requirement, such as ``>=22.0,!=24.*``. No clause fits every version."""
    clauses = clauses.strip().strip("()")
    if not clauses.strip():
        return True
    found = [CLAUSE.fullmatch(clause) for clause in clauses.split(",")]
    return all(one is not None and fits_clause(version, one[1], one[2], bool(one[3])) for one in found)
