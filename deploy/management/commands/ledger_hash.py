import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from lending import ledger


class Command(BaseCommand):
    help = "Recompute the hash over everything that the ledger says, without database ids"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        found = ledger.ledger_hash()
        self.stdout.write(json.dumps({"ledger_hash": found}) if options["json"] else found)
