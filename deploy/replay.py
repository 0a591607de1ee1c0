"""A scenario through the production step functions, on a simulated clock, without sleeping."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from deploy import databases, steps
from deploy.demo import books, desk, outside
from deploy.demo.borrowers import Borrowers
from deploy.findings import Findings
from otc import ports as otc_ports
from otc.adapters import dealers_simulated
from risk import cycle, prices
from risk.scenarios import Scenario

_DRAIN = timedelta(minutes=30)
Observer = Callable[[datetime], None]


@dataclass(frozen=True, kw_only=True)
class Played:
    """How far a replay came, in simulated and in wall seconds."""

    simulated_s: float
    wall_s: float
    rounds: int


@contextlib.contextmanager
def world(scenario: Scenario, *, seed: int) -> Iterator[None]:
    """
    Give a replay a world of its own: an empty database, custodian and dealers in this process, a mail folder.

    All of it is a function of the scenario and the seed, and gone at the end.
    """
    mail = settings.EMAIL_FILE_PATH
    with (
        databases.scratch(),
        outside.in_process(),
        otc_ports.using(dealers_simulated.dealers(scenario, seed=seed)),
        tempfile.TemporaryDirectory() as folder,
    ):
        settings.EMAIL_FILE_PATH = folder
        try:
            yield
        finally:
            settings.EMAIL_FILE_PATH = mail


def play(
    scenario: Scenario,
    *,
    seed: int,
    loans: int = 0,
    book: Sequence[desk.Party] | None = None,
    span: Scenario | None = None,
    observe: Observer | None = None,
) -> Played:
    """
    Build a desk, with a number of drawn loans or a given book, and take it through every round of a span.

    Without a span that is all of the scenario; what is under way at its end may finish.
    After the last round the venues keep repeating their last price, so that open orders settle on live marks; no more
    than half an hour of that.
    """
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")  # a replay's database is dropped, not recovered
    span = span or scenario
    if book is None:
        book = books.of_size(loans, desk.first_prices(scenario), seed=seed)
    desk.build(scenario, book, now=span.start_at)
    borrowers = Borrowers(seed=seed, scripts=books.scripts(seed))
    rounds = 0
    for at in _instants(span):
        one_round(span, borrowers, at=at)
        rounds += 1
        if observe:
            observe(at)
        if at > span.end_at and not steps.sale_under_way():
            break
    steps.run(steps.EACH_MINUTE, now=at)
    return Played(simulated_s=(at - span.start_at).total_seconds(), wall_s=time.monotonic() - started, rounds=rounds)


def one_round(scenario: Scenario, borrowers: Borrowers, *, at: datetime) -> None:
    """Take the platform through one instant: ticks, the marking cycle, then every step that may be due."""
    prices.record(scenario.ticks(min(at, scenario.end_at), stamped=at), received_at=at)
    cycle.run(0, now=at)
    borrowers.act_due(now=at)
    steps.run(steps.EACH_ROUND, now=at)
    if steps.sale_under_way():
        steps.run(steps.TRADING, now=at)
    if at.second == 0:
        steps.run(steps.EACH_MINUTE, now=at)


def _instants(scenario: Scenario) -> Iterator[datetime]:
    yield from scenario.rounds()
    at = scenario.end_at
    while at < scenario.end_at + _DRAIN:
        at += timedelta(seconds=scenario.step_s)
        yield at


def report(scenario: Scenario, played: Played) -> dict[str, Any]:
    """Return what a replay has to show, under the keys that are fixed for it."""
    found = Findings(scenario.start_at, scenario.end_at + _DRAIN)
    return {
        **found.calls(),
        **found.sales(),
        "wrongful_sales": found.wrongful_sales(),
        **found.profit_and_loss(),
        "invariants": found.invariants(),
        "ledger_hash": found.ledger_hash(),
        "rounds": played.rounds,
        "simulated_s": round(played.simulated_s),
        "wall_s": round(played.wall_s, 1),
    }
