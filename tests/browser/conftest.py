"""A web process on a database of its own, and a Chromium to open its pages with."""

import os
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from selenium import webdriver

from lending import clock
from tests.browser.serving import Web
from tests.browser.visitor import DESKTOP, NoBrowser, Visitor, chromium
from tests.cast import PASSWORD


@pytest.fixture
def web(real_db: str, tmp_path: Path) -> Iterator[Web]:
    """Serve the test's own database, with platform time standing still."""
    from tests.cast import NOW

    clock.start(sim_origin=NOW.replace(minute=2, second=20), wall_origin=clock.wall_now(), speed=Decimal(0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Web(free.getsockname()[1], tmp_path / "web.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Start one Chromium for all tests of this process: each has a window of its own, and nobody is signed in."""
    try:
        driver = chromium()
    except NoBrowser as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def visitor(web: Web, browser: webdriver.Chrome) -> Visitor:
    before = browser.window_handles
    browser.switch_to.new_window("window")
    mine = browser.current_window_handle
    for handle in before:
        browser.switch_to.window(handle)
        browser.close()
    browser.switch_to.window(mine)
    browser.set_window_size(*DESKTOP)
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.get_log("browser")  # what the windows before had to complain of
    return Visitor(browser, web.base, PASSWORD)
