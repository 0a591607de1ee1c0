"""A person at a Chromium: in tests, and where pictures of the platform are taken."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 90.0
DESKTOP, PHONE = (1280, 900), (390, 844)
_AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
_JUDGE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations'], iframes: false}).then(result => done(result.violations));
"""
_TALLEST = 4000
_NOT_YET = (StaleElementReferenceException, ElementNotInteractableException, ElementClickInterceptedException)

Got = TypeVar("Got")


class NoBrowser(RuntimeError):
    """This machine has no Chromium with its driver."""


def chromium() -> webdriver.Chrome:
    """Start a Chromium that looks nothing up by itself, on a profile of its own."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        raise NoBrowser("no Chromium with its chromedriver on this machine: pages were not opened")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--window-size={DESKTOP[0]},{DESKTOP[1]}",
    ):  # fmt: skip
        options.add_argument(flag)  # as root there is no sandbox
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class Found:
    """An element as a person sees it: by its place on the page, even when the page has just drawn it anew."""

    def __init__(self, visitor: "Visitor", by: str, place: str) -> None:
        self._visitor, self._by, self._place = visitor, by, place

    def do(self, act: Callable[[WebElement], Got]) -> Got:
        """Return what `act` gives on the element that stands there, once one stands still for it."""
        got: list[Got] = []

        def done() -> bool:
            found = self._visitor.driver.find_elements(self._by, self._place)
            got.extend(act(element) for element in found[:1])
            return bool(found)

        self._visitor.wait(done, self._place)
        return got[0]

    @property
    def text(self) -> str:
        return self.do(lambda element: element.text)

    def click(self) -> None:
        self.do(lambda element: element.click())

    def write(self, words: str) -> None:
        """Type at the end of what stands there."""
        self.do(lambda element: element.send_keys(words))

    def attribute(self, name: str) -> str | None:
        return self.do(lambda element: element.get_attribute(name))

    def shown(self) -> bool:
        return self.do(lambda element: element.is_displayed())


class Visitor:
    """A person at a browser."""

    def __init__(self, driver: webdriver.Chrome, base: str, password: str) -> None:
        self.driver, self.base, self.password = driver, base, password

    def open(self, path: str) -> "Visitor":
        self.driver.get(self.base + path)
        return self

    def sign_in(self, email: str, password: str = "") -> str:
        """Sign in and return the path of the page that follows."""
        self.driver.delete_all_cookies()
        self.open("/sign-in/")
        self.find("#id_username").write(email)
        self.find("#id_password").write(password or self.password)
        self.find("main button").click()
        self.wait(lambda: self.path != "/sign-in/", "the door after sign-in")
        return self.path

    @property
    def path(self) -> str:
        return str(self.driver.current_url).removeprefix(self.base)

    def find(self, css: str) -> Found:
        """Return the first element of that kind, waited for."""
        self.wait(lambda: self.all(css), css)
        return Found(self, By.CSS_SELECTOR, css)

    def reads(self, css: str, words: str) -> None:
        """Wait until the words stand there."""
        self.wait(lambda: words in self.find(css).text, f"{words!r} in {css}")

    def called(self, words: str) -> Found:
        """Return the button or link with these words."""
        name = f"[normalize-space()='{words}']"
        return Found(self, By.XPATH, f"//main//button{name} | //main//a{name} | //header//button{name}")

    def attributes(self, css: str, name: str) -> list[str]:
        """Return an attribute of all elements of that kind, read in one instant."""
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.getAttribute(arguments[1]))"
        return list(self.driver.execute_script(script, css, name))

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition holds; an element that is drawn anew meanwhile is no answer yet."""
        patient = WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1, ignored_exceptions=_NOT_YET)
        patient.until(lambda _: condition(), what)

    def wide(self) -> bool:
        """Return whether the page is wider than the window, so that it scrolls sideways."""
        # Not window.innerWidth: a phone zooms out until all of a wide page fits.
        script = "const page = document.documentElement; return page.scrollWidth > page.clientWidth + 1"
        return bool(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """Return what the browser complained about: broken scripts, refused styles, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def look(self, size: tuple[int, int], *, dark: bool) -> None:
        """Look at pages through a window of this size, on a system set to light or to dark."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def violations(self) -> list[str]:
        """Return what axe-core finds on the page that keeps somebody from using it."""
        if not self.driver.execute_script("return 'axe' in window"):
            self.driver.execute_script(_AXE.read_text())
        found = self.driver.execute_async_script(_JUDGE)
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for rule in found
            if rule["impact"] in {"serious", "critical"}
            for node in rule["nodes"][:3]
        ]

    def picture(self, path: Path) -> None:
        """Take the whole page, as long as it is."""
        height = int(self.driver.execute_script("return document.documentElement.scrollHeight"))
        width = int(self.driver.execute_script("return window.innerWidth"))
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, _TALLEST), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))
