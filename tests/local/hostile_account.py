# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An account that is hostile to root and to other accounts: it runs programs of a test, and owns folders."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the attacker has another account")


class Attacker:
    """Runs Python programs with a user ID that is neither root's nor an account's."""

    def __init__(self, folder: Path, uid: int = 0) -> None:
        self.uid = self.gid = uid or 51_000 + os.getpid() % 8_000
        self.folder = folder
        os.chown(folder, self.uid, self.gid)

    def options(self) -> dict[str, object]:
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": str(self.folder)}

    def run(self, program: str, *arguments: str) -> str:
        """The output of a program, which has to succeed. It starts in the attacker's folder."""
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", f"import os, socket, sys\n{program}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **self.options(),  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """A program that continues to run. It prints one line when it is ready."""
        process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", f"import os, socket, sys, time\n{program}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **self.options(),  # type: ignore[call-overload]
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process


@pytest.fixture
def attacker() -> Iterator[Attacker]:
    """A hostile account with a folder of its own, below one of root's."""
    with tempfile.TemporaryDirectory(prefix="pyweb-") as base:
        os.chmod(base, 0o755)
        folder = Path(base) / "attacker"
        folder.mkdir()
        yield Attacker(folder)
        # Python's own removal can't remove all that a test leaves.
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False)


# Makes a chain of folders; 1500 of them, as a relative path of the kernel may not be that long.
DEEP = "for number in range(int(sys.argv[1])):\n    os.mkdir('d')\n    os.chdir('d')\n"

assert sys.platform == "linux"
