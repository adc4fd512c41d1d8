# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The name of a release, which is the instance of a template unit or a template program, and what instances have."""

from __future__ import annotations

import re

# A release's ID. It begins with a time, so that "shop-worker" is never mistaken for an instance "worker…" of "shop".
INSTANCE = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[A-Za-z0-9_.]+)*")

# The drop-in of a unit of systemd that runs in the image of its release. Each release has its own.
IMAGE_DROP_IN = "50-pyweb-image.conf"
