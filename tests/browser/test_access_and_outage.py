"""The web page of a service that asks for tokens, and what it shows while the service is away."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from .stack import Stack, unclaimed

pytestmark = [pytest.mark.servers, pytest.mark.browser]
OpenPage = Callable[..., Page]
AWAY = "The server does not answer. Trying again."
NO_ANSWER = "net::ERR_"
"""What the browser's console says of a request that got no answer."""


@pytest.fixture(scope="module")
def stack(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that asks for tokens, and that tests may stop and start."""
    running = Stack(tmp_path_factory.mktemp("tokens") / "data", {"ROBXFER_ACCESS": "tokens"})
    try:
        running.start()
        running.token = token(running, "tests", "submit")
        yield running
    finally:
        running.stop()


def token(stack: Stack, name: str, scope: str, project: str = "default") -> str:
    """The secret of a new token."""
    return stack.run("token", "create", name, "--scope", scope, "--project", project).split()[-1]


def password(secret: str) -> dict[str, dict[str, str]]:
    """The option of a browser context that answers the browser's question for a name and a password."""
    return {"http_credentials": {"username": "anyone", "password": secret}}


def test_without_a_token_the_browser_asks_for_a_password_and_shows_nothing(browser: Browser, stack: Stack) -> None:
    with browser.new_context() as context, pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(stack.url)


def test_a_wrong_token_is_refused(open_page: OpenPage, stack: Stack) -> None:
    page = open_page(stack.url, allowed="401", **password("rbx_wrong"))
    expect(page.locator("body")).to_contain_text("Authorization: Bearer TOKEN")
    expect(page.get_by_role("heading", name="Experiments")).to_have_count(0)


def test_a_project_without_experiments_says_how_to_begin(open_page: OpenPage, stack: Stack) -> None:
    stack.submit("of another project", unclaimed())
    stack.run("project", "create", "empty")
    page = open_page(stack.url, allowed="401", **password(token(stack, "new", "read", "empty")))
    expect(page.get_by_text("No experiments yet. Submit one: robxfer submit")).to_be_visible()
    expect(page.locator("#experiments tr")).to_have_count(0)
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="failed").click()
    expect(page.get_by_text("No experiment is in this state.")).to_be_visible()
    expect(page.get_by_text("No experiments yet")).to_be_hidden()


def test_the_token_is_the_browsers_password(open_page: OpenPage, stack: Stack) -> None:
    id = stack.submit("with a token", unclaimed())
    secret = token(stack, "anna", "read")
    page = open_page(f"{stack.url}/", allowed="401", **password(secret))
    page.get_by_role("link", name="with a token").click()
    expect(page.locator("#facts")).to_contain_text("by tests")
    stack.cancel(id)
    expect(page.locator("#state")).to_have_text("cancelled")  # by the event stream


def test_the_address_may_hold_the_token(open_page: OpenPage, stack: Stack) -> None:
    id = stack.submit("by address", unclaimed())
    page = open_page(f"http://anyone:{stack.token}@127.0.0.1:{stack.port}/experiments/{id}", allowed="401")
    expect(page.locator("#state")).to_have_text("running")
    stack.cancel(id)
    expect(page.locator("#state")).to_have_text("cancelled")


def test_a_token_that_is_revoked_ends_the_stream_with_the_reason(open_page: OpenPage, stack: Stack) -> None:
    id = stack.submit("revoked", unclaimed())
    page = open_page(f"{stack.url}/experiments/{id}", allowed="401", **password(token(stack, "bob", "read")))
    expect(page.locator("#state")).to_have_text("running")
    expect(page.get_by_role("alert")).to_be_hidden()
    stack.run("token", "revoke", "bob")
    expect(page.get_by_role("alert")).to_contain_text("Authorization: Bearer TOKEN")
    stack.cancel(id)


def test_the_pages_say_that_the_server_is_away_and_go_on_when_it_is_back(open_page: OpenPage, stack: Stack) -> None:
    id = stack.submit("outage", unclaimed())
    assert stack.token is not None
    access = password(stack.token)
    listed = open_page(f"{stack.url}/", allowed=NO_ANSWER, **access)
    shown = open_page(f"{stack.url}/experiments/{id}", allowed=NO_ANSWER, **access)
    row = listed.locator("#experiments tr").filter(has_text="outage")
    bar = shown.get_by_role("button", name="digits: ready")
    expect(row.locator(".pill")).to_have_text("running")
    expect(bar).to_be_visible()
    stack.stop()
    for page in (listed, shown):
        expect(page.get_by_role("alert")).to_have_text(AWAY)
    expect(row).to_be_visible()
    bar.click()
    expect(shown.locator("#job")).to_be_hidden()
    stack.start()
    for page in (listed, shown):
        expect(page.get_by_role("alert")).to_be_hidden()
    bar.click()
    expect(shown.locator("#job-facts")).to_contain_text("nobody")
    stack.cancel(id)
    expect(shown.locator("#state")).to_have_text("cancelled")
    expect(row.locator(".pill")).to_have_text("cancelled")
