import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from deploy import replay
from deploy.demo import books, desk
from lending.management import arguments
from risk import scenarios


class Command(BaseCommand):
    help = "Replay a scenario through the production steps on a simulated clock, in a database of its own."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--scenario", default=settings.PLIMSOLL_SCENARIO, help="name of a scenario")
        source.add_argument("--dir", default=settings.REPLAY_DIR, help="folder of recordings to replay instead")
        parser.add_argument("--loans", type=int, default=400)
        parser.add_argument("--showcase", action="store_true", help="the desk that `run` shows, instead of drawn loans")
        parser.add_argument("--seed", type=int, default=settings.PLIMSOLL_SEED)
        parser.add_argument("--from", dest="start_at", type=arguments.instant, help="start later than it does")
        parser.add_argument("--to", dest="end_at", type=arguments.instant, help="end earlier than it does")
        parser.add_argument("--feed-cut", action="append", type=_cut, default=[], metavar="FROM..TO")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["loans"] < 1:
            raise CommandError("--loans wants a number of 1 or more.")
        seed = options["seed"]
        try:
            scenario, span = scenarios.stage(
                options["scenario"],
                seed=seed,
                directory=options["dir"] or None,
                start_at=options["start_at"],
                end_at=options["end_at"],
            )
            silences = [scenarios.Patch(start, end) for start, end in options["feed_cut"]]
            scenario, span = scenario.patched(silences), span.patched(silences)
        except scenarios.UnableToLoad as error:
            raise CommandError(str(error)) from error
        book = books.showcase(desk.first_prices(scenario), seed=seed) if options["showcase"] else None
        with replay.world(scenario, seed=seed):
            progress = _Progress(span, quiet=not sys.stderr.isatty())
            played = replay.play(scenario, seed=seed, loans=options["loans"], book=book, span=span, observe=progress)
            found = replay.report(span, played)
        if options["json"]:
            self.stdout.write(json.dumps(found))
            return
        for name, value in found.items():
            self.stdout.write(f"{name:>20}  {value}")


class _Progress:
    """Says on standard error how far a long replay has come."""

    def __init__(self, scenario: scenarios.Scenario, *, quiet: bool) -> None:
        self._scenario, self._quiet, self._hour = scenario, quiet, -1

    def __call__(self, at: datetime) -> None:
        if not self._quiet and at.hour != self._hour:
            self._hour = at.hour
            print(f"  {at:%d %b %H:%M} of {self._scenario.end_at:%d %b %H:%M} UTC", file=sys.stderr)


def _cut(text: str) -> tuple[datetime, datetime]:
    start, _, end = (part.strip() for part in text.partition(".."))
    cut = arguments.instant(start), arguments.instant(end)
    if cut[1] <= cut[0]:
        raise ArgumentTypeError(f"{text}: the cut ends before it starts")
    return cut
