import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from deploy.benches import accrual, alert, crash, cycle, ledger, load, mark, pages, peers, tick
from deploy.benches.compare import Result

BENCHES: dict[str, Callable[..., list[Result]]] = {
    "accrual": accrual.run,
    "alert": alert.run,
    "crash": crash.run,
    "cycle": cycle.run,
    "ledger": ledger.run,
    "load": load.run,
    "mark": mark.run,
    "pages": pages.run,
    "peers": peers.run,
    "tick": tick.run,
}


class Command(BaseCommand):
    """Time both sides of a comparison in one run and report medians; nothing is asserted."""

    help = "Compare the platform's hot paths with a yardstick that runs beside them"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bench", choices=sorted(BENCHES))
        parser.add_argument("--loans", type=int, help="size of the synthetic book")
        parser.add_argument("--rounds", type=int, help="how often each side is timed")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = {name: options[name] for name in ("loans", "rounds") if options[name]}
        results = [result.as_json() for result in BENCHES[options["bench"]](**chosen)]
        if options["json"]:
            self.stdout.write(json.dumps(results[0] if len(results) == 1 else {"results": results}))
            return
        for result in results:
            self.stdout.write(
                f"{result['bench']}, {result['loans']} loans, {result['rounds']} rounds, {result['machine']}\n"
                f"  a  {result['a_s'] * 1000:10.3f} ms  {result['a']}\n"
                f"  b  {result['b_s'] * 1000:10.3f} ms  {result['b']}\n"
                f"  a / b = {result['ratio']:{',.2f' if result['ratio'] > 0.1 else '.4f'}}, target: {result['target']}"
            )
