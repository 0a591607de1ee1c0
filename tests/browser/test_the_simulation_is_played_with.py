"""A visitor's browser on the demo: the banner, the strip on a phone, pages that notice when time changes its pace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lending import clock
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.cast import Cast, assemble

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a running demo, for the web process that is started next."""
    monkeypatch.setenv("PLIMSOLL_DEMO", "1")
    monkeypatch.setenv("BEHIND_TLS", "false")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def demo(folder: Path, visitor: Visitor) -> tuple[Visitor, Cast]:
    return visitor, assemble()


@pytest.fixture
def worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    # Its supervisor is whoever started it: this test.
    (folder / "platform.json").write_text(json.dumps({"pid": os.getpid(), "pids": {"worker": made.pid}}))
    yield made
    made.kill()
    made.wait()


def _open_the_strip(visitor: Visitor) -> None:
    visitor.find(".simulated-controls summary").click()
    visitor.find(".simulated-part .demo-strip")


def test_staff_play_with_the_simulation_on_a_phone(demo: tuple[Visitor, Cast], worker: subprocess.Popen[bytes]) -> None:
    visitor, _ = demo
    visitor.sign_in("rhea@plimsoll.example")
    for size, dark in ((PHONE, True), (DESKTOP, False)):
        visitor.look(size, dark=dark)
        visitor.open("/console/")
        visitor.find(".simulated-words")
        if not visitor.all(".simulated-controls[open]"):
            _open_the_strip(visitor)
        visitor.find(".simulated-part .demo-strip")
        assert not visitor.wide()
        assert visitor.violations() == []

    visitor.look(PHONE, dark=False)
    visitor.find(".demo-strip button[value='10']").click()
    visitor.wait(
        lambda: visitor.all(".demo-strip button[value='10'][aria-pressed='true']"), "the speed that was chosen"
    )
    assert visitor.path == "/console/"
    assert clock.reading().speed == 10

    visitor.find(".demo-strip button[value='worker']").click()
    visitor.reads(".demo-strip", "being started again")
    assert worker.wait(5) == -signal.SIGKILL
    assert visitor.path == "/console/"
    assert visitor.complaints() == []


def test_an_open_page_notices_that_time_goes_on(demo: tuple[Visitor, Cast]) -> None:
    visitor, _ = demo
    visitor.sign_in("alice@harbourside.example")
    wall = clock.wall_now()
    clock.resume(stopped_at=wall, wall_origin=wall, speed=clock.reading().speed + 60)
    visitor.reads("[data-speed-words]", "60 times as fast")
    shown = visitor.find("[data-clock]").text
    visitor.wait(lambda: visitor.find("[data-clock]").text != shown, "the clock to run")
    assert not visitor.all(".simulated-controls")


def test_the_words_are_hidden_for_the_session(demo: tuple[Visitor, Cast]) -> None:
    visitor, _ = demo
    visitor.sign_in("robin@plimsoll.example")
    visitor.open("/admin/")
    visitor.find(".simulated-hide").click()
    visitor.wait(lambda: not visitor.all(".simulated-words"), "the words to go")
    assert visitor.path == "/admin/"
    assert visitor.all(".simulated-controls")
    visitor.sign_in("robin@plimsoll.example")
    visitor.find(".simulated-words")


def test_the_page_of_its_own_needs_no_script(demo: tuple[Visitor, Cast]) -> None:
    visitor, _ = demo
    visitor.sign_in("olga@plimsoll.example")
    visitor.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    visitor.open("/demo/")
    visitor.find("main button[value='1']").click()
    visitor.wait(lambda: clock.reading().speed == 1, "the speed that was chosen")
    visitor.open("/demo/")
    visitor.find("main button[value='hour']").click()
    visitor.reads("main", "on the way to")
