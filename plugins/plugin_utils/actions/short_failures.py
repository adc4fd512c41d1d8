# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Failed results that people can read: the message, without the facts and the results that Ansible would print."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from ansible.utils.display import Display

# The keys of Ansible itself. It prints some of them only with -vvv, and the others have their own place.
SHOWN = frozenset({"failed", "changed", "msg", "exception", "warnings", "deprecations", "diff", "invocation"})
# The output of a module that did not answer, which explains its failure.
UNANSWERED = frozenset({"module_stdout", "module_stderr", "rc", "unreachable", "skip_reason"})
# With -vv, all keys are printed.
DEBUGGING = 2

Run = Callable[..., dict[str, Any]]

display = Display()


def short(result: dict[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """The result of a task; of a failed one, only its message and the keys in ``kept``."""
    if not result.get("failed") or display.verbosity >= DEBUGGING:
        return result
    names = {*SHOWN, *UNANSWERED, *kept}
    return {name: value for name, value in result.items() if name in names or name.startswith("_ansible_")}


def with_short_failures(run: Run) -> Run:
    """The method ``run`` of an action, with failed results that are short."""

    @wraps(run)
    def shortened(action: Any, *args: Any, **options: Any) -> dict[str, Any]:
        return short(run(action, *args, **options), action.kept_in_failures)

    return shortened
