# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The message about an error that no code expects. Such an error of one application must not stop the others."""

from __future__ import annotations

import os
import traceback


def unexpected(name: str, doing: str, error: Exception) -> str:
    """The message of an application, with the place of the error."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return (
        f"webapps '{name}': {doing} failed: {type(error).__name__}: {error}{place}. This is a fault of the collection: "
        "please report it, with the output of this run."
    )
