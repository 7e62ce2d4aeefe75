"""A real Chromium, a page in it that is watched for errors, and the stack whose web page it opens."""

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from .stack import Stack, reporting

PATIENCE_MS = 60_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of this machine's Chromium. Skips the test where there is none, or fails it where one is required."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"no Chromium on the path (one of {', '.join(NAMES)})"
        if os.environ.get("ROBXFER_REQUIRE_BROWSER", "") not in ("", "0"):
            pytest.fail(f"{missing}, and ROBXFER_REQUIRE_BROWSER is set")
        pytest.skip(missing)
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium without a window.

    Its scope is the module: while Playwright runs, no other test of the process may start an event loop of its own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def release(page: Page, held: Route) -> None:
    """Let a held request go on, and wait until the page has taken its answer."""
    with page.expect_request_finished(lambda request: request == held.request):
        held.continue_()
    page.evaluate("fetch('/healthz').then((answer) => answer.text())")  # a later answer is taken later


class Watch:
    """What pages of a browser context say on their console and ask of the network."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()

    def add(self, page: Page) -> None:
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._ask)

    def _note(self, type: str, text: str) -> None:
        if type in ("error", "warning"):
            self.errors.append(text)

    def _ask(self, request: Request) -> None:
        url = urlsplit(request.url)
        self.hosts.add(url.netloc.rpartition("@")[2] or url.scheme)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a context of its own, with what `new_context` takes.

    At the test's end there must be no error or warning on its console but those that `allowed` is part of, and no
    request to another host than that of the first page.
    """
    opened: list[tuple[Page, Watch, str | None]] = []

    def new(url: str, allowed: str | None = None, **options: object) -> Page:
        context = browser.new_context(locale="en-GB", **options)  # pyright: ignore[reportArgumentType]
        context.set_default_timeout(PATIENCE_MS)
        page, watch = context.new_page(), Watch()
        watch.add(page)
        opened.append((page, watch, allowed))
        page.goto(url)
        return page

    yield new
    for page, watch, allowed in opened:
        host = urlsplit(page.url).netloc.rpartition("@")[2]
        page.context.close()
        assert [error for error in watch.errors if allowed is None or allowed not in error] == []
        assert watch.hosts == {host}


@pytest.fixture(scope="session")
def stack(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that all tests share, open to this machine."""
    running = Stack(tmp_path_factory.mktemp("browser") / "data")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def finished(stack: Stack) -> str:
    """The id of a new experiment that is done, with two reports; the first computes what the others reuse."""
    id = stack.submit("finished", reporting(), labels={"owner": "<b>bold</b>"})
    assert stack.wait(id) == "done"
    return id
