"""A web process on a database of its own, and a Chromium to open its pages with."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from lending import clock
from tests.cast import PASSWORD

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
DESKTOP, PHONE = (1280, 900), (390, 844)


@dataclass
class Web:
    """The platform's web process, which a test may end and start again on the same port."""

    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "deploy.asgi:application", "--port", str(self.port),
                 "--timeout-graceful-shutdown", "1", "--log-level", "warning"],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                httpx.get(f"{self.base}/healthz").raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


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


def _chromium() -> tuple[str, str]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    words = "no Chromium with its chromedriver on this machine: pages were not opened"
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


class Visitor:
    """A person at a browser."""

    def __init__(self, driver: webdriver.Chrome, base: str) -> None:
        self.driver, self.base = driver, base

    def open(self, path: str) -> "Visitor":
        self.driver.get(self.base + path)
        return self

    def sign_in(self, email: str) -> str:
        """Sign in and return the path of the page that follows."""
        self.driver.delete_all_cookies()
        self.open("/sign-in/")
        self.find("#id_username").send_keys(email)
        self.find("#id_password").send_keys(PASSWORD)
        self.find("main button").click()
        self.wait(lambda: self.path != "/sign-in/", "the door after sign-in")
        return self.path

    @property
    def path(self) -> str:
        return str(self.driver.current_url).removeprefix(self.base)

    def find(self, css: str) -> WebElement:
        """Return an element, waited for."""
        self.wait(lambda: self.all(css), css)
        return self.all(css)[0]

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, condition, what: str) -> None:
        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1).until(lambda _: condition(), what)

    def wide(self) -> bool:
        """Return whether the page is wider than the window, so that it scrolls sideways."""
        script = "return document.documentElement.scrollWidth > window.innerWidth + 1"
        return bool(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """Return what the browser complained about: broken scripts, refused styles, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def visitor(web: Web) -> Iterator[Visitor]:
    binary, driver_path = _chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")  # as root there is none
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument(f"--window-size={DESKTOP[0]},{DESKTOP[1]}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Visitor(driver, web.base)
    finally:
        driver.quit()
