"""The feed as a real process: rounds once and in order at platform time, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.embedded.layout import CHECKOUT
from lending import clock
from risk import scenarios
from risk.models import PriceFeed, Tick
from risk.scenarios import silence
from tests.factories.prices import market

pytestmark = pytest.mark.processes

START = datetime(2021, 5, 19, 13, 0, tzinfo=UTC)
PATIENCE_S = 60


@pytest.fixture
def running(real_db, tmp_path):
    market(scenarios.load("may-2021", seed=7))
    clock.start(sim_origin=START, wall_origin=datetime.now(UTC), speed=Decimal(20))
    started: list[subprocess.Popen] = []

    def start(*arguments: str) -> subprocess.Popen:
        with (tmp_path / "out").open("a") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, "manage.py", "feed", *arguments],
                    cwd=CHECKOUT,
                    env={**os.environ, "PLIMSOLL_SEED": "7", "PLIMSOLL_SCENARIO": "may-2021"},
                    stdout=out,
                    stderr=out,
                )
            )
        return started[-1]

    yield start, tmp_path / "out"
    for process in started:
        process.kill()
        process.wait()


def wait_for(rounds: int, out: Path) -> list[datetime]:
    """Wait until so many rounds were recorded and return their instants."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        instants = sorted(set(Tick.objects.values_list("at", flat=True)))
        if len(instants) >= rounds:
            return instants
        time.sleep(0.1)
    raise AssertionError(f"{rounds} rounds did not come:\n{out.read_text()}")


def test_rounds_come_once_and_in_order_and_a_killed_feed_goes_on(running):
    start, out = running
    feed = start()
    before = wait_for(4, out)
    feed.send_signal(signal.SIGKILL)
    feed.wait()
    stood = max(Tick.objects.values_list("at", flat=True))
    feed = start()
    instants = wait_for(len(before) + 8, out)
    feed.send_signal(signal.SIGTERM)
    assert feed.wait(timeout=10) == 0
    steps = {(later - earlier).total_seconds() for earlier, later in pairwise(instants)}
    assert steps == {15.0}, out.read_text()
    assert instants[0] >= START
    assert stood in instants
    assert Tick.objects.count() == 15 * len(set(Tick.objects.values_list("at", flat=True)))
    scenario = scenarios.load("may-2021", seed=7)
    feed_row = PriceFeed.objects.get(source__code="alder", pair__base__code="BTC")
    expected = {tick.source: tick.price for tick in scenario.ticks(feed_row.last_at) if tick.base == "BTC"}
    assert feed_row.last_price == expected["alder"]


def test_a_cut_venue_is_not_heard(running):
    start, out = running
    start("--cut", f"{START.isoformat()}..{(START + timedelta(days=1)).isoformat()}@birch")
    wait_for(2, out)
    assert set(Tick.objects.values_list("feed__source__code", flat=True)) == {"alder", "cedar"}


def test_a_venue_whose_line_is_cut_while_it_runs_falls_silent_and_comes_back(running, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    start, out = running
    path = tmp_path / "run" / "silent_venues"
    path.parent.mkdir()
    silence.write(path, {"birch"})
    start()
    wait_for(2, out)
    assert set(Tick.objects.values_list("feed__source__code", flat=True)) == {"alder", "cedar"}
    silence.write(path, set())
    stood = max(Tick.objects.values_list("at", flat=True))
    wait_for(len(set(Tick.objects.values_list("at", flat=True))) + 3, out)
    assert Tick.objects.filter(feed__source__code="birch", at__gt=stood).exists()


def test_a_cut_that_makes_no_sense_is_refused(running):
    start, out = running
    feed = start("--cut", "tomorrow")
    assert feed.wait(timeout=PATIENCE_S) == 1
    assert "FROM..TO" in out.read_text()
