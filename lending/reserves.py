"""Standing instructions: what a client has set aside for the calls of a loan, in the ledger, until it is used."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from lending import audit, events, ledger, margin_accounts
from lending.engine import accounts, entries, money, reserves
from lending.models import Asset, Client, Loan, StandingInstruction, User


class UnableToReserve(Exception):
    """Nothing can be set aside, or made free again; the message says why."""


def running() -> QuerySet[StandingInstruction]:
    """Return the instructions that run, with their assets, by asset."""
    return StandingInstruction.objects.filter(ended_at=None).select_related("asset").order_by("asset__code", "pk")


def of_clients(clients: Collection[Client]) -> list[StandingInstruction]:
    """Return what some clients have set aside and not used, each with its client, loan and asset."""
    return list(running().filter(client__in=clients, quantity__gt=0).select_related("client", "loan"))


@transaction.atomic
def set_aside(loan: Loan, asset: Asset, quantity: Decimal, *, by: User, now: datetime) -> StandingInstruction:
    """
    Set exactly so much of an asset aside for the calls of a loan: at first, or more or less than there is.

    Raises
    ------
    UnableToReserve
        If the quantity is not positive or too fine, or it is more than what is set aside and free.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, asset.decimals):
        raise UnableToReserve(f"{quantity} is not an amount that {asset.code} can move ({asset.decimals} decimals)")
    row = _locked(account.pk, asset) or StandingInstruction(
        client_id=account.client_id, margin_account=account, loan=loan, asset=asset, quantity=money.ZERO
    )
    before = row.quantity
    with money.exact():
        change = quantity - before
    free = ledger.owed(accounts.client_free(asset.code, account.client_id))
    if change > free:
        has = f"{money.text(free)} {asset.code} are free" + (f", {money.text(before)} are set aside" if before else "")
        raise UnableToReserve(f"{has}: that is less than {money.text(quantity)}")
    row.given_by, row.given_at = by, now
    _book(row, change, now=now)
    _tell(row, "instruction_given", before=before, by=by, now=now)
    return row


@transaction.atomic
def take(row: StandingInstruction, quantity: Decimal, *, reason: str, now: datetime) -> None:
    """Make a part of what is set aside free for the call that uses it in this transaction, under the account's lock."""
    before = row.quantity
    with money.exact():
        row.used += quantity
    _book(row, quantity.copy_negate(), now=now)
    _tell(row, "instruction_used", before=before, by=None, reason=reason, now=now)


@transaction.atomic
def end(row: StandingInstruction, *, by: User | None, why: str, now: datetime) -> StandingInstruction:
    """
    End an instruction: what is left of it is free again.

    Raises
    ------
    UnableToReserve
        If it has ended already.
    """
    margin_accounts.lock(row.margin_account_id)
    found = _locked(row.margin_account_id, row.asset)
    if found is None or found.pk != row.pk:
        raise UnableToReserve("it has ended already")
    before = found.quantity
    found.ended_at, found.ended_by, found.ended_why = now, by, why
    _book(found, before.copy_negate(), now=now)
    _tell(found, "instruction_ended", before=before, by=by, reason=why, now=now)
    return found


def _locked(margin_account_id: int, asset: Asset) -> StandingInstruction | None:
    rows = StandingInstruction.objects.select_for_update(of=("self",)).select_related("loan", "asset")
    return rows.filter(margin_account=margin_account_id, asset=asset, ended_at=None).first()


def _book(row: StandingInstruction, change: Decimal, *, now: datetime) -> None:
    """Move what changes between free and set aside, and write the instruction down as it is from now on."""
    row.steps += 1
    with money.exact():
        row.quantity += change
    if change:
        heading = entries.Heading(
            key=f"instruction:{row.public_id}:{row.steps}", effective_at=now, book_id=row.loan.book_id,
            client_id=row.client_id,
        )  # fmt: skip
        recipe = reserves.reserve if change > 0 else reserves.unreserve
        draft = recipe(
            heading, asset=row.asset.code, quantity=change.copy_abs(), margin_account_id=row.margin_account_id
        )
        ledger.post(draft, now=now)
    row.save()


def _tell(
    row: StandingInstruction, kind: str, *, before: Decimal, by: User | None, now: datetime, reason: str = ""
) -> None:
    facts = {"loan": str(row.loan.public_id), "asset": row.asset.code, "set_aside": money.text(row.quantity)}
    events.emit("collateral", kind, facts, client_id=row.client_id, now=now)
    was = {"asset": row.asset.code, "set_aside": money.text(before)}
    audit.write(kind, actor=by, obj=row, before=was, after=facts, reason=reason, now=now)
