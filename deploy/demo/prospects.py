"""Whom the demo desk's managers are talking to: prospects, cases half done, and one that waits for a first loan."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from deploy.demo import onboarded, reference
from deploy.demo.onboarded import Newcomer
from lending import kyc, people
from lending.models import Client

_ENTITY, _PERSON = Client.Kind.ENTITY, Client.Kind.INDIVIDUAL
_SOURCE, _WHERE = Client.Source, Client.Geography
_ANSWERED, _OPENED, _COMPLETE = "Ketteridge Options", "Pernambuco Energia", "Halden Shipping Partners"
_ANSWERS = {"business": "Makes markets in listed options.", "purpose": "Cash against coins that are to be kept."}

#    name, kind, country, zone, manager, source, geography, expected USD, days ago
_TALKED_TO = (
    ("Saltmarsh Ventures", _ENTITY, "IE", "Europe/Dublin", "robin", _SOURCE.EVENT, _WHERE.EUROPE, 2_000_000, 2),
    ("Imogen Tasker", _PERSON, "GB", "Europe/London", "robin", _SOURCE.INBOUND, _WHERE.UNITED_KINGDOM, 750_000, 6),
    ("Levant Bridge Capital", _ENTITY, "AE", "Asia/Dubai", "rosa", _SOURCE.OUTBOUND, _WHERE.MIDDLE_EAST, 8_000_000, 4),
    (_ANSWERED, _ENTITY, "GB", "Europe/London", "robin", _SOURCE.REFERRAL, _WHERE.UNITED_KINGDOM, 5_000_000, 11),
    (_OPENED, _ENTITY, "BR", "America/Recife", "ravi", _SOURCE.REFERRAL, _WHERE.LATIN_AMERICA, 3_000_000, 9),
    (_COMPLETE, _ENTITY, "NO", "Europe/Oslo", "robin", _SOURCE.EXISTING, _WHERE.EUROPE, 12_000_000, 15),
)


@transaction.atomic
def load(*, now: datetime) -> None:
    """Take the prospects on, each as long ago as its manager first heard of it."""
    for name, kind, country, zone, manager, source, where, usd, days in _TALKED_TO:
        at = now - timedelta(days=days)
        by = reference.staff(manager)
        client = people.register(
            name=name, kind=kind, jurisdiction=country, time_zone=zone, manager=by, now=at, source=source,
            geography=where, expected_size_usd=Decimal(usd),
        )  # fmt: skip
        if name == _COMPLETE:
            newcomer = Newcomer(client=client, signers=[("Sigrid Halden", "sigrid@halden.example")])
            onboarded.complete([newcomer], checker=reference.staff("cora"), now=at)
        if name in {_ANSWERED, _OPENED}:
            case = kyc.open_case(client, by=by, now=at + timedelta(days=1))
            for code, said in _ANSWERS.items() if name == _ANSWERED else ():
                kyc.answer(case, code, said, by=by, now=at + timedelta(days=2))
