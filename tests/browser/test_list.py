"""The page with the list of experiments, in a browser."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from .conftest import release
from .stack import DIGITS, Stack, endless, unclaimed

pytestmark = [pytest.mark.servers, pytest.mark.browser]
OpenPage = Callable[..., Page]


def link(page: Page, id: str) -> Locator:
    """The link to an experiment."""
    return page.locator(f'a[href="/experiments/{id}"]')


def row(page: Page, id: str) -> Locator:
    """The table row of an experiment."""
    return page.locator("#experiments tr").filter(has=link(page, id))


@pytest.fixture
def finished(stack: Stack) -> str:
    """The id of a new experiment that is done, of one job."""
    id = stack.submit("finished", {"digits": DIGITS})
    assert stack.wait(id) == "done"
    return id


def test_the_list_has_a_row_for_each_experiment(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(stack.url)
    expect(link(page, finished)).to_have_text("finished")
    cells = row(page, finished).locator("td")
    expect(cells.nth(1)).to_have_text("done")
    expect(cells.nth(2)).to_have_text("1/1")
    expect(cells.nth(4)).to_have_text(re.compile(r"^\d+ s|^\d+ min \d+ s"))
    link(page, finished).click()
    expect(page).to_have_title("finished · robxfer")
    page.get_by_role("link", name="experiments").click()
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()


def test_the_filters_show_one_state(open_page: OpenPage, stack: Stack, finished: str) -> None:
    waiting = stack.submit("unclaimed", unclaimed())
    page = open_page(stack.url)
    expect(row(page, waiting)).to_have_count(1)
    expect(row(page, finished)).to_have_count(1)
    everything, running, done = (page.get_by_role("button", name=name) for name in ("all", "running", "done"))
    expect(everything).to_have_attribute("aria-pressed", "true")
    done.click()
    expect(done).to_have_attribute("aria-pressed", "true")
    expect(everything).to_have_attribute("aria-pressed", "false")
    expect(row(page, waiting)).to_have_count(0)
    expect(row(page, finished)).to_have_count(1)
    running.click()
    expect(row(page, finished)).to_have_count(0)
    expect(row(page, waiting)).to_have_count(1)
    stack.cancel(waiting)
    expect(row(page, waiting)).to_have_count(0)
    page.get_by_role("button", name="cancelled").click()
    expect(row(page, waiting).locator(".pill")).to_have_text("cancelled")


def test_an_answer_to_an_earlier_filter_is_dropped(open_page: OpenPage, stack: Stack, finished: str) -> None:
    cancelled = stack.submit("cancelled", unclaimed())
    stack.cancel(cancelled)
    page = open_page(stack.url)
    expect(row(page, finished)).to_have_count(1)
    held: list[Route] = []
    page.route("**/v1/experiments?*state=cancelled*", lambda route: held.append(route))
    page.get_by_role("button", name="cancelled").click()
    page.get_by_role("button", name="done").click()
    expect(row(page, cancelled)).to_have_count(0)
    expect(row(page, finished)).to_have_count(1)
    release(page, held[0])
    assert row(page, cancelled).count() == 0
    assert row(page, finished).count() == 1


def test_states_change_without_a_reload(open_page: OpenPage, stack: Stack) -> None:
    page = open_page(stack.url)
    page.evaluate("window.loadedOnce = true")
    id = stack.submit("changes", endless())
    mine = row(page, id)
    expect(mine.locator(".pill")).to_have_text("running")
    expect(mine.locator(".tally")).to_have_text("1/2")
    expect(mine.locator(".track i.running")).to_have_count(1)
    stack.cancel(id)
    expect(mine.locator(".pill")).to_have_text("cancelled")
    assert page.evaluate("window.loadedOnce") is True


def test_older_experiments_come_a_page_at_a_time(open_page: OpenPage, stack: Stack) -> None:
    ids = [stack.submit("one of many", unclaimed()) for _ in range(51)]
    page = open_page(stack.url)
    rows = page.locator("#experiments tr")
    expect(rows).to_have_count(50)
    expect(rows.first.locator("a")).to_have_attribute("href", f"/experiments/{ids[-1]}")
    expect(row(page, ids[0])).to_have_count(0)
    page.get_by_role("button", name="Older").click()
    expect(row(page, ids[0])).to_have_count(1)
    expect(row(page, ids[-1])).to_have_count(1)
    page.get_by_role("button", name="running").click()
    expect(rows.locator(".pill.running")).to_have_count(50)
    expect(rows).to_have_count(50)


def test_the_keyboard_reaches_everything_and_a_refresh_leaves_the_focus(
    open_page: OpenPage, stack: Stack, finished: str
) -> None:
    page = open_page(stack.url)
    expect(page.locator("#experiments tr").first).to_be_visible()
    page.get_by_role("button", name="all").focus()
    for name in ("running", "done"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="done")).to_have_attribute("aria-pressed", "true")
    link(page, finished).focus()
    newer = stack.submit("newer", {"digits": DIGITS})
    expect(row(page, newer)).to_have_count(1)
    expect(link(page, finished)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("finished")


def test_the_list_has_roles_and_names(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(stack.url)
    expect(page.locator("body")).to_match_aria_snapshot("""
    - banner:
      - link "robxfer"
      - navigation:
        - link "workers"
        - link "kinds of job"
        - link "API"
    - main:
      - heading "Experiments" [level=1]
      - group "Filter by state":
        - button "all" [pressed]
        - button "running"
        - button "done"
        - button "failed"
        - button "cancelled"
      - table:
        - rowgroup:
          - row "Name State Jobs Submitted Took"
        - rowgroup:
          - row /finished done/
    """)
