"""
From a tick to a person's screen: how long until somebody who is signed in to the console hears of a margin call.

Real processes: this one is the feed and the browser, a marking worker takes the round from the broker, the web process
signs the reader in and sends events. A tick is timed from before it is recorded, through marks, screen, exact
decision, call with its evidence and notice, commit, numbering and wake-up, to the line that arrives over HTTP. Every
other block of ticks has PostgreSQL's TPC-B beside it on the same server.
"""

import contextlib
import os
import queue
import secrets
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import httpx
from celery import current_app
from django.conf import settings
from django.db import connections

from deploy import databases
from deploy.benches import desk as desks
from deploy.benches import programs
from deploy.benches.compare import Result, UnableToBench, machine
from deploy.benches.desk import Desk
from deploy.embedded.processes import die_with_parent
from deploy.run.services import HOST, listen, services, worker
from deploy.run.supervisor import Service
from lending import clock
from lending.models import Role
from risk.models import MarginCall, ShardLease

ASSETS = 20
FALLING = "BENCH000"  # the asset whose fall calls one account a tick
START, STEP = Decimal(10), Decimal("0.0001")
BLOCK = 25  # ticks with TPC-B beside them, then as many without
PAUSE_S = 0.05
PATIENCE_S = 60.0
EMAIL = "rhea@plimsoll.example"


def run(*, loans: int = 100_000, rounds: int = 400) -> list[Result]:
    """Return the 99th percentile of the time from a tick to its call in the console, with and without load."""
    password = secrets.token_urlsafe(12)
    yardstick = databases.clone()
    try:
        programs.run("pgbench", yardstick, "--initialize", "--quiet", "--scale", str(programs.SCALE))
        with databases.scratch():
            now = clock.wall_now()
            desk = desks.fill(loans, now=now, assets=ASSETS)
            desks.open_venues(desk.codes)
            desks.person(EMAIL, password, Role.RISK, now=now)
            desks.on_the_edge(desk, FALLING, [_price(n - Decimal("0.5")) for n in range(1, rounds + 1)], now=now)
            lane = f"bench.{os.getpid()}"
            with _web() as address, _worker(lane), _console(address, password) as heard:
                _tick(desk, 0, lane)
                _wait_for_the_first_round()
                quiet, loaded = _ticks(desk, rounds, lane, heard, yardstick)
                calls = MarginCall.objects.count()
            connections.close_all()
    finally:
        databases.drop(yardstick)
    if calls != rounds:
        raise UnableToBench(f"{rounds} ticks should have called an account each, {calls} calls were issued")
    return [
        Result(
            bench="alert",
            loans=loans,
            rounds=rounds,
            a=f"99 % of calls heard within, TPC-B beside it; median {statistics.median(loaded) * 1000:.1f} ms",
            b=f"99 % of calls heard within, nothing beside it; median {statistics.median(quiet) * 1000:.1f} ms",
            a_s=_p99(loaded),
            b_s=_p99(quiet),
            ratio=_p99(loaded) / _p99(quiet),
            target="a <= 25 ms",
            machine=machine(),
        )
    ]


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


def _price(tick: Decimal | int) -> Decimal:
    """Return the falling asset's price at a tick."""
    return START * (1 - STEP * tick)


def _tick(desk: Desk, number: int, lane: str) -> None:
    """Do what the feed does for a round: record its ticks, and tell the marking worker."""
    now = clock.now()
    desks.quote({**desk.price, FALLING: _price(number)}, round_number=number, now=now)
    current_app.send_task(
        "risk.tasks.run_cycle", kwargs={"group": 0, "at": now.isoformat()}, queue=lane, expires=PATIENCE_S
    )


def _ticks(
    desk: Desk, rounds: int, lane: str, heard: "queue.Queue[float]", yardstick: str
) -> tuple[list[float], list[float]]:
    """Return the seconds from each tick to the call that was heard, without and with load beside it."""
    taken: tuple[list[float], list[float]] = ([], [])
    for start in range(0, rounds, BLOCK):
        loaded = start // BLOCK % 2
        with _tpcb(yardstick) if loaded else contextlib.nullcontext():
            for number in range(start + 1, min(start + BLOCK, rounds) + 1):
                time.sleep(PAUSE_S)
                began = time.perf_counter()
                _tick(desk, number, lane)
                try:
                    taken[loaded].append(heard.get(timeout=PATIENCE_S) - began)
                except queue.Empty:
                    raise UnableToBench(f"nothing was heard of tick {number} within {PATIENCE_S:.0f} s") from None
    return taken


def _wait_for_the_first_round() -> None:
    """Wait until the worker has loaded and marked the book once; after that every round is a warm one."""
    deadline = time.monotonic() + 5 * PATIENCE_S
    while not ShardLease.objects.filter(last_round_at__isnull=False).exists():
        if time.monotonic() > deadline:
            raise UnableToBench("the marking worker did not mark its first round")
        time.sleep(0.2)
    time.sleep(2.0)  # the round is noted when it begins


@contextlib.contextmanager
def _process(service: Service) -> Iterator[None]:
    """Run one process of the platform on the scratch database, and end it afterwards."""
    child = subprocess.Popen(  # noqa: S603
        service.command,
        cwd=settings.BASE_DIR,
        env={**os.environ, **service.environment},
        stdout=subprocess.DEVNULL,
        pass_fds=service.passes,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 # one system call, which takes no lock
    )
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def _web() -> Iterator[str]:
    """Run a web process and give its address once it answers."""
    with listen() as door, _process(_service("web", door.fileno())):
        address = f"http://{HOST}:{door.getsockname()[1]}"
        httpx.get(f"{address}/sign-in/", timeout=PATIENCE_S).raise_for_status()
        yield address


def _worker(lane: str) -> contextlib.AbstractContextManager[None]:
    """Run a marking worker on a queue of its own: another platform may share the broker."""
    return _process(replace(_service("marking"), command=worker(lane, lane, "--pool", "solo")))


def _service(name: str, door: int = 0) -> Service:
    """Return a process as the platform runs it."""
    return next(service for service in services(door) if service.name == name)


@contextlib.contextmanager
def _tpcb(database: str) -> Iterator[None]:
    line = programs.command("pgbench", database, "--no-vacuum", "--protocol=prepared", "--client", "1", "--time", "600")
    with _process(Service("tpcb", tuple(line))):
        yield


@contextlib.contextmanager
def _console(address: str, password: str) -> Iterator["queue.Queue[float]"]:
    """Sign in as risk staff, follow the console's line, and give the instants at which a call was heard of."""
    heard: queue.Queue[float] = queue.Queue()
    with httpx.Client(base_url=address, timeout=PATIENCE_S, follow_redirects=True) as browser:
        browser.get("/sign-in/").raise_for_status()
        form = {"username": EMAIL, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        landed = browser.post("/sign-in/", data=form, headers={"Referer": f"{address}/sign-in/"})
        if landed.url.path != "/console/":
            raise UnableToBench(f"signing in led to {landed.url.path}")
        with browser.stream("GET", "/console/stream/?after=0") as line:
            line.raise_for_status()
            reader = threading.Thread(target=_listen, args=(line, heard), daemon=True)
            reader.start()
            yield heard


def _listen(line: httpx.Response, heard: "queue.Queue[float]") -> None:
    with contextlib.suppress(httpx.HTTPError):
        for text in line.iter_lines():
            if text.startswith("data:") and "all issued" in text:
                heard.put(time.perf_counter())
