import json
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from deploy.demo import (
    amended,
    banks,
    books,
    credited,
    desk,
    floating,
    joint,
    lines,
    outside,
    prospects,
    reserved,
    screened,
)
from deploy.demo.reference import demo_password
from lending import clock
from lending.models import Client, PlatformClock
from risk import scenarios

_AFTER_THE_END = timedelta(hours=1)
_FEWER = 120  # drawn loans where a recording lacks an asset of the showcase
_STILL = Decimal(0)  # until every process is up: `set_off` then has time run
_DOORS = (
    ("relationship manager", "robin@plimsoll.example", "/admin/"),
    ("risk", "rhea@plimsoll.example", "/console/"),
    ("risk head", "hugo@plimsoll.example", "/console/"),
    ("operations", "olga@plimsoll.example", "/admin/"),
    ("compliance", "cora@plimsoll.example", "/admin/"),
    ("desk head", "dana@plimsoll.example", "/admin/"),
    ("borrower", "alice@client1.example", "/portal/"),
    ("another borrower", "charlie@client2.example", "/portal/"),
)


class Command(BaseCommand):
    help = "Build the demo desk of a scenario and set platform time, which stands still; take up a desk that stands."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--start", default="", help="platform time at which a new desk's replay starts")
        parser.add_argument("--stopped-at", type=datetime.fromisoformat, help="wall time at which the platform stopped")
        parser.add_argument("--loans", type=int, default=settings.PLIMSOLL_DEMO_LOANS, help="0: the showcase")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        if PlatformClock.objects.exists():
            said = self._go_on(options["stopped_at"])
        elif Client.objects.exists():
            raise CommandError("The demo desk was left half built. Start over with RESET=1.")
        else:
            said = self._build(options["start"], options["loans"])
        people = [
            {"role": role, "email": email, "password": demo_password(), "door": door} for role, email, door in _DOORS
        ]
        self.stdout.write(json.dumps({"people": people, "said": said}) if options["json"] else said)

    def _go_on(self, stopped_at: datetime | None) -> str:
        wall = clock.wall_now()
        clock.resume(stopped_at=stopped_at or wall, wall_origin=wall, speed=_STILL)
        return f"the desk stands; platform time will go on at {clock.now():%d %b %Y %H:%M:%S} UTC"

    def _build(self, start: str, loans: int) -> str:
        try:
            scenario, span = scenarios.stage(
                settings.PLIMSOLL_SCENARIO,
                seed=settings.PLIMSOLL_SEED,
                directory=settings.REPLAY_DIR or None,
                start_at=_instant(start) if start else None,
            )
        except (scenarios.UnableToLoad, ValueError) as error:
            raise CommandError(str(error)) from error
        price, seed = desk.first_prices(scenario), settings.PLIMSOLL_SEED
        drawn = loans or not set(desk.COLLATERAL) <= price.keys()  # the showcase needs all of its assets
        book = books.of_size(loans or _FEWER, price, seed=seed) if drawn else books.showcase(price, seed=seed)
        with outside.in_process(custodian="lending.adapters.custodian_inprocess.of_data_dir"):
            desk.build(scenario, book, now=span.start_at, say=self.stderr.write)
            banks.send(now=span.start_at)
            lines.load(now=span.start_at)
        amended.load(now=span.start_at)
        reserved.load(now=span.start_at)
        floating.load(now=span.start_at)
        prospects.load(now=span.start_at)
        joint.load(now=span.start_at)
        credited.load(now=span.start_at)
        screened.load(now=span.start_at)
        clock.start(
            sim_origin=span.start_at,
            wall_origin=clock.wall_now(),
            speed=_STILL,
            stop_at=scenario.end_at + _AFTER_THE_END,
        )
        count = sum(len(party.loans) for party in book)
        return (
            f"{count} loans of {len(book)} clients booked; platform time starts at {span.start_at:%d %b %Y %H:%M} UTC"
        )


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
