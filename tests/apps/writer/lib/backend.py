"""A build backend that records its surroundings in the wheel that it makes."""

import json
import os
import zipfile

import probe


def build_wheel(folder, config_settings=None, metadata_directory=None):
    version = os.environ.get("SETUPTOOLS_SCM_PRETEND_VERSION", "1.0")
    info, name = f"probing-{version}.dist-info", f"probing-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("probing.py", f"FOUND = {json.dumps(probe.surroundings())!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: probing\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
