import logging
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connections
from kombu.exceptions import OperationalError as BrokerError

from lending import clock
from risk import prices, scenarios
from risk.scenarios import silence
from risk.scenarios.grid import utc
from risk.scenarios.playing import Player

log = logging.getLogger(__name__)

LONGEST_SLEEP_S = 0.5
SHORTEST_SLEEP_S = 0.01
HEARTBEAT_S = 60
CYCLE_TASK = "risk.tasks.run_cycle"


class Command(BaseCommand):
    """Play the scenario's venues: record every round at its platform time and tell the marking worker about it."""

    help = "Emit the ticks of the scenario as platform time passes, until it is stopped"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dir", default=settings.REPLAY_DIR, help="a folder of recordings instead of the scenario")
        parser.add_argument(
            "--cut", action="append", default=[], metavar="FROM..TO[@VENUE]", help="be silent for a while (one venue)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            scenario = scenarios.load(
                settings.RISK_SCENARIO, seed=settings.PLIMSOLL_SEED, directory=options["dir"] or None
            )
            for text in options["cut"]:
                scenario = _cut(scenario, text)
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        Feed(scenario, stop).run()


def _cut(scenario: scenarios.Scenario, text: str) -> scenarios.Scenario:
    """Return the scenario without what FROM..TO[@VENUE] names."""
    span, _, venue = text.partition("@")
    start, dots, end = span.partition("..")
    if not dots or (venue and venue not in scenario.sources):
        raise ValueError(f"{text!r} is not FROM..TO[@VENUE] with a venue of {', '.join(scenario.sources)}")
    return scenario.cut(utc(start), utc(end), source=venue or None)


class Feed:
    """The loop of the feed: rows say where it stands, so that it may be killed at any point."""

    def __init__(self, scenario: scenarios.Scenario, stop: threading.Event) -> None:
        self._scenario = scenario
        self._stop = stop
        self._refused = 0
        self._heard_at = 0.0
        self._broker_away = False

    def run(self) -> None:
        """Play until told to stop; while the database is away, wait for it and go on from its newest tick."""
        while not self._stop.is_set():
            try:
                self._play(Player(self._scenario, last_at=prices.newest_tick_at()))
            except (OperationalError, InterfaceError) as problem:
                log.warning("the database is away, waiting: %s", str(problem).splitlines()[0])
                connections.close_all()
                self._stop.wait(LONGEST_SLEEP_S)

    def _play(self, player: Player) -> None:
        log.info("feed of %s, %s", self._scenario.name, ", ".join(self._scenario.sources))
        while not self._stop.is_set():
            began = time.monotonic()
            now, speed, _ = clock.reading()
            skipped = player.skipped
            player.heard(prices.newest_tick_at())  # a jump of the demo plays its rounds itself
            away = silence.silent(settings.RISK_SILENT_VENUES)
            for each in player.due(now):
                if player.skipped > skipped:
                    log.warning("%d rounds behind: going on with that of %s", player.skipped - skipped, each.at)
                    skipped = player.skipped
                self._refused += sum(prices.record(silence.heard(each.ticks, away), received_at=now).rejected.values())
                self._hint(each.at.isoformat(), wall_s=self._scenario.step_s / (float(speed) or 1.0))
            self._beat(player, now.isoformat(timespec="seconds"))
            wait_s = (player.next_at(now) - now).total_seconds() / float(speed) if speed else LONGEST_SLEEP_S
            self._stop.wait(min(max(wait_s - (time.monotonic() - began), SHORTEST_SLEEP_S), LONGEST_SLEEP_S))

    def _hint(self, at: str, *, wall_s: float) -> None:
        """Tell every marking worker of a round; a lost hint costs latency only, the next one marks the same ticks."""
        for group in range(settings.MARK_GROUPS):
            try:
                current_app.send_task(
                    CYCLE_TASK,
                    kwargs={"group": group, "at": at},
                    queue=f"mark.{group}",
                    expires=max(wall_s, 1.0),
                    retry=False,
                )
            except BrokerError as problem:
                if not self._broker_away:
                    log.warning("the broker is away, rounds go without hints from %s on: %s", at, problem)
                self._broker_away = True
                return
        self._broker_away = False

    def _beat(self, player: Player, at: str) -> None:
        """Say once a minute of wall time that the feed lives."""
        if time.monotonic() - self._heard_at >= HEARTBEAT_S:
            self._heard_at = time.monotonic()
            log.info("%s: %d rounds, %d skipped, %d ticks refused", at, player.played, player.skipped, self._refused)
