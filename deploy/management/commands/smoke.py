import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy.run import smoke
from deploy.run.doors import UnableToSignIn
from deploy.run.options import UnableToRun
from deploy.run.started import started


class Command(BaseCommand):
    help = "Start the platform in a scratch folder, watch its doors until a call, a cure, a sale and P&L show, stop it"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--start", default="2021-05-19T12:15:00+00:00", help="platform time to start at")
        parser.add_argument("--speed", default="60", help="seconds of platform time in one of wall time")
        parser.add_argument("--loans", default="0", help="drawn loans; 0: the desk that `run` shows")
        parser.add_argument("--seconds", type=float, default=300, help="how long to wait for everything to show")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        chosen = {"START": options["start"], "SPEED": options["speed"], "PLIMSOLL_DEMO_LOANS": options["loans"]}
        say = self.stderr.write if options["json"] else self.stdout.write
        try:
            with started(chosen) as platform:
                state = platform.wait_until_ready()
                ready_s = time.monotonic() - began
                say(f"{'ready':<14} after {ready_s:6.1f} s at {state['url']}")
                watch = smoke.Watch(platform, state["people"], state["url"])
                shown = watch.run(started=began, seconds=options["seconds"], say=say)
                left_over = platform.stop()
        except (UnableToRun, UnableToSignIn, TimeoutError) as problem:
            raise CommandError(str(problem)) from problem
        found = smoke.report(shown, ready_s=ready_s, left_over=left_over, wall_s=time.monotonic() - began)
        if left_over:
            raise CommandError(f"processes were left over: {left_over}")
        self.stdout.write(json.dumps(found) if options["json"] else f"all shown, stopped, {found['wall_s']} s in all")
