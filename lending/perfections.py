"""What makes a security interest hold against others: control agreements and filings, each a fact that is kept."""

from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Value

from lending import access, audit
from lending.documents import KEEPERS
from lending.models import Client, Document, Loan, MarginAccount, Perfection, Pledge, User


class UnableToRecord(Exception):
    """What perfects an interest can not be recorded; the message says why."""


@transaction.atomic
def record(
    account: MarginAccount,
    *,
    kind: str,
    reference: str,
    held_with: str,
    from_date: date,
    lapse_date: date | None,
    document: Document | None,
    by: User,
    now: datetime,
) -> Perfection:
    """
    Record a control agreement or a filing; of each kind the newest one stands of each with whom, and none is changed.

    Raises
    ------
    UnableToRecord
        If title to the collateral has passed, a filing has no lapse date, it has lapsed or begins in the future, or
        the paper is another client's or withdrawn.
    lending.access.UnableToAccess
        If `by` keeps no documents, or does not see the client.
    """
    access.require_role(by, *KEEPERS)
    access.require_client(by, account.client)
    if account.pledge_terms.by_title:
        raise UnableToRecord("title to the collateral has passed to the desk: there is no interest to perfect")
    today = now.date()
    if from_date > today:
        raise UnableToRecord(f"it can not hold from {from_date:%d %b %Y} on already: that is after today")
    if kind == Perfection.Kind.FILING and lapse_date is None:
        raise UnableToRecord("a filing lapses: say on which day")
    if lapse_date is not None and lapse_date <= today:
        raise UnableToRecord(f"it lapsed on {lapse_date:%d %b %Y}: record the one that holds")
    if document is not None and (document.client_id != account.client_id or document.withdrawn_at is not None):
        raise UnableToRecord("that paper is another client's, or was withdrawn")
    row = Perfection(
        client_id=account.client_id,
        margin_account=account,
        kind=kind,
        reference=reference.strip(),
        held_with=held_with.strip(),
        from_date=from_date,
        lapse_date=lapse_date,
        document=document,
        recorded_by=by,
        recorded_at=now,
    )
    try:
        row.clean_fields(exclude=("lapse_date", "document"))
    except ValidationError as refused:
        raise UnableToRecord("; ".join(words.rstrip(".") for words in refused.messages)) from refused
    row.save(force_insert=True)
    facts = {"kind": kind, "reference": row.reference, "lapse_date": lapse_date.isoformat() if lapse_date else None}
    audit.write("perfection_recorded", actor=by, obj=row, after=facts, now=now)
    return row


def standing(account: MarginAccount) -> list[Perfection]:
    """Return what perfects the interest in a margin account's collateral: of each kind and holder the newest."""
    rows = Perfection.objects.filter(margin_account=account).order_by("kind", "held_with", "-pk")
    rows = rows.distinct("kind", "held_with")  # a filing in one registry takes the place of none in another
    return list(rows.select_related("document", "recorded_by"))


def lapsing(clients: QuerySet[Client], *, until: date) -> QuerySet[Any]:
    """
    Return what lapses by a day and nothing newer replaces, where collateral is held, as `checklists.due` reads it.

    Each is about its account's first loan.
    """
    newer = Perfection.objects.filter(
        margin_account=OuterRef("margin_account"), kind=OuterRef("kind"), held_with=OuterRef("held_with"),
        pk__gt=OuterRef("pk"),
    )  # fmt: skip
    held = Pledge.objects.filter(Q(quantity__gt=0) | Q(held_quantity__gt=0), margin_account=OuterRef("margin_account"))
    first = Loan.objects.filter(margin_account=OuterRef("margin_account")).order_by("pk").values("pk")[:1]
    rows = Perfection.objects.filter(~Exists(newer), Exists(held), client__in=clients, lapse_date__lte=until)
    return rows.values_list(
        "lapse_date", "client__name", "client__public_id", Value("perfection"), "kind", "reference", Subquery(first)
    )
