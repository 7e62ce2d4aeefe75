"""The page of one experiment, in a browser."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from .conftest import release
from .stack import MARKUP, Mirror, Stack, endless, fetching, mirror, unclaimed

pytestmark = [pytest.mark.servers, pytest.mark.browser]
OpenPage = Callable[..., Page]


@pytest.fixture
def served() -> Iterator[Mirror]:
    with mirror() as running:
        yield running


def test_states_progress_and_log_follow_without_a_reload(open_page: OpenPage, stack: Stack, served: Mirror) -> None:
    id = stack.submit("follow", fetching(served.url), run={"retries": 0})
    page = open_page(f"{stack.url}/experiments/{id}")
    page.evaluate("window.loadedOnce = true")
    expect(page.get_by_role("heading", level=1)).to_have_text("follow")
    expect(page.locator("#state")).to_have_text("running")
    weights = page.get_by_role("button", name="weights: running 50 %")
    expect(weights).to_be_visible()
    expect(page.get_by_role("button", name="model: waiting")).to_be_visible()
    expect(page.locator(".count")).to_have_text(["0/1", "0/1"])

    weights.click()
    facts, log = page.locator("#job-facts"), page.locator("#job-log")
    expect(facts).to_contain_text("running")
    expect(log).to_contain_text(f"http://{MARKUP}/weights.pt")
    expect(log).not_to_contain_text("sha256")
    served.release()
    expect(log).to_contain_text(f"weights.pt from {served.url}weights.pt: sha256")
    expect(facts).to_contain_text("succeeded")
    expect(page.get_by_role("button", name="weights: done")).to_be_visible()
    expect(page.get_by_role("button", name="model: failed")).to_be_visible()
    expect(page.locator(".count")).to_have_text(["1/1", "0/1"])
    expect(page.locator("#state")).to_have_text("failed")
    assert page.evaluate("window.loadedOnce") is True
    assert log.inner_text().count("sha256") == 1
    assert page.locator("#job-log *").count() == 0

    page.get_by_role("button", name="model: failed").click()
    expect(facts).to_contain_text(".safetensors")
    expect(log).to_be_hidden()


def test_the_facts_of_a_job_follow_while_the_experiment_runs(open_page: OpenPage, stack: Stack, served: Mirror) -> None:
    id = stack.submit("facts", fetching(served.url) | unclaimed(), run={"retries": 0})
    page = open_page(f"{stack.url}/experiments/{id}")
    page.get_by_role("button", name="model: waiting").click()
    facts = page.locator("#job-facts")
    expect(facts.get_by_text("waits for")).to_be_visible()
    expect(facts).to_contain_text("weights")
    served.release()
    expect(facts).to_contain_text(".safetensors")
    expect(facts.get_by_text("waits for")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("running")
    stack.cancel(id)


def test_a_cancelled_training_is_shown_so(open_page: OpenPage, stack: Stack) -> None:
    id = stack.submit("cancelled", endless())
    page = open_page(f"{stack.url}/experiments/{id}")
    bar = page.locator("button.node.running")
    expect(bar).to_have_accessible_name(re.compile(r"^model: running [1-9]\d* %$"))
    stack.cancel(id)
    expect(page.get_by_role("button", name="model: cancelled")).to_be_visible()
    expect(page.locator("#state")).to_have_text("cancelled")


def test_a_page_that_comes_later_shows_no_state_that_is_past(open_page: OpenPage, stack: Stack, served: Mirror) -> None:
    served.refusals = 1  # so that the job was ready once more after it had been running
    id = stack.submit("later", fetching(served.url), run={"retries": 1, "backoff_s": 0})
    first = open_page(f"{stack.url}/experiments/{id}")
    expect(first.get_by_role("button", name="weights: running 50 %")).to_be_visible()
    second = open_page("about:blank")
    second.add_init_script("""
        window.shown = [];
        new MutationObserver((changes) => {
          for (const { target } of changes) window.shown.push(target.getAttribute("aria-label"));
        }).observe(document, { subtree: true, attributeFilter: ["aria-label"] });
    """)
    second.goto(f"{stack.url}/experiments/{id}")
    expect(second.get_by_role("button", name="weights: running 50 %")).to_be_visible()
    served.release()
    expect(second.get_by_role("button", name="weights: done")).to_be_visible()
    shown = [label for label in second.evaluate("window.shown") if label and label.startswith("weights")]
    assert "weights: ready" not in shown
    assert "weights: waiting" not in shown


def test_a_finished_experiment_shows_its_reports(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}")
    expect(page.locator("#reports article")).to_have_count(2)
    gap, risk = page.locator("#reports article").all()
    headers = ["Target", "Variant", "Does robustness help?"]
    expect(gap.get_by_role("columnheader")).to_have_text(headers)
    with stack.client() as client:
        verdict = client.report(finished, "gap")["verdicts"][0]["verdict"]
        table = client.report(finished, "risk")["table"]
    expect(gap.locator("td")).to_have_text([f"digits {MARKUP}", "standard", verdict.replace("_", " ")])
    expect(risk.get_by_role("columnheader")).to_have_text(table["columns"])
    expect(risk.locator("tbody tr")).to_have_count(len(table["rows"]))
    for article in (gap, risk):
        figure = article.get_by_role("img")
        expect(figure).to_have_attribute("alt", f"Figure of {article.locator('strong').inner_text()}")
        assert figure.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") > 100
    expect(page.locator(".count").first).to_have_text("1/1")
    expect(page.locator("button.node.done")).to_have_count(page.locator("button.node").count())


def test_files_of_a_report_open_or_are_saved(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}")
    gap = page.locator("#reports article").first
    with page.expect_download() as download:
        gap.get_by_role("link", name="results.parquet").click()
    assert download.value.path().read_bytes()[:4] == b"PAR1"
    gap.get_by_role("link", name="report.html").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Gap {MARKUP}")
    page.go_back()
    gap.get_by_role("link", name="report.json").click()
    expect(page.locator("pre")).to_contain_text('"verdicts"')


def test_text_of_users_is_never_markup(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}")
    expect(page.locator("#facts")).to_contain_text("owner=<b>bold</b>")
    expect(page.locator("#reports strong")).to_have_text([f"Gap {MARKUP}", f"Risk {MARKUP}"])
    expect(page.locator("#reports")).to_contain_text(f"few {MARKUP}")
    assert page.locator("b").count() == 0
    assert page.locator('img[src="x"], img:not(.figure)').count() == 0


def test_a_log_is_shown_whole_and_in_order(open_page: OpenPage, stack: Stack, finished: str) -> None:
    with stack.client() as client:
        node = next(node for node in client.get(finished).nodes if node.name == "levels[eps=0]")
    lines = [f"line {number} of <i>many</i>" for number in range(10_001)]  # more than one answer holds
    rows = [("default", node.job_id, time.time(), "log", f'{{"line": "{line}"}}') for line in lines]
    database = sqlite3.connect(stack.folder / "ledger.sqlite", timeout=60)
    with database:
        database.executemany("INSERT INTO events (project_id, job_id, at, type, data) VALUES (?, ?, ?, ?, ?)", rows)
    database.close()
    page = open_page(f"{stack.url}/experiments/{finished}")
    page.get_by_role("button", name="levels[eps=0]: done").click()
    expect(page.locator("#job-log")).to_contain_text("line 10000 of <i>many</i>")
    assert page.locator("#job-log").inner_text().splitlines()[-len(lines) :] == lines


def test_a_job_is_opened_and_closed_by_the_keyboard(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}")
    bar = page.get_by_role("button", name="digits: done")
    bar.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="digits", exact=True)).to_be_visible()
    expect(page.locator("#job dt")).to_have_text(["kind", "state", "outcome", "attempt 1", "job", "key"])
    page.get_by_role("button", name="Close").focus()
    page.keyboard.press("Space")
    expect(page.locator("#job")).to_be_hidden()
    expect(bar).to_be_focused()


def test_the_job_that_was_asked_for_last_is_shown(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}")
    held: list[Route] = []
    digits = page.get_by_role("button", name="digits: done")
    expect(digits).to_be_visible()
    page.route("**/v1/jobs/*", lambda route: held.append(route) if not held else route.continue_())
    digits.click()
    page.get_by_role("button", name="risk: done").click()
    expect(page.locator("#job-name")).to_have_text("risk")
    release(page, held[0])
    assert page.locator("#job-name").inner_text() == "risk"
    assert "simulate_report" in page.locator("#job-facts").inner_text()


def test_nothing_reaches_beyond_a_narrow_window(open_page: OpenPage, stack: Stack, finished: str) -> None:
    page = open_page(f"{stack.url}/experiments/{finished}", viewport={"width": 390, "height": 800})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    expect(page.locator("#reports article")).to_have_count(2)
    assert page.evaluate(wide) == 0
    page.goto(stack.url)
    expect(page.locator("#experiments tr").first).to_be_visible()
    assert page.evaluate(wide) == 0


def test_an_experiment_that_is_not_there(open_page: OpenPage, stack: Stack) -> None:
    page = open_page(f"{stack.url}/experiments/exp_nothing", allowed="404")
    expect(page.get_by_role("alert")).to_contain_text("exp_nothing")
    expect(page.locator("#state")).to_be_hidden()
