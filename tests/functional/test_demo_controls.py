"""The demo says what is simulated and lets staff play with it; where no demo runs, none of that exists."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core import mail
from django.test import Client as Browser

from deploy.demo import controls
from lending import clock
from lending.models import PlatformClock
from risk.scenarios import silence
from tests.cast import NOW, Cast
from tests.factories.prices import feed

PAGES = ("/demo/", "/demo/strip/", "/demo/letters/")
DEEDS = {
    "/demo/speed/": {"speed": "10"},
    "/demo/jump/": {"to": "hour"},
    "/demo/venue/": {"venue": "alder", "up": "0"},
    "/demo/kill/": {"process": "worker"},
}
STAFF = ("robin", "olga", "rhea", "rolf", "dana", "dirk")


@pytest.fixture
def folder(settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.RISK_SILENT_VENUES = tmp_path / "run" / "silent_venues"
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def demo(settings, folder: Path, cast: Cast) -> Cast:
    settings.PLIMSOLL_DEMO = True
    clock.start(sim_origin=NOW, wall_origin=clock.wall_now(), speed=Decimal(0), stop_at=NOW + timedelta(hours=32))
    feed("alder", "BTC", "USD")
    return cast


def browser(who) -> Browser:
    made = Browser()
    made.force_login(who)
    return made


@pytest.fixture
def staff(demo: Cast) -> Browser:
    return browser(demo.rhea)


def told(answer) -> str:
    return " ".join(str(message) for message in answer.wsgi_request._messages)


# --- where no demo runs


def test_without_the_demo_none_of_its_doors_exist(cast: Cast) -> None:
    desk = browser(cast.rhea)
    assert {desk.get(page).status_code for page in (*PAGES, "/demo/now/")} == {404}
    assert {desk.post(page, sent).status_code for page, sent in {**DEEDS, "/demo/hide/": {}}.items()} == {404}


def test_without_the_demo_no_page_speaks_of_it(cast: Cast) -> None:
    for who, page in ((cast.alice, "/portal/"), (cast.rhea, "/console/"), (cast.robin, "/admin/")):
        page_text = browser(who).get(page).content.decode()
        assert "/demo/" not in page_text
        assert "demonstration" not in page_text


# --- who may


def test_staff_may_look_and_nobody_else(demo: Cast) -> None:
    for page in PAGES:
        assert {browser(getattr(demo, who)).get(page).status_code for who in STAFF} == {200}
        assert {browser(who).get(page).status_code for who in (demo.alice, demo.charlie)} == {403}
        assert Browser().get(page).status_code == 302


@pytest.mark.parametrize("page", DEEDS)
def test_deeds_are_for_staff_by_post_with_a_token(demo: Cast, page: str) -> None:
    assert browser(demo.alice).post(page, DEEDS[page]).status_code == 403
    assert Browser().post(page, DEEDS[page]).url.startswith("/sign-in/")
    assert browser(demo.rhea).get(page).status_code == 405
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(demo.rhea)
    assert strict.post(page, DEEDS[page]).status_code == 403
    assert controls.jump_under_way() is None
    assert clock.reading().speed == 0


# --- the banner


def test_every_door_says_what_is_simulated(demo: Cast) -> None:
    for who, page in ((demo.alice, "/portal/"), (demo.rhea, "/console/"), (demo.robin, "/admin/")):
        text = browser(who).get(page).content.decode()
        assert "nothing here is real" in text
        assert "19 and 20 May 2021" in text
    assert "nothing here is real" in Browser().get("/sign-in/").content.decode()


def test_a_borrower_gets_no_controls(demo: Cast) -> None:
    assert "Simulation controls" not in browser(demo.alice).get("/portal/").content.decode()
    assert "Simulation controls" in browser(demo.robin).get("/admin/").content.decode()


def test_the_words_can_be_hidden_for_one_session_and_no_longer(demo: Cast) -> None:
    mine = browser(demo.rhea)
    answer = mine.post("/demo/hide/", {"next": "/console/"})
    assert (answer.status_code, answer.url) == (302, "/console/")
    text = mine.get("/console/").content.decode()
    assert "nothing here is real" not in text
    assert "Simulation controls" in text
    assert "nothing here is real" in browser(demo.rhea).get("/console/").content.decode()


def test_recordings_are_called_recordings(demo: Cast, settings) -> None:
    settings.REPLAY_DIR = "/somewhere"
    text = Browser().get("/sign-in/").content.decode()
    assert "Prices are recordings" in text
    assert "19 and 20 May 2021" not in text


def test_nobody_is_sent_to_a_strangers_page(staff: Browser) -> None:
    assert staff.post("/demo/speed/", {"speed": "1", "next": "https://elsewhere.example/"}).url == "/"


# --- time


def test_a_speed_moves_time_on_from_where_it_stands(staff: Browser) -> None:
    before = clock.now()
    answer = staff.post("/demo/speed/", {"speed": "10", "next": "/console/"})
    assert "10 ×" in told(answer)
    now, speed, _ = clock.reading()
    assert speed == 10
    assert timedelta(0) <= now - before < timedelta(minutes=2)


def test_a_pause_stops_it(staff: Browser) -> None:
    staff.post("/demo/speed/", {"speed": "60"})
    staff.post("/demo/speed/", {"speed": "0"})
    stands = clock.now()
    assert stands == clock.now()
    assert json.loads(staff.get("/demo/now/").content)["speed"] == 0


@pytest.mark.parametrize("wanted", ["", "fast", "NaN", "Infinity", "-1", "7", "100000"])
def test_a_speed_nobody_knows_to_hold_is_refused_in_words(staff: Browser, wanted: str) -> None:
    answer = staff.post("/demo/speed/", {"speed": wanted})
    assert "choose one of 0, 1, 10, 60, 120 as the speed" in told(answer)
    assert clock.reading().speed == 0


def test_a_jump_is_asked_for_and_shows(staff: Browser) -> None:
    answer = staff.post("/demo/jump/", {"to": "crash"})
    assert "19 May 12:36" in told(answer)
    wish = controls.jump_under_way()
    assert wish == controls.Wish(datetime(2021, 5, 19, 12, 36, tzinfo=UTC), Decimal(0))
    assert "on the way to 12:36" in staff.get("/demo/strip/").content.decode()
    assert clock.now() < wish.to


def test_one_jump_at_a_time(staff: Browser) -> None:
    staff.post("/demo/jump/", {"to": "hour"})
    assert "under way already" in told(staff.post("/demo/jump/", {"to": "crash"}))


def test_a_speed_ends_the_jump_that_is_under_way(staff: Browser) -> None:
    staff.post("/demo/jump/", {"to": "crash"})
    assert "ends where it is" in told(staff.post("/demo/speed/", {"speed": "1"}))
    wish = controls.jump_under_way()
    assert (wish.stop, wish.speed) == (True, 1)


def test_time_never_goes_back(staff: Browser) -> None:
    PlatformClock.objects.update(sim_origin=NOW + timedelta(hours=2))
    assert "never goes back" in told(staff.post("/demo/jump/", {"to": "crash"}))
    assert "Jump to the crash" not in staff.get("/demo/").content.decode()


def test_no_jump_past_the_end(staff: Browser) -> None:
    PlatformClock.objects.update(stop_at=NOW + timedelta(minutes=30))
    assert "too far ahead" in told(staff.post("/demo/jump/", {"to": "hour"}))


def test_a_scenario_without_a_known_crash_offers_none(staff: Browser, settings) -> None:
    settings.REPLAY_DIR = "/somewhere"
    assert "nobody knows of a crash" in told(staff.post("/demo/jump/", {"to": "crash"}))


# --- venues


def test_a_venue_is_cut_and_brought_back(staff: Browser, settings) -> None:
    assert "cut off" in told(staff.post("/demo/venue/", {"venue": "alder", "up": "0"}))
    assert silence.silent(settings.RISK_SILENT_VENUES) == {"alder"}
    assert "Bring back" in staff.get("/demo/strip/").content.decode()
    assert "speaks again" in told(staff.post("/demo/venue/", {"venue": "alder", "up": "1"}))
    assert silence.silent(settings.RISK_SILENT_VENUES) == frozenset()


def test_a_venue_that_is_none_is_refused(staff: Browser, settings) -> None:
    assert "there is no venue" in told(staff.post("/demo/venue/", {"venue": "../x", "up": "0"}))
    assert silence.silent(settings.RISK_SILENT_VENUES) == frozenset()


# --- processes


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield made
    made.kill()
    made.wait()


def supervised(folder: Path, pids: dict[str, int], *, by: int) -> None:
    (folder / "platform.json").write_text(json.dumps({"pid": by, "pids": pids}))


def test_a_process_is_killed_and_the_strip_shows_it(staff: Browser, folder: Path, child) -> None:
    supervised(folder, {"worker": child.pid}, by=os.getpid())
    assert f"{child.pid}, up" in staff.get("/demo/strip/").content.decode()
    assert str(child.pid) in told(staff.post("/demo/kill/", {"process": "worker"}))
    assert child.wait(5) == -signal.SIGKILL
    assert "being started again" in staff.get("/demo/strip/").content.decode()
    assert "not running just now" in told(staff.post("/demo/kill/", {"process": "worker"}))


@pytest.mark.parametrize("name", ["web", "supervisor", "postgres", "", "1"])
def test_what_shows_the_strip_and_what_restarts_the_rest_can_not_be_killed(
    staff: Browser, folder: Path, child, name: str
) -> None:
    supervised(folder, {"web": child.pid, "worker": child.pid}, by=os.getpid())
    assert "is not one of" in told(staff.post("/demo/kill/", {"process": name}))
    assert child.poll() is None


def test_a_number_that_belongs_to_somebody_else_by_now_is_left_alone(staff: Browser, folder: Path, child) -> None:
    supervised(folder, {"worker": child.pid}, by=1)
    assert "no longer worker" in told(staff.post("/demo/kill/", {"process": "worker"}))
    assert child.poll() is None


def test_before_the_supervisor_has_spoken_there_is_nothing_to_kill(staff: Browser) -> None:
    assert "has not told" in staff.get("/demo/strip/").content.decode()
    assert "not running just now" in told(staff.post("/demo/kill/", {"process": "worker"}))


def test_the_letters_that_were_written_can_be_read(cast: Cast, client: Browser, demo, settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    mail.send_mail(
        "Your way in", "Choose a password:\nhttp://desk.example/sign-in/first/x/", None, ["dora@example.com"]
    )
    mail.send_mail("Margin call: <b>pay</b>", "Pay 10 USD.", None, ["eve@example.com"])
    client.force_login(cast.robin)
    every = client.get("/demo/letters/").content.decode()
    assert '<a href="http://desk.example/sign-in/first/x/">' in every
    assert "Margin call: &lt;b&gt;pay" in every
    hers = client.get("/demo/letters/", {"to": "dora@example.com"}).content.decode()
    assert "Your way in" in hers
    assert "Pay 10 USD." not in hers


def test_at_the_end_of_the_replay_it_says_so(cast: Cast, client: Browser, demo) -> None:
    end = NOW + timedelta(minutes=1)
    PlatformClock.objects.update(
        sim_origin=NOW, wall_origin=clock.wall_now() - timedelta(hours=1), speed=60, stop_at=end
    )
    client.force_login(cast.robin)
    page = client.get("/demo/").content.decode()
    assert "the replay is over" in page
    assert 'name="speed"' not in page
    told = client.post("/demo/speed/", {"speed": "60"}, follow=True).content.decode()
    assert "Not done: the replay is over: stop with Ctrl-C" in told
