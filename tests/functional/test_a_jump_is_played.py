"""A jump ahead: nothing is skipped, no outage is faked, nobody loses time to pay, and the workers go on after it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy import replay
from deploy.demo import books, controls, desk
from deploy.demo.borrowers import Borrowers
from deploy.demo.jump import Jumper
from deploy.demo.roster import entrant
from lending import clock
from risk import cycle, leases, prices, scenarios
from risk.engine.quality import Quality
from risk.models import AssetOutage, CallState, MarginCall, Mark, MarkMinute, ShardLease, Tick
from risk.scenarios import silence
from risk.scenarios.playing import Player

SEED = 7
START, TO = datetime(2021, 5, 19, 12, 48, tzinfo=UTC), datetime(2021, 5, 19, 13, 4, tzinfo=UTC)


@pytest.fixture
def stage(django_db_setup: None, django_db_blocker: Any, settings, tmp_path: Path) -> Any:
    """A desk of set pieces in the middle of the fall, its clock at 60 times, and who carries jumps out."""
    settings.DATA_DIR = tmp_path
    settings.RISK_SILENT_VENUES = tmp_path / "run" / "silent_venues"
    (tmp_path / "run").mkdir()
    scenario = scenarios.load("may-2021", seed=SEED)
    book = books.showcase(desk.first_prices(scenario), seed=SEED, loans=1)
    pieces = [party for party in book if entrant(party.number).name in {"Tidewater Markets", "Fjordkraft Hashing"}]
    with django_db_blocker.unblock(), replay.world(scenario, seed=SEED):
        desk.build(scenario, pieces, now=START)
        clock.start(sim_origin=START, wall_origin=clock.wall_now(), speed=Decimal(60))
        cycle.forget()
        yield scenario, Jumper(scenario, Borrowers(seed=SEED, scripts=books.scripts(SEED)))


def test_a_jump_is_played_minute_by_minute(stage: Any) -> None:
    scenario, jumper = stage
    controls.jump(TO)
    stood = []
    while jumper.advance():
        stood.append(clock.now())
    assert stood == sorted(stood)
    assert timedelta(0) <= clock.now() - TO < timedelta(minutes=2)
    assert clock.reading().speed == 10  # nobody asked for another, and it is the crash
    minutes = set(MarkMinute.objects.filter(asset__code="BTC").values_list("at", flat=True))
    assert minutes >= {START + timedelta(minutes=count) for count in range(1, 17)}
    assert not AssetOutage.objects.exists()
    assert {mark.quality for mark in Mark.objects.all()} == {Quality.GOOD}
    # Called on the way, and paid on the way, as at any other speed.
    assert MarginCall.objects.filter(state=CallState.CURED, cash_cured__gt=0).exists()
    assert not MarginCall.objects.filter(state__in=[CallState.EXPIRED, CallState.LIQUIDATED]).exists()
    assert controls.jump_under_way() is None

    # What goes on afterwards finds nothing left to play, and the marking worker its group free.
    player = Player(scenario, last_at=START)
    player.heard(prices.newest_tick_at())
    assert all(each.at > TO for each in player.due(TO + timedelta(minutes=2)))
    assert leases.acquire(0, "the marking worker", wall_now=clock.wall_now()) is not None


def test_a_jump_that_is_stopped_leaves_time_where_it_is(stage: Any) -> None:
    _, jumper = stage
    controls.jump(TO)
    for _ in range(3):
        jumper.advance()
    controls.run_at(Decimal(0))
    assert jumper.advance()
    assert not jumper.advance()
    stands = clock.now()
    assert START < stands < TO
    assert (clock.reading().speed, clock.now()) == (0, stands)


def test_a_jump_waits_for_the_marking_worker_to_let_go(stage: Any) -> None:
    _, jumper = stage
    held = leases.acquire(0, "the marking worker", wall_now=clock.wall_now())
    controls.jump(TO)
    assert jumper.advance()
    stands = clock.now()
    assert jumper.advance()
    assert clock.now() == stands
    leases.release(held, wall_now=clock.wall_now())
    assert jumper.advance()
    assert clock.now() > stands
    assert ShardLease.objects.get().last_round_at == clock.now()


def test_a_venue_that_is_cut_off_says_nothing_during_a_jump(stage: Any, settings) -> None:
    _, jumper = stage
    silence.write(settings.RISK_SILENT_VENUES, {"birch"})
    controls.jump(START + timedelta(minutes=4))
    while jumper.advance():
        pass
    heard = set(Tick.objects.filter(at__gt=START).values_list("feed__source__code", flat=True))
    assert heard == {"alder", "cedar"}
    assert Mark.objects.get(asset__code="BTC").quality == Quality.DEGRADED


def test_without_a_wish_nothing_moves(stage: Any) -> None:
    _, jumper = stage
    assert not jumper.advance()
    assert clock.reading().speed == 60
