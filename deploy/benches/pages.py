"""What the server takes for every page of every door in the middle of the crash: on a full desk, and on a small one."""

import contextlib
import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client

from deploy import replay
from deploy.benches.compare import Result, machine
from deploy.demo import amended, credited, floating, joint, lines, prospects, screened
from deploy.run import crawl
from lending import clock
from lending.models import User
from risk import scenarios

SMALL = 40
START, END = datetime(2021, 5, 19, 12, 40, tzinfo=UTC), datetime(2021, 5, 19, 12, 55, tzinfo=UTC)
DOORS = (
    ("alice@client1.example", "/portal/"),
    ("rhea@plimsoll.example", "/console/"),
    ("robin@plimsoll.example", "/admin/"),
    ("dana@plimsoll.example", "/admin/"),
    ("cora@plimsoll.example", "/admin/"),
    ("olga@plimsoll.example", "/admin/"),
)


@dataclass(frozen=True)
class Taken:
    """What one page takes."""

    queries: int
    p95_s: float


def run(*, loans: int = 400, rounds: int = 40, seed: int = 7) -> list[Result]:
    """
    Return each page's 95th percentile on a desk of that many loans and on a small one, slowest first.

    Time is the server's, from request to the last byte of the answer, the database included; both desks have come
    through fifteen minutes of the crash. A page that a desk has no row for is left out.
    """
    small, large = (dict(walked(size, rounds=rounds, seed=seed)) for size in (min(SMALL, loans), loans))
    results = [
        Result(
            bench="pages",
            loans=loans,
            rounds=rounds,
            a=f"{who} {kind}: p95, {taken.queries} queries",
            b=f"the same with {min(SMALL, loans)} loans: {small[who, kind].queries} queries",
            a_s=taken.p95_s,
            b_s=small[who, kind].p95_s,
            ratio=taken.p95_s / small[who, kind].p95_s,
            target="a <= 0.1 s, <= 12 queries",
            machine=machine(),
        )
        for (who, kind), taken in large.items()
        if (who, kind) in small
    ]
    return sorted(results, key=lambda result: -result.a_s)


def walked(loans: int, *, rounds: int, seed: int) -> Iterator[tuple[tuple[str, str], Taken]]:
    """Yield what each kind of page takes, by who opens it, on a desk that has come through part of the crash."""
    with in_the_crash(loans, seed=seed):
        for email, door in DOORS:
            with signed_in(email) as browser:
                for page in every_page(browser, door):
                    yield (email.partition("@")[0], page.kind), timed(browser, page.path, rounds=rounds)


@contextlib.contextmanager
def in_the_crash(loans: int, *, seed: int) -> Iterator[None]:
    """Stand, with the clock stopped, on a desk that has come through part of the crash."""
    scenario, span = scenarios.stage(settings.PLIMSOLL_SCENARIO, seed=seed, start_at=START, end_at=END)
    with replay.world(scenario, seed=seed):
        played = replay.play(scenario, seed=seed, loans=loans, span=span)
        at = datetime.fromtimestamp(START.timestamp() + played.simulated_s, UTC)
        amended.load(now=at)
        floating.load(now=at)
        lines.load(now=at)
        prospects.load(now=at)
        joint.load(now=at)
        credited.load(now=at)
        screened.load(now=at)
        clock.start(sim_origin=at, wall_origin=clock.wall_now(), speed=Decimal(0))
        yield


def every_page(browser: Client, door: str) -> Iterator[crawl.Page]:
    """Yield one page of every kind that a door leads to."""
    return crawl.pages(lambda path: fetch(browser, path), door)


@contextlib.contextmanager
def signed_in(email: str) -> Iterator[Client]:
    """Give a browser in this process in which somebody is signed in."""
    hosts = settings.ALLOWED_HOSTS
    settings.ALLOWED_HOSTS = ["testserver"]
    try:
        browser = Client(headers={"accept": "text/html"})
        browser.force_login(User.objects.get(email=email), backend=settings.AUTHENTICATION_BACKENDS[-1])
        yield browser
    finally:
        settings.ALLOWED_HOSTS = hosts


def fetch(browser: Client, path: str) -> crawl.Answer:
    """Return what an address gives."""
    answer: Any = browser.get(path)
    text = "" if answer.streaming else answer.content.decode(errors="replace")
    return crawl.Answer(answer.status_code, answer.headers.get("Content-Type", ""), text)


def timed(browser: Client, path: str, *, rounds: int) -> Taken:
    """Return how many queries a page asks and its 95th percentile in seconds, once it is warm."""
    # What played the crash in this process is none of a web process's objects, which `asgi` sets aside as well.
    gc.collect()
    gc.freeze()
    asked = _Count()
    with connection.execute_wrapper(asked):
        browser.get(path)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        browser.get(path)
        times.append(time.perf_counter() - began)
    return Taken(asked.queries, statistics.quantiles(times, n=20)[-1] if rounds > 1 else times[0])


class _Count:
    """Counts statements that go to the database."""

    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, execute: Any, *arguments: Any) -> Any:
        self.queries += 1
        return execute(*arguments)
