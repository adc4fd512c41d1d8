# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A server of one folder that notes the command lines of this machine while it is asked."""

from __future__ import annotations

import http.server
from pathlib import Path
from typing import Any, ClassVar


class WatchingServer(http.server.SimpleHTTPRequestHandler):
    """Serves ``root``. ``commands`` holds the command lines that ran during the requests."""

    root = ""
    commands: ClassVar[set[str]] = set()

    def parse_request(self) -> bool:
        # Also before an answer that a subclass refuses: the client waits for it, so its command still runs.
        self.watch()
        return super().parse_request()

    def watch(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.commands.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue

    def translate_path(self, path: str) -> str:
        return self.root + path.partition("?")[0]

    def log_message(self, *_arguments: Any) -> None:
        pass
