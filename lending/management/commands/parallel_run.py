from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lending import access, clock, csv_tables, parallel
from lending.management import arguments
from lending.models import User


class Command(BaseCommand):
    help = "Compare what a system that loans were taken over from says of the end of a day with ours."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--source", required=True, help="the system, as it was named at the takeover")
        parser.add_argument("--day", required=True, type=arguments.day, help="as 2026-11-23")
        parser.add_argument("--by", required=True, metavar="EMAIL", help="who answers for it, of operations")
        parser.add_argument("--tolerance", type=arguments.number, default=Decimal("0.01"))
        parser.add_argument("--ltv-tolerance", type=arguments.number, default=Decimal("0.001"))

    def handle(self, *args: Any, **options: Any) -> None:
        by = User.objects.filter(email=options["by"].lower()).first()
        if by is None:
            raise CommandError(f"nobody signs in as {options['by']!r}")
        given = {name: options[name] for name in ("source", "day", "tolerance", "ltv_tolerance")}
        try:
            text = csv_tables.text_of(options["file"].read_bytes())
            run = parallel.compare(text, **given, by=by, now=clock.now())
        except parallel.UnableToUse as refusal:
            for problem in refusal.problems:
                self.stderr.write(str(problem))
            raise CommandError(str(refusal)) from refusal
        except OSError as problem:
            raise CommandError(f"{problem.filename}: {problem.strerror}") from problem
        except (parallel.UnableToCompare, csv_tables.UnableToRead, access.UnableToAccess) as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"{run}: {run.agreeing:,} of {run.compared:,} agree")
