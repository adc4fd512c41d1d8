# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the start, the end and the result of every task of a run as JSON."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: bench_times
type: aggregate
short_description: when every task began and ended, for the benchmark of this project
description:
  - Writes the file named by the environment variable E(BENCH_TIMES) when the run ends. Times are seconds since 1970.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bench_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[dict[str, Any]] = []
        self.play = 0.0

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = self.play or time.time()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.tasks.append({"name": task.get_name(), "action": task.action, "begin": time.time()})

    def ended(self, result: str) -> None:
        self.tasks[-1].update(end=time.time(), result=result)

    def v2_runner_on_ok(self, result: Any) -> None:
        self.ended("changed" if result.is_changed() else "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.ended("skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self.ended("failed")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        path = os.environ.get("BENCH_TIMES")
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"play": self.play, "end": time.time(), "tasks": self.tasks}, file)
