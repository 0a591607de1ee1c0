import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from deploy.embedded.layout import CHECKOUT
from deploy.run.kills import Killer, plan
from deploy.run.options import UnableToRun
from deploy.run.started import Started, started


class Command(BaseCommand):
    help = "Kill every class of process of a running platform, by a seed, and check that nothing was lost or doubled"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kills", type=int, default=20)
        parser.add_argument("--seed", type=int, default=settings.PLIMSOLL_SEED)
        parser.add_argument("--start", default="2021-05-19T12:15:00+00:00", help="platform time to start at")
        parser.add_argument("--speed", default="60", help="seconds of platform time in one of wall time")
        parser.add_argument("--loans", default="120", help="loans of the demo desk")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        victims = plan(options["seed"], options["kills"])
        say = self.stderr.write if options["json"] else self.stdout.write
        chosen = {"START": options["start"], "SPEED": options["speed"], "PLIMSOLL_DEMO_LOANS": options["loans"]}
        try:
            with started(chosen) as platform:
                platform.wait_until_ready()
                killer = Killer(platform, seed=options["seed"], say=say)
                killer.run(victims)
                left_over = platform.stop()
                invariants = _invariants(platform)
        except UnableToRun as problem:
            raise CommandError(str(problem)) from problem
        found = {
            "seed": options["seed"],
            "kills": [kill.shown() for kill in killer.kills],
            "with_unfinished_work": sum(kill.unfinished > 0 for kill in killer.kills),
            "longest_settle_s": max(kill.settled_s or 0.0 for kill in killer.kills),
            "left_over": left_over,
            "invariants": invariants,
            "wall_s": round(time.monotonic() - began, 1),
        }
        if options["json"]:
            self.stdout.write(json.dumps(found))
        else:
            self.stdout.write(
                f"{len(victims)} kills, {found['with_unfinished_work']} with unfinished work, all settled, "
                f"the longest after {found['longest_settle_s']} s; invariants: {invariants}"
            )
        if invariants != "ok" or left_over or not found["with_unfinished_work"]:
            raise CommandError("the proof failed")


def _invariants(platform: Started) -> Any:
    """Check the stopped platform's books, on servers that the check starts for itself."""
    done = subprocess.run(
        [sys.executable, "manage.py", "check_invariants", "--json"],
        cwd=CHECKOUT,
        env={**os.environ, "DATA_DIR": str(platform.layout.data), "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(done.stdout)["invariants"]
    except (ValueError, KeyError):
        raise UnableToRun(f"check_invariants said: {done.stdout}{done.stderr[-2000:]}") from None
