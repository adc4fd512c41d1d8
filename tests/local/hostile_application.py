# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application with an account and folders of its own, as the role webapp makes them, whose programs are hostile."""

from __future__ import annotations

import itertools
import os
import pwd
import subprocess
from pathlib import Path
from types import TracebackType

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from hostile_account import Attacker

# Another run of these tests, and containers, may use any common ID. No two tests use the same one.
NUMBERS = itertools.count(20_000 + os.getpid() % 400 * 70)


class Application:
    """The account is removed at the end, with its processes."""

    def __init__(self, base: Path, name: str) -> None:
        self.layout = Layout(name, str(base / "apps"), str(base / "run"))
        home = Path(self.layout.home)
        for folder in (home, Path(self.layout.shared)):
            folder.mkdir(parents=True)
        os.chmod(base, 0o755)
        add = ["useradd", "--uid", str(next(NUMBERS)), "--user-group", "--no-create-home", "--no-log-init"]
        add += ["--shell", "/usr/sbin/nologin", "--home-dir", str(home), name]
        subprocess.run(add, check=True, capture_output=True)
        self.name = name
        self.account = pwd.getpwnam(name)
        self.attacker = Attacker(Path(self.layout.shared), self.account.pw_uid)

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        subprocess.run(["pkill", "-KILL", "-U", str(self.account.pw_uid)], check=False)
        subprocess.run(["userdel", "--force", self.name], check=False, capture_output=True)
