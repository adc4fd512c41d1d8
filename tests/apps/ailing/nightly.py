"""A job that fails on demand."""

import pathlib

MOOD = pathlib.Path(__file__).parent / "mood" / "mood"

if MOOD.exists() and MOOD.read_text().strip() == "job":
    raise LookupError("the backup is nowhere to be found")
