from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lending import bank_statements, clock


class Command(BaseCommand):
    help = "Import bank statements (camt.053 or MT940). The same file twice, or one that overlaps, adds what is new."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        for path in options["files"]:
            try:
                data = path.read_bytes()
                taken = bank_statements.import_file(data, file_name=path.name, by=None, now=clock.now())
            except OSError as problem:
                raise CommandError(f"{problem.filename}: {problem.strerror}") from problem
            except bank_statements.UnableToImport as refused:
                raise CommandError(f"{path}: {refused}") from refused
            for one in taken:
                lines = f"{one.new_lines} new line{'' if one.new_lines == 1 else 's'}, {one.known_lines} known"
                self.stdout.write(f"{one.statement.account} {one.statement}: {lines}")
