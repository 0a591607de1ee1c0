"""What a client is expected to be: how it came, where its business is, how much it may borrow, how it is classified."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import access, audit, kyc
from lending.engine import money
from lending.models import Client, KycCase, User


class UnableToDescribe(Exception):
    """A client can not be described so; the message says why."""


@transaction.atomic
def describe(
    client: Client,
    *,
    jurisdiction: str,
    source: str,
    geography: str,
    expected_size_usd: Decimal | None,
    classification: str,
    by: User,
    now: datetime,
) -> Client:
    """
    Write down what is known of a client before its case is approved, and while it is reviewed.

    Raises
    ------
    UnableToDescribe
        If the expected size is not positive, or any of it would change of an approved client without a review.
    lending.access.UnableToAccess
        If `by` keeps no cases, or does not see the client.
    """
    access.require_role(by, *kyc.KEEPERS)
    access.require_client(by, client)
    if expected_size_usd is not None and not money.is_positive(expected_size_usd):
        raise UnableToDescribe("an expected size is an amount above zero")
    row = Client.objects.select_for_update().get(pk=client.pk)
    said = {
        "jurisdiction": jurisdiction, "source": source, "geography": geography,
        "expected_size_usd": expected_size_usd, "classification": classification,
    }  # fmt: skip
    changed = [name for name, value in said.items() if value != getattr(row, name)]
    case = kyc.current(row)
    if changed and case is not None and case.state == KycCase.State.APPROVED:
        words = changed[0].removesuffix("_usd").replace("_", " ")
        raise UnableToDescribe(f"the {words} is part of the approved case: open a review to change it")
    before = _facts(row)
    for name, value in said.items():
        setattr(row, name, value)
    row.save(update_fields=list(said))
    audit.write("client_described", actor=by, obj=row, before=before, after=_facts(row), now=now)
    return row


def _facts(client: Client) -> dict[str, str]:
    size = client.expected_size_usd
    return {
        "jurisdiction": client.jurisdiction,
        "source": client.source,
        "geography": client.geography,
        "expected_size_usd": "" if size is None else money.text(size),
        "classification": client.classification,
    }
