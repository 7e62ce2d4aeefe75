"""What a run of the tests says at its end."""

from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Say last, behind pytest's own summary, that the browser tests were not run."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    reports = reporter.stats.get("skipped", [])  # of tests, and of modules that could not be collected
    skipped = sum("browser" in getattr(report, "keywords", ()) for report in reports)
    if skipped:
        line = f"NOT RUN: {skipped} tests of the web page, for want of a Chromium. `make browser` installs one."
        reporter.write_line(line, yellow=True, bold=True)
