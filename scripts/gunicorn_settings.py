#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Writes the table of gunicorn's settings that the preflight checks against, from the gunicorn in this environment.

A setting whose type this script does not know stops it: decide here what its values may be.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gunicorn import __version__
from gunicorn.config import KNOWN_SETTINGS
from gunicorn.glogging import Logger

TABLE = Path(__file__).resolve().parent.parent / "plugins" / "plugin_utils" / "servers" / "gunicorn_settings.py"

# gunicorn's validators, and the values that each accepts: a type of an argument specification, and choices.
VALIDATORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "validate_bool": ("bool", ()),
    "validate_pos_int": ("int", ()),
    "validate_http2_window_size": ("int", ()),
    "validate_http2_stream_limit": ("int", ()),
    "validate_http2_frame_size": ("int", ()),
    "validate_string": ("str", ()),
    "validate_string_to_list": ("str", ()),
    "validate_string_to_addr_list": ("str", ()),
    "validate_class": ("str", ()),
    "validate_chdir": ("str", ()),
    "validate_user": ("str", ()),
    "validate_group": ("str", ()),
    "validate_statsd_address": ("str", ()),
    "validate_http_protocols": ("str", ()),
    "validate_list_string": ("list", ()),
    "validate_list_of_files_or_patterns": ("list", ()),
    "validate_dict": ("dict", ()),
    # Python code, by the dotted name of a function.
    "_validate_callable": ("hook", ()),
    "validate_post_request": ("hook", ()),
    "validate_ssl_version": ("raw", ()),
    "validate_reload_engine": ("str", ("auto", "inotify", "poll")),
    "validate_proxy_protocol": ("str", ("auto", "off", "v1", "v2")),
    "validate_header_map_behaviour": ("str", ("dangerous", "drop", "refuse")),
    "validate_http2_cleartext": ("str", ("both", "off", "prior-knowledge", "upgrade")),
    "validate_asgi_loop": ("str", ("asyncio", "auto", "uvloop")),
    "validate_asgi_lifespan": ("str", ("auto", "off", "on")),
    "validate_http_parser": ("str", ("auto", "fast", "python")),
}


def entry(setting: Any) -> tuple[str, tuple[str, ...]]:
    """Type and choices of one setting; the choices are tried on gunicorn itself."""
    validator: Any = getattr(setting, "validator", None)
    name = getattr(validator, "__name__", type(validator).__name__)
    if name not in VALIDATORS:
        raise SystemExit(f"{setting.name}: gunicorn checks it with the unknown {name}. Add that to {__file__}")
    kind, choices = VALIDATORS[name]
    for choice in choices:
        validator(choice)
    if setting.name == "loglevel":
        choices = tuple(sorted(Logger.LOG_LEVELS))
    return kind, choices


def table() -> str:
    """The table as the text of a Python module."""
    lines = [
        "# Copyright: the pyweb.stack contributors",
        "# MIT License (see LICENSE)",
        '"""Every setting of gunicorn, with what its value may be. Written by scripts/gunicorn_settings.py."""',
        "",
        "from __future__ import annotations",
        "",
        f'VERSION = "{__version__}"',
        "",
        "# Name: (type, choices). A hook is the dotted name of a function.",
        "SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {",
    ]
    for setting in sorted(KNOWN_SETTINGS, key=lambda setting: setting.name):
        kind, choices = entry(setting)
        listed = ", ".join(f'"{choice}"' for choice in choices)
        lines.append(f'    "{setting.name}": ("{kind}", ({listed})),')
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    TABLE.write_text(table())
    print(f"{TABLE}: {len(KNOWN_SETTINGS)} settings of gunicorn {__version__}", file=sys.stderr)
