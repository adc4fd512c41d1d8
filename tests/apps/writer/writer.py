"""Writes a file from each program of an application that can write: when it is imported, and for a visitor."""

from pathlib import Path

import probe


def note(author, folder="uploads"):
    Path(folder, f"by-{author}").write_text(f"the secret of {author}\n", encoding="utf-8")


def app(environ, start_response):
    if environ["PATH_INFO"] == "/write":
        probe.note("web")
        Path("uploads", "albums").mkdir(exist_ok=True)
        note("web")
        note("album", "uploads/albums")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"written\n"]


note("import")
# The import check comes first, and removes all files that it has created outside of HOME.
if not Path.home().joinpath("probe-import.json").exists():
    probe.note("import", Path.home())
note("import", "data")
