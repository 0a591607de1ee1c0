from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lending import access, clock, sanctions
from lending.management import arguments
from lending.models import SanctionsList, User


class Command(BaseCommand):
    help = "Take in a sanctions list: sdn.csv, alt.csv and add.csv together, or one file of any other form."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("list", help="code of the list, such as ofac-sdn or eu-fsf")
        parser.add_argument("files", nargs="+", type=Path)
        parser.add_argument("--by", required=True, metavar="EMAIL", help="who of compliance sends it in")
        parser.add_argument("--published", type=arguments.day, metavar="DAY", help="where the files do not say it")
        parser.add_argument(
            "--as-meant", action="store_true", help="even if it is older or much shorter than what stands"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        known = ", ".join(SanctionsList.objects.order_by("code").values_list("code", flat=True))
        watchlist = SanctionsList.objects.filter(code=options["list"]).first()
        by = User.objects.filter(email=options["by"].lower()).first()
        if watchlist is None:
            raise CommandError(f"no list {options['list']!r}; there are {known}")
        if by is None:
            raise CommandError(f"nobody signs in as {options['by']!r}")
        now = clock.now()
        try:
            with ExitStack() as opened:
                files = [opened.enter_context(path.open("rb")) for path in options["files"]]
                upload = sanctions.receive(
                    watchlist, files, published_on=options["published"], confirmed=options["as_meant"], by=by, now=now
                )
        except OSError as problem:
            raise CommandError(f"{problem.filename}: {problem.strerror}") from problem
        except (sanctions.UnableToImport, access.UnableToAccess) as refusal:
            raise CommandError(str(refusal)) from refusal
        sanctions.take_in(upload.pk, now=now)
        upload.refresh_from_db()
        if upload.state == upload.State.REFUSED:
            raise CommandError("\n".join((upload.refusal, *upload.problems)))
        version = upload.version
        self.stdout.write(
            f"{version}, published {version.published_on}: {version.entries:,} entries with {version.names:,} names; "
            f"{version.added:,} added, {version.changed:,} changed, {version.removed:,} removed"
        )
