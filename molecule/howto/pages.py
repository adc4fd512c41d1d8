#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the applications of the how-tos to FOLDER/webapps.yml, and the plays before them to FOLDER/provide.yml.

The sources are those in tests/apps/howto. Secrets have a value, and the site of the shop has TLS, so that the test can
send a form as browsers do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests" / "testinfra"))

from pyweb_documents import HOWTO, inventories  # noqa: E402  # see above

PAGES = ("django", "fastapi", "celery", "postgresql")


def pages() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The applications of all pages, and the plays that come before the site playbook."""
    apps, plays = [], []
    for page in PAGES:
        (files,) = inventories((HOWTO / f"{page}.md").read_text(encoding="utf-8"))
        apps += yaml.safe_load(files["inventory/group_vars/web.yml"])["webapps"]
        plays += yaml.safe_load(files.get("deploy.yml", "[]"))[:-1]
    for app in apps:
        app["source"] = {"path": str(CHECKOUT / "tests" / "apps" / "howto" / app["name"])}
        if app["name"] == "shop":
            app["env"]["SECRET_KEY"] = "not-a-secret"  # of a test
            app["site"]["tls"] = {"mode": "selfsigned"}
    return apps, plays


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    apps, plays = pages()
    (folder / "webapps.yml").write_text(yaml.safe_dump(apps), encoding="utf-8")
    (folder / "provide.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
