"""The surroundings of this process as JSON, for a test that compares them."""

import json
import os
import sys
from pathlib import Path


def surroundings():
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    umask = os.umask(0)
    os.umask(umask)
    return {
        "env": dict(os.environ),
        "home": os.path.expanduser("~"),
        "umask": umask,
        "ids": [*os.getresuid(), *os.getresgid(), *sorted(os.getgroups())],
        "cwd": os.getcwd(),
        "kernel": {key: status[key].strip() for key in ("NoNewPrivs", "CapBnd", "CapPrm", "Seccomp", "SigIgn")},
        "writable": [path for path in ("/etc", "/usr", "/srv", "/tmp", "data", "..") if os.access(path, os.W_OK)],
        "visible": {path: sorted(os.listdir(path)) for path in ("/dev",)},
        "unit": Path("/proc/self/cgroup").read_text().strip().rpartition("/")[2],
    }


def note(author):
    Path("data", f"probe-{author}.json").write_text(json.dumps(surroundings()), encoding="utf-8")


if __name__ == "__main__":
    note(sys.argv[1])
