"""
Clients by the table: a CSV file of prospects, tried first with every error named by its row, then taken on whole.

The first row names the columns, in any order; a comma or a semicolon stands between them. What is tried and what is
taken on is read by the same code, and a file with an error takes nobody on.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction
from django.db.models import TextChoices

from lending import access, csv_tables, people
from lending.access import AnyUser
from lending.csv_tables import Problem, UnableToRead
from lending.engine import countries, names
from lending.models import Client, User

NEEDED = ("name", "kind", "jurisdiction")
COLUMNS = (*NEEDED, "time_zone", "source", "geography", "expected_size_usd", "classification")
MOST = 2_000  # clients of one file
_NAME = 160
_CENTS = 2
_LARGEST = Decimal(10) ** 18
_CHOICES: Mapping[str, type[TextChoices]] = {
    "kind": Client.Kind,
    "source": Client.Source,
    "geography": Client.Geography,
    "classification": Client.Classification,
}


class UnableToTakeOn(Exception):
    """A file has errors, so nobody of it was taken on; the message says how many."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a file holds: the facts of each client that could be read, and everything that is wrong with it."""

    clients: Sequence[dict[str, Any]]
    problems: Sequence[Problem]


def check(text: str, *, manager: AnyUser) -> Trial:
    """
    Read a table of clients, and return what it holds and every error of every row; it writes nothing.

    Who is a client already is told of those whom the manager sees. Of another manager's client they learn no more than
    whom to ask: a table of names would otherwise be a way to find out who banks here, and with whom.

    Raises
    ------
    UnableToRead
        If it has no first row that names the columns needed, names one that is not known or one twice, has too many
        rows or none, or is no CSV.
    """
    rows, problems = csv_tables.records(text, known=COLUMNS, needed=NEEDED, most=MOST)
    zones = available_timezones()  # read from files each time
    seen_by_manager = set(access.clients_for(manager).values_list("pk", flat=True))
    known: dict[tuple[str, str], bool] = {}
    for key, name, country in Client.objects.values_list("pk", "name", "jurisdiction"):
        who = _plain(name), country
        known[who] = known.get(who, False) or key in seen_by_manager
    seen: dict[tuple[str, str], int] = {}
    clients: list[dict[str, Any]] = []
    for number, cells in rows:
        facts, wrong = _client(number, cells, zones)
        who = _plain(facts["name"]), facts["jurisdiction"]
        if all(who) and who in known:
            why = people.IS_CLIENT if known[who] else people.ASK_FIRST
            wrong.append(Problem(number, "name", f"{facts['name']} in {who[1]} {why}"))
        elif all(who) and who in seen:
            wrong.append(Problem(number, "name", f"{facts['name']} in {who[1]} stands in row {seen[who]} too"))
        seen.setdefault(who, number)
        clients.append(facts)
        problems += wrong
    if not clients:
        raise UnableToRead("it has no row below the names of its columns")
    return Trial(clients, sorted(problems, key=lambda problem: problem.row))


@transaction.atomic
def take_on(text: str, *, manager: User, now: datetime) -> list[Client]:
    """
    Register every client of a table as a prospect of one relationship manager, or none of them.

    Raises
    ------
    UnableToRead
        As `check` does.
    UnableToTakeOn
        If anything is wrong with any row.
    lending.access.UnableToAccess
        If the manager is no relationship manager.
    """
    User.objects.select_for_update().get(pk=manager.pk)  # a button pressed twice: the second finds them registered
    trial = check(text, manager=manager)
    if trial.problems:
        count = len(trial.problems)
        raise UnableToTakeOn(f"nobody was taken on: {count:,} {'error' if count == 1 else 'errors'}")
    return [people.register(**facts, manager=manager, now=now) for facts in trial.clients]


def _client(number: int, cells: Mapping[str, str], zones: Set[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the facts of one row, and everything that is wrong with them."""
    facts: dict[str, Any] = {column: cells.get(column, "") for column in COLUMNS}
    wrong = [(column, "is missing") for column in NEEDED if not facts[column]]
    if len(facts["name"]) > _NAME:
        wrong.append(("name", f"is longer than {_NAME} characters"))
    elif facts["name"] and (why := names.problem(facts["name"])):
        wrong.append(("name", why))
    for column, choices in _CHOICES.items():
        said = facts[column]
        found = next((value for value, label in choices.choices if said.lower() in {value, str(label).lower()}), None)
        if said and found is None:
            wrong.append((column, f"{said!r} is none of {', '.join(choices.values)}"))
        facts[column] = found or ""
    if facts["jurisdiction"]:
        code = facts["jurisdiction"].upper()
        if code not in countries.NAMES:
            wrong.append(("jurisdiction", f"{facts['jurisdiction']!r} is no country code of ISO 3166, such as CH"))
        facts["jurisdiction"] = code if code in countries.NAMES else ""
    facts["time_zone"] = facts["time_zone"] or "UTC"
    if facts["time_zone"] not in zones:
        wrong.append(("time_zone", f"{facts['time_zone']!r} is no time zone, such as Europe/Zurich"))
    facts["expected_size_usd"], words = _size(facts["expected_size_usd"])
    wrong += [("expected_size_usd", words)] if words else []
    return facts, [Problem(number, column, words) for column, words in wrong]


def _size(said: str) -> tuple[Decimal | None, str]:
    """Return an amount in USD, None where nothing is said, and what is wrong with it."""
    if not said:
        return None, ""
    amount = csv_tables.number(said)
    if amount is None:
        return None, f"{said!r} is no amount, such as 2500000.00"
    if not 0 < amount < _LARGEST or csv_tables.decimals(amount) > _CENTS:
        return None, f"{said!r} is no amount above zero in whole cents"
    return amount, ""


def _plain(name: str) -> str:
    return " ".join(names.latin(name).split())
