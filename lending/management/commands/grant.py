import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lending import clock, people
from lending.models import Role


class Command(BaseCommand):
    help = "Give a person of the desk a role; a person who is not known yet is made, with a password shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        roles = [role.value for role in Role if not role.value.startswith("borrower")]
        parser.add_argument("email")
        parser.add_argument("role", choices=roles)
        parser.add_argument("--name", default="", help="how the person is called; by default the e-mail address")

    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(15)
        try:
            user, made = people.grant(
                options["email"],
                Role(options["role"]),
                name=options["name"],
                password=password,
                granted_by=None,
                now=clock.now(),
            )
        except people.UnableToGrant as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{user.email} is now {Role(options['role']).label.lower()}")
        if made:
            self.stdout.write(f"password, shown once: {password}")
