# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Print what a playbook has to say, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bare
type: stdout
short_description: Print what a playbook has to say, and nothing else
version_added: 0.2.0
description:
  - Prints the messages of M(ansible.builtin.debug) and M(ansible.builtin.assert) as they are, without the names of
    plays, tasks and hosts. So a program can read the output of a playbook, such as the JSON of
    C(status.yml -e format=json).
  - Writes failures to the standard error, with the name of the host. The exit status reports them too.
author: The pyweb.stack contributors (@pyweb)
notes:
  - Chosen for one run by the environment variable E(ANSIBLE_STDOUT_CALLBACK).
"""

EXAMPLES = r"""
# ANSIBLE_STDOUT_CALLBACK=pyweb.stack.bare ansible-playbook status.yml -i inventory -e format=json | jq '.[].health'
"""

import sys  # the documentation stands first in a plugin
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable

ASSERT = ("assert", "ansible.builtin.assert", "ansible.legacy.assert")


class CallbackModule(CallbackBase):
    """The messages alone."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "pyweb.stack.bare"

    play: Any = None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = play

    def v2_runner_on_ok(self, result: Any) -> None:
        told, task = result.result.get("msg"), result.task
        # Without a success_msg, the message of an assertion is only "All assertions passed".
        says = task.action in constants._ACTION_DEBUG or (task.action in ASSERT and "success_msg" in task.args)
        if says and told is not None:
            write(sys.stdout, told)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self.v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            write(sys.stderr, f"{result.host.get_name()}: {result.result.get('msg', 'failed')}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.v2_runner_on_failed(result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        # A play that names no hosts is for a group that the inventory need not have.
        if self.play is None or self.play.hosts:
            write(sys.stderr, "no host of the inventory is one of this playbook's")


def write(stream: Any, told: Any) -> None:
    """One message; a list is its lines."""
    text = "\n".join(map(str, told)) if isinstance(told, list) else str(told)
    print(printable(text), file=stream, flush=True)
