from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lending import access, clock, csv_tables, intake
from lending.models import User


class Command(BaseCommand):
    help = f"Take clients on from a CSV file, all of them or none; its columns: {', '.join(intake.COLUMNS)}."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--manager", required=True, metavar="EMAIL", help="who looks after them")
        parser.add_argument("--dry-run", action="store_true", help="only say every error, and take nobody on")

    def handle(self, *args: Any, **options: Any) -> None:
        manager = User.objects.filter(email=options["manager"].lower()).first()
        if manager is None:
            raise CommandError(f"nobody signs in as {options['manager']!r}")
        try:
            text = csv_tables.text_of(options["file"].read_bytes())
            trial = intake.check(text, manager=manager)
            for problem in trial.problems:
                self.stderr.write(str(problem))
            if options["dry_run"]:
                count = len(trial.problems)
                self.stdout.write(f"{len(trial.clients):,} clients read, {count:,} errors; nobody was taken on")
                return
            made = intake.take_on(text, manager=manager, now=clock.now())
        except OSError as problem:
            raise CommandError(f"{problem.filename}: {problem.strerror}") from problem
        except (csv_tables.UnableToRead, intake.UnableToTakeOn, access.UnableToAccess) as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{len(made):,} clients are prospects of {manager}")
