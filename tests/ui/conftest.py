"""One JupyterLab and one real browser, shared by the tests of this folder."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from ui.lab import CHROMIUM_FLAGS, PAGE_LIMIT_MS, JupyterLab, find_chromium, running_jupyterlab


def skip_or_fail(reason: str) -> None:
    """In CI (CI=true) no test may be skipped for want of a browser."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    found = find_chromium()
    if found is None:
        skip_or_fail("no browser on PATH; run tools/chromium.sh or set HELIXLAB_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("playwright is not installed; it belongs to the dependency group test")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def jupyterlab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    """A server that all tests of one worker share; it starts only where there is a browser."""
    with running_jupyterlab(tmp_path_factory.mktemp("jupyterlab")) as lab:
        yield lab


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page, 1400 px wide."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PAGE_LIMIT_MS)
    yield page
    page.close()
