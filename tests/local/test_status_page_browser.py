# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status page in a real browser: nothing in it is executed, its layout holds, and people can use it.

pytest tests/local/test_status_page_browser.py --pictures docs/pictures    makes the pictures of the documents again
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import page as html_page
from playwright.sync_api import Browser, Page, sync_playwright
from status_fleet import HOURS, NOW, fleet, hostile_fleet

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MISSING = "chromium is missing. Install it: sudo apt-get install chromium fonts-liberation"
# Rules of axe-core with these impacts must find nothing.
SERIOUS = ("serious", "critical")
# The pages that are looked at: hosts and applications.
SIZES = [(1, 3), (10, 8), (50, 20)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.fail(MISSING)
    # As root, in containers, chromium has no sandbox of its own. The pages are those of this test.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


class Pages(dict[str, Path]):
    """Pages on the disk, each made when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.fleets: dict[str, Callable[[], list[Answers]]] = {"troubles": lambda: fleet(4, 6, troubles=True)}
        for hosts, apps in SIZES:
            self.fleets[f"{hosts}x{apps}"] = partial(fleet, hosts, apps)
            self.fleets[f"hostile{hosts}x{apps}"] = partial(hostile_fleet, hosts, apps)

    def __missing__(self, name: str) -> Path:
        path = self[name] = self.folder / f"{name}.html"
        path.write_text(html_page(self.fleets[name](), NOW, HOURS), encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


class Opened:
    """A page in a tab of its own, with all that the browser complains about."""

    def __init__(
        self, browser: Browser, path: Path, scheme: str = "light", is_fixed: bool = True, **options: Any
    ) -> None:
        self.context = browser.new_context(color_scheme=scheme, **{"viewport": WIDE, **options})
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if is_fixed:
            self.page.clock.set_fixed_time(datetime.fromtimestamp(NOW + 300, UTC))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_error: Any) -> None:
        self.context.close()

    def first(self, column: int, count: int = 3) -> list[str]:
        """The texts of a column in the first visible rows."""
        rows = self.page.locator(f"tbody:not([hidden]) > tr:first-child > td:nth-child({column + 1})")
        return [text.strip() for text in rows.all_inner_texts()[:count]]


def overflow(page: Page) -> list[str]:
    """The elements that reach beyond the right edge of the page."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((one) => {
            const box = one.getBoundingClientRect();
            const isOut = box.right > document.documentElement.clientWidth + 1;
            return isOut && box.width > 1 && !one.closest("svg.chart, .sr");
        }).slice(0, 5).map((one) => `${one.tagName}.${one.className}: ${one.textContent.slice(0, 60)}`)"""
    )
    return found


@pytest.mark.attack("20", "An application or a host writes HTML and scripts into every field of the status page")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_hostile_texts_execute_nothing_and_break_no_layout(
    browser: Browser, pages: Pages, size: tuple[int, int], viewport: dict[str, int]
) -> None:
    path = pages[f"hostile{size[0]}x{size[1]}"]
    with Opened(browser, path, viewport=viewport) as opened:
        page = opened.page
        for button in page.locator(".more").all()[:5]:
            button.click()
        page.locator(".charts").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("window.hacked") is None
        assert opened.complaints == []
        assert opened.requests == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert overflow(page) == []
        assert page.locator("tbody").count() == size[0] * size[1] + (size[0] > 1)


def test_the_policy_of_the_page_blocks_what_is_added_to_it(browser: Browser, pages: Pages, tmp_path: Path) -> None:
    """The second line of defence. It also shows that these tests would notice a script."""
    path = tmp_path / "added.html"
    text = pages["1x3"].read_text(encoding="utf-8")
    added = '<script>window.hacked=1</script><img src="https://192.0.2.1/x.png" onerror="window.hacked=1">'
    path.write_text(text.replace("<main>", f"<main>{added}"), encoding="utf-8")
    with Opened(browser, path) as opened:
        assert opened.page.evaluate("window.hacked") is None
        assert len([one for one in opened.complaints if "Content Security Policy" in one]) >= 2
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
    path.write_text(without.replace("https://192.0.2.1/x.png", "data:,"), encoding="utf-8")
    with Opened(browser, path) as opened:
        assert opened.page.evaluate("window.hacked") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious(browser: Browser, pages: Pages, scheme: str, viewport: dict[str, int]) -> None:
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with Opened(browser, pages["troubles"], scheme, viewport=viewport) as opened:
        opened.page.locator(".more").first.click()
        opened.page.evaluate(axe)
        # Also what is only a best practice, such as landmarks.
        found = opened.page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 20
        wrong = [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
        assert [one for one in wrong if one[1] in SERIOUS] == []
        assert wrong == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_instance_is_shown(browser: Browser, pages: Pages, size: tuple[int, int]) -> None:
    hosts, apps = size
    with Opened(browser, pages[f"{hosts}x{apps}"]) as opened:
        page = opened.page
        assert page.locator("tbody").count() == hosts * apps
        assert page.locator("article").count() == apps
        assert page.locator(".hosts > li").count() == hosts
        assert page.locator("h1").inner_text().strip() == "Everything works"
        assert page.locator("#age").inner_text() == ", 5 min ago"
        assert opened.complaints == []


def test_light_and_dark_follow_the_system(browser: Browser, pages: Pages) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with Opened(browser, pages["1x3"], scheme) as opened:
            grounds.append(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", ground)[:3])) for ground in grounds)
    assert light > 600 > 150 > dark


def test_columns_are_sorted_by_keyboard(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["troubles"]) as opened:
        page = opened.page
        memory = page.get_by_role("button", name="memory")
        memory.focus()
        page.keyboard.press("Enter")
        assert page.locator("th").nth(6).get_attribute("aria-sort") == "ascending"
        rising = [float(text.split()[0]) for text in opened.first(6, 24)]
        assert rising == sorted(rising)
        page.keyboard.press("Enter")
        assert page.locator("th").nth(6).get_attribute("aria-sort") == "descending"
        # The application that is not in the inventory has no memory, and stays last.
        assert [float(text.split()[0]) for text in opened.first(6, 24)] == rising[::-1]
        assert opened.first(6, 25)[24] == "–"  # noqa: RUF001  # the dash of an empty cell
        page.get_by_role("button", name="host", exact=True).press("Space")
        assert opened.first(1, 4) == ["web1"] * 4
        page.get_by_role("button", name="health").press("Enter")
        assert "BAD" in opened.first(2, 1)[0]


def test_hosts_are_sorted_by_their_numbers(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["10x8"]) as opened:
        opened.page.get_by_role("button", name="host", exact=True).click()
        rows = opened.page.locator('td[data-field="host"]').all_inner_texts()
        assert list(dict.fromkeys(rows)) == [f"web{number}" for number in range(1, 11)]


def test_the_page_is_filtered_by_keyboard(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["10x8"]) as opened:
        page = opened.page
        page.keyboard.press("/")
        page.keyboard.type("SHOP web3")
        assert page.locator("#filter").input_value() == "SHOP web3"
        assert page.locator("#shown").inner_text() == "1 of 80 instances"
        assert opened.page.locator("tbody:visible .more").inner_text() == "shop"
        page.keyboard.press("Escape")
        assert page.locator("#shown").inner_text() == ""
        assert page.locator("tbody:visible").count() == 80
        page.keyboard.type("nothing has this")
        assert page.locator("#shown").inner_text() == "0 of 80 instances"
        assert page.locator("article:visible, .timeline li:visible, .hosts > li:visible").count() == 0


def test_only_what_needs_attention_can_be_shown(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["troubles"]) as opened:
        page = opened.page
        page.get_by_role("checkbox").press("Space")
        visible = page.locator("tbody:visible")
        assert 0 < visible.count() < page.locator("tbody").count()
        assert {one.get_attribute("data-level") for one in visible.all()} == {"warn", "bad"}
        assert {one.get_attribute("class") for one in page.locator(".timeline li:visible").all()} == {"failed"}


def test_a_row_opens_by_keyboard(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["troubles"]) as opened:
        page = opened.page
        button, details = page.locator(".more").first, page.locator(".details")
        button.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        assert details.get_attribute("id") == button.get_attribute("aria-controls")
        texts = details.locator("dt, dd").all_text_contents()
        data = json.loads(page.locator("#data").text_content() or "")
        assert texts == [text for one in data["details"][0] for text in (one["label"], *one["lines"])]
        button.press("Space")
        assert not details.is_visible()
        assert button.get_attribute("aria-expanded") == "false"


def test_details_are_found_although_their_row_is_closed(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["troubles"]) as opened:
        opened.page.locator("#filter").fill("release_hold=false")
        assert opened.page.locator("tbody:visible .more").all_inner_texts() == ["accounts"]


def test_a_chart_is_read_by_keyboard_and_pointer(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["10x8"]) as opened:
        chart = opened.page.locator(".charts").first
        read = chart.locator(".read")
        chart.press("ArrowRight")
        first = read.inner_text()
        assert re.match(r"08:05 to 08:10 · [\d.]+ requests a minute · \d+ errors · p50 \d+ ms · p95 \d+ ms", first)
        chart.press("ArrowRight")
        assert read.inner_text() != first
        opened.page.keyboard.press("Tab")
        assert read.inner_text() == ""
        chart.locator("svg").first.hover()
        assert read.inner_text().startswith("11:0")


def test_the_page_can_be_read_without_scripts(browser: Browser, pages: Pages) -> None:
    with Opened(browser, pages["troubles"], java_script_enabled=False) as opened:
        assert opened.page.locator("tbody:visible").count() == 25
        assert not opened.page.locator("#filter").is_visible()


# Milliseconds from the request for the page until it is loaded and painted.
SHOWN = """Math.max(performance.getEntriesByType('navigation')[0].loadEventEnd,
                    ...performance.getEntriesByType('paint').map(one => one.startTime))"""


def test_a_thousand_instances_are_shown_in_less_than_a_second(browser: Browser, pages: Pages) -> None:
    """The processor time of the browser for the page: a busy machine, and the start of the browser, do not count."""
    spent, clock = [], []
    for _time in range(3):
        with Opened(browser, pages["50x20"], is_fixed=False) as opened:
            metrics = opened.context.new_cdp_session(opened.page)
            metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
            opened.page.reload()
            opened.page.wait_for_function("performance.getEntriesByType('paint').length > 0")
            found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
            spent.append(found["TaskDuration"])
            clock.append(opened.page.evaluate(SHOWN) / 1000)
    print(f"seconds by the clock until all is shown: {clock}")
    assert 0.05 < min(spent) < 1, f"seconds: {spent}"


PICTURES = {
    "status-light": ("light", WIDE),
    "status-dark": ("dark", WIDE),
    "status-phone": ("light", PHONE),
}


def test_the_pictures_of_the_documents_can_be_made(
    browser: Browser, pages: Pages, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = Path(request.config.getoption("--pictures") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (scheme, viewport) in PICTURES.items():
        with Opened(browser, pages["troubles"], scheme, viewport=viewport) as opened:
            opened.page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 20_000
