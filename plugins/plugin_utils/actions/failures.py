# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications of a run that failed: what each stage passes on, and the message at the end of the run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

UNCHANGED = "Unless a message says otherwise, the releases that were live before are still live."
OTHERS = "The other applications of this run are deployed: "


def failures_of(answer: Mapping[str, Any], names: Collection[str]) -> dict[str, list[str]]:
    """The failures in the answer of a host: of these applications only, because the answer is untrusted."""
    found = answer.get("failures")
    if not isinstance(found, Mapping):
        return {"names": [], "problems": []}
    problems, failed = found.get("problems"), found.get("names")
    own = [name for name in names if isinstance(failed, list) and name in failed]
    texts = [str(problem) for problem in problems] if isinstance(problems, list) else []
    # Only the problems make a run fail.
    silent = [f"webapps '{name}': it failed, but the host did not report why." for name in own if not texts]
    return {"names": own, "problems": texts or silent}


def together(found: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """The failures of several stages."""
    stages = list(found)
    return {
        key: list(dict.fromkeys(one for stage in stages for one in stage.get(key) or ()))
        for key in ("names", "problems")
    }


def held(apps: Iterable[Mapping[str, Any]]) -> list[str]:
    """The applications that could not be built, but have a live release. Their sites stay as they are."""
    return [app["name"] for app in apps if app.get("action") == "failed" and app.get("current")]


def message(failures: Mapping[str, list[str]], live: Iterable[str]) -> str:
    """The message of a run on a host, with every application that failed. ``live`` are those that are deployed else."""
    others = [name for name in live if name not in failures["names"]]
    deployed = f" {OTHERS}{', '.join(others)}." if others else ""
    return "\n\n".join([*failures["problems"], f"{UNCHANGED}{deployed} Correct the problems, then run again."])


def led_elsewhere(
    switches: Iterable[Mapping[str, Any]], failed_on: Mapping[str, str], host: str
) -> dict[str, list[str]]:
    """The applications that do not switch here, because their release commands failed on another host."""
    names = [one["name"] for one in switches if failed_on.get(one["name"], host) != host]
    return {
        "names": names,
        "problems": [
            f"webapps '{name}': its release commands failed on {failed_on[name]}, so this host does not switch to the "
            "new release either."
            for name in names
        ],
    }
