# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Static folders of an installed package. nginx can't enter an environment, so a build copies them. Pure."""

from __future__ import annotations

import shlex
from typing import Any

COPY = """\
import importlib.util, os, shutil, sys
package, folder, target = sys.argv[1:]
found = importlib.util.find_spec(package)
if found is None or not found.submodule_search_locations:
    sys.exit(f"site.static: the environment has no package {package}. Correct static[].package.")
places = [os.path.join(place, folder) for place in found.submodule_search_locations]
place = next((place for place in places if os.path.isdir(place)), None)
if place is None:
    sys.exit(f"site.static: the package {package} has no folder {folder} in {places[0]}. Correct static[].path.")
shutil.copytree(place, target, dirs_exist_ok=True)
"""


def copies(app: dict[str, Any]) -> list[str]:
    """The build commands that copy the static folders of packages, before those of the application."""
    commands = []
    for item in app["site"]["static"]:
        if item["package"]:
            folder = item["path"].split("/", 2)[2]
            words = ["python", "-c", COPY, item["package"], folder, item["path"]]
            command = " ".join(map(shlex.quote, words))
            commands += [] if command in commands else [command]
    return commands
