# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run systemctl and journalctl, and read what they print."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# Bytes that are read of the journal for each requested line.
LINE_BYTES = 1000
REMEDY = "Look at systemctl status on the host."


class Systemctl:
    """systemctl of this host. A failure is raised as ``error``, with what was being done and the remedy."""

    def __init__(self, run: Run, error: type[HostError]) -> None:
        self.run = run
        self._error = error

    def must(self, doing: str, *arguments: str, remedy: str = REMEDY) -> str:
        """Run a systemctl command that has to succeed; return its output."""
        return must(self.run, doing, ["systemctl", *arguments], remedy, self._error)

    def try_to(self, *arguments: str) -> tuple[int, str, str]:
        """Run a systemctl command that may fail; return its exit status, output and errors."""
        return self.run(["systemctl", *arguments])

    def show(self, unit: str, properties: str) -> dict[str, str]:
        """Properties of one unit, which need not exist."""
        found = parse_properties(self.must(f"Looking at {unit}", "show", f"--property={properties}", unit))
        if not found:
            # systemctl prints properties even for a missing unit.
            raise self._error(f"Looking at {unit}: `systemctl show` prints nothing. {REMEDY}")
        return found

    def show_all(self, patterns: list[str], properties: str) -> dict[str, dict[str, str]]:
        """Properties of all units that match the patterns, by their Id. Times are in UTC with microseconds."""
        if not patterns:
            return {}
        # --all: a pattern also matches what has failed or is about to be restarted.
        options = ["--all", "--timestamp=us+utc", f"--property=Id,{properties}"]
        blocks = self.must("Looking at the units", "show", *options, *patterns).strip().split("\n\n")
        units = [parse_properties(block) for block in blocks]
        return {unit["Id"]: unit for unit in units if unit.get("Id")}

    def reload(self) -> None:
        """Let systemd read its unit files again."""
        self.must("Reloading systemd's unit files", "daemon-reload")

    def last_output(self, unit: str, lines: int) -> str:
        """The last lines that a unit's own processes have written. If there are none, what systemd says about the unit.

        A process that could not be started writes nothing. Then only systemd knows the reason.
        """
        # --unit would add systemd's own lines; these fields do not.
        fields = [f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout", "_TRANSPORT=syslog"]
        status, out, err = read_journal(self.run, [*fields, "-o", "cat"], lines)
        if status == 0 and not out.strip():
            status, out, err = read_journal(self.run, [f"UNIT={unit}", "-o", "cat"], lines)
        return out.rstrip("\n") if status == 0 else f"(the journal of {unit} can't be read: {err.strip()})"


def read_journal(run: Run, arguments: list[str], lines: int, line_bytes: int = LINE_BYTES) -> tuple[int, str, str]:
    """The last lines that journalctl finds: exit status, output and errors.

    A process can write lines of any length, so only the end of the output is read.
    """
    words = ["journalctl", "-n", str(lines), "--no-pager", "--quiet", *arguments]
    # tail(1) hides the status of journalctl, which says in words what is wrong.
    script = 'size=$1; shift; "$@" | tail -c "$size"'
    status, out, err = run(["/bin/sh", "-c", script, "sh", str(lines * line_bytes), *words])
    return (status or 1) if err and not out else status, out, err


def parse_properties(text: str) -> dict[str, str]:
    """Lines of KEY=VALUE as `systemctl show` prints them."""
    return dict(line.split("=", 1) for line in lines_of(text) if "=" in line)
