"""One tick that calls a quarter of the book: the cycle that issues the calls, and the console's queue full of them."""

import statistics
import time
from decimal import Decimal

from deploy import databases
from deploy.benches import desk as desks
from deploy.benches import pages
from deploy.benches.compare import Result, UnableToBench, against
from deploy.benches.desk import Desk
from lending import clock
from lending.models import Role
from risk import cycle
from risk.models import MarginCall

ASSETS = 20
FALLING = "BENCH000"
START, FALL = Decimal(10), Decimal("0.01")
SAFE = (0.2, 0.5)
EMAIL = "rhea@plimsoll.example"
QUEUE = "/console/"
PAGES = 20


def run(*, loans: int = 20_000, rounds: int = 3) -> list[Result]:
    """
    Time the ticks that call as many accounts each as are left over, 5,000 of 20,000 in each of three, and the queue.

    A cycle is timed as `bench cycle` does: marks, screen, exact decisions, calls with both cures, notices with their
    deliveries, evidence, events, commits. The other side is a tick that moves nobody. The queue is timed as
    `bench pages` does, once all calls are open and before there is one.
    """
    each = loans // (rounds + 1)
    with databases.scratch():
        now = clock.wall_now()
        desk = desks.fill(loans - each * rounds, now=now, assets=ASSETS, ltvs=SAFE)
        desks.open_venues(desk.codes)
        desks.person(EMAIL, "", Role.RISK, now=now)
        edges = [START * (1 - FALL * (n // each + Decimal(n % each + 1) / (each + 1))) for n in range(each * rounds)]
        desks.on_the_edge(desk, FALLING, edges, now=now)
        cycle.forget()
        _cycle_s(desk, 0, 0)
        quiet = [_cycle_s(desk, 0, number) for number in range(1, rounds + 1)]
        with pages.signed_in(EMAIL) as browser:
            empty = pages.timed(browser, QUEUE, rounds=PAGES)
        called = [_cycle_s(desk, fallen, rounds + fallen) for fallen in range(1, rounds + 1)]
        calls = MarginCall.objects.count()
        with pages.signed_in(EMAIL) as browser:
            full = pages.timed(browser, QUEUE, rounds=PAGES)
        cycle.forget()
    if calls != each * rounds:
        raise UnableToBench(f"{rounds} ticks should have called {each} accounts each, {calls} calls were issued")
    sizes = {"loans": loans, "rounds": rounds}
    marked = ("crash", f"the marking cycle of a tick that calls {each} accounts", statistics.median(called), "reported")
    shown = ("crash queue", f"the console's queue of {calls} open calls: p95", full.p95_s, "reported")
    return [
        *against("that of a tick that calls nobody", statistics.median(quiet), [marked], **sizes),
        *against("the same page before the crash", empty.p95_s, [shown], **sizes),
    ]


def _cycle_s(desk: Desk, fallen: int, number: int) -> float:
    """Return the seconds of the cycle after a tick at which one asset has fallen by so many steps."""
    now = clock.now()
    desks.quote({**desk.price, FALLING: START * (1 - FALL * fallen)}, round_number=number, now=now)
    began = time.perf_counter()
    cycle.run(0, now=now)
    return time.perf_counter() - began
