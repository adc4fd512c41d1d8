"""A background process that exits on demand: at once, or repeatedly after a while."""

import os
import pathlib
import time

MOOD = pathlib.Path(__file__).parent / "mood" / "mood"


def mood() -> str:
    return MOOD.read_text().strip() if MOOD.exists() else ""


def connect() -> None:
    os.environ["BROKER_URL_THAT_NOBODY_SET"]


if mood() == "worker":
    connect()
# Slower than what a process manager takes for a hopeless case.
time.sleep(13 if mood() == "weak worker" else 86400)
connect()
