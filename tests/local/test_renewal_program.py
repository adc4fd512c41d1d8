# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that renews certificates, run by Python alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.renewal import program


def test_the_program_needs_nothing_but_python(tmp_path: Path) -> None:
    path, plan = tmp_path / "certificates.pyz", tmp_path / "plan.json"
    path.write_bytes(program())
    folder = str(tmp_path)
    authority = {"directory": "", "email": "", "ca_bundle": ""}
    given = {"lock": f"{folder}/lock", "folder": folder, "state_folder": folder, "authority": authority}
    plan.write_text(json.dumps({**given, "certificates": []}))
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(path), str(plan)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
