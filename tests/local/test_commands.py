# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Commands that modules run on a host."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host


def test_commands_keep_their_output_and_a_daemon_holds_up_nothing() -> None:
    status, out, err = run_on_host(["/bin/sh", "-c", "(sleep 30; echo late) & echo $LC_ALL; echo bad >&2; exit 3"])
    assert (status, out, err) == (3, "C.UTF-8\n", "bad\n")
    assert run_on_host(["/no/such/program"]) == (127, "", "/no/such/program can't be run: No such file or directory")
