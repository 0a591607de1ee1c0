"""
Transfers from senders that the custodian objects to: kept apart, until two persons let them in, or it objects no more.

They are at the custodian and nobody's to use: they secure nothing, cure nothing and pay nothing, and no deadline waits
for them. What is let in counts from when it arrived. What the custodian gave back to the sender or to an authority is
booked out by two persons.
"""

from datetime import datetime
from enum import StrEnum

from django.db import transaction

from lending import access, approvals, arrivals, audit, ledger, reasons
from lending.engine import money
from lending.models import Approval, Deposit, Entry, Role, User

KIND, OUT = "let_in_deposit", "book_out_deposit"
ASKERS = frozenset({Role.COMPLIANCE, Role.OPERATIONS})


class Went(StrEnum):
    """Where a transfer went that is at the custodian no more."""

    BACK = "returned to its sender"
    SEIZED = "seized by an authority"


class UnableToLetIn(Exception):
    """A transfer can not be let in, or booked out; the message says why."""


def ask(deposit: Deposit, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person, of compliance, to let a transfer in that is kept apart.

    Raises
    ------
    UnableToLetIn
        If it is not kept apart, no reason is given, or too long a one, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is neither of compliance nor of operations.
    """
    return _ask(KIND, deposit, reason, "say what is known of its sender", {}, maker, now)


def ask_out(deposit: Deposit, went: Went, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person, of compliance, to book a transfer out that was kept apart and is at the custodian no more.

    One that its network dropped and never brought back was returned to its sender, too. Raises as `ask` does.
    """
    return _ask(OUT, deposit, reason, "say how it is known where it went", {"as": went.value}, maker, now)


def _ask(
    kind: str, deposit: Deposit, reason: str, missing: str, facts: dict[str, str], maker: User, now: datetime
) -> Approval:
    access.require_role(maker, *sorted(ASKERS))
    if deposit.state != Deposit.State.HELD:
        raise UnableToLetIn(f"the deposit is {deposit.get_state_display().lower()}, not held")
    said = reasons.kept(reason, UnableToLetIn, missing=missing)
    if waiting(deposit, now=now) is not None:
        raise UnableToLetIn("it was asked for already")
    payload = {
        "deposit": str(deposit.public_id),
        "asset": deposit.asset.code,
        "quantity": money.text(deposit.quantity),
        "arrived_at": deposit.sent_to,
        **facts,
        "reason": said,
    }
    # Without the client: its relationship manager, who meets it, is not to read of it.
    return approvals.request(kind, payload, maker=maker, now=now)


def waiting(deposit: Deposit, *, now: datetime) -> Approval | None:
    """Return the request about a transfer that nobody has decided yet."""
    asked = Approval.objects.filter(kind__in=(KIND, OUT), state=Approval.State.REQUESTED, expires_at__gt=now)
    return asked.filter(payload__deposit=str(deposit.public_id)).select_related("maker").first()


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Deposit:
    """
    Let a transfer in as two persons agreed: to the purpose of its address, or to be matched where that is nobody's.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is not kept apart any more, its network has dropped it, or the checker manages the client that it is for.
    """
    asked, by = approval.payload, approval.checker
    found = Deposit.objects.select_related("client").get(public_id=asked["deposit"])
    _check_checker(by, found)
    deposit = arrivals.let_in(found.pk, by=by, now=now) if by is not None else None
    if deposit is None:
        found.refresh_from_db()
        gone = found.state == Deposit.State.HELD
        why = "dropped by its network: nothing is there" if gone else found.get_state_display().lower()
        raise approvals.UnableToApprove(f"the deposit is {why} by now")
    facts = {"maker": approval.maker.email, "quantity": asked["quantity"], "asset": asked["asset"]}
    audit.write("deposit_let_in", actor=by, obj=deposit, after=facts, reason=asked["reason"], now=now)
    return deposit


@transaction.atomic
def carry_out_booking(approval: Approval, *, now: datetime) -> Deposit:
    """
    Book a transfer out as two persons agreed: it is in custody no more, and nobody is owed it.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is not kept apart any more, or the checker manages the client that it is for.
    """
    asked, by = approval.payload, approval.checker
    deposit = Deposit.objects.select_for_update(of=("self",)).select_related("client").get(public_id=asked["deposit"])
    _check_checker(by, deposit)
    if deposit.state != Deposit.State.HELD:
        raise approvals.UnableToApprove(f"the deposit is {deposit.get_state_display().lower()} by now")
    name = f"{deposit.custodian}:{deposit.custodian_ref}"
    booked = Entry.objects.get(idempotency_key=f"deposit:{name}")
    ledger.reverse(booked, key=f"booked_out:{name}", cause=asked["as"], actor=by, now=now)
    deposit.state = Deposit.State.BOOKED_OUT
    deposit.save(update_fields=["state"])
    arrivals.news(deposit.state, deposit, now).save()
    facts = {"maker": approval.maker.email, "quantity": asked["quantity"], "asset": asked["asset"], "as": asked["as"]}
    audit.write("deposit_booked_out", actor=by, obj=deposit, after=facts, reason=asked["reason"], now=now)
    return deposit


def _check_checker(by: User | None, deposit: Deposit) -> None:
    # The request names no client, so approvals can not know of whom its checker is the manager.
    if by is not None and deposit.client is not None and deposit.client.relationship_manager_id == by.pk:
        raise approvals.UnableToApprove(f"{by} manages {deposit.client}: somebody else decides about its transfer")


def standing(*, limit: int) -> list[Deposit]:
    """Return the transfers that are kept apart, the oldest first."""
    rows = Deposit.objects.filter(state=Deposit.State.HELD).select_related("asset", "client")
    return list(rows.order_by("seen_at", "pk")[:limit])
