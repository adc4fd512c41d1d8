# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How instances of templates are named."""

from __future__ import annotations

import re

# A release's ID. It begins with its time, so that "shop-worker" is never read as an instance "worker-…" of "shop".
INSTANCE = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[A-Za-z0-9_.]+)*")
