import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from deploy import invariants


class Command(BaseCommand):
    help = "Ask every invariant of every app; print the broken ones with their rows and exit 1 if there are any"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        found = invariants.check()
        if options["json"]:
            self.stdout.write(json.dumps({"invariants": invariants.report(found)}))
        else:
            self._tell(found)
        if found:
            sys.exit(1)

    def _tell(self, found: list[invariants.Violation]) -> None:
        for violation in found:
            self.stdout.write(f"{violation.code} broken: {violation.message}")
            for row in violation.rows:
                self.stdout.write(f"    {row}")
        if not found:
            self.stdout.write("invariants: ok")
        for code, promise in invariants.PROPERTIES.items():
            self.stdout.write(f"{code} is shown by tests, not by rows: {promise}")
