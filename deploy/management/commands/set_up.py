import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy import set_up
from lending import clock


class Command(BaseCommand):
    help = f"Add a desk's {', '.join(set_up.TABLES)} from a JSON file; without a file, print one of what stands."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?")
        parser.add_argument("--dry-run", action="store_true", help="only say every error, and add nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"] is None:
            self.stdout.write(json.dumps(set_up.standing(), indent=2))
            return
        try:
            report = set_up.set_up(options["file"].read_bytes(), now=clock.now(), dry_run=options["dry_run"])
        except OSError as problem:
            raise CommandError(f"{problem.filename}: {problem.strerror}") from problem
        except set_up.UnableToSetUp as refusal:
            for wrong in refusal.problems:
                self.stderr.write(wrong)
            raise CommandError(str(refusal)) from refusal
        for remark in report.never_good:
            self.stderr.write(f"no good price yet: {remark}")
        said = "would be added" if options["dry_run"] else "added"
        self.stdout.write(f"{report.added:,} rows {said}, {report.stood:,} stood already")
