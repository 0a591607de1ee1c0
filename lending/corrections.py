"""
What was wrong about a loan's past, put right by two persons: a payment that nobody had recorded, or one that was none.

One person asks, another agrees, and then everything that followed is worked out again (`lending/replays.py`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from lending import (
    access,
    approvals,
    capitalisations,
    correction_letters,
    events,
    ledger,
    loans,
    margin_accounts,
    notices,
    obligations,
    prepayments,
    reasons,
    repayments,
    replays,
    shared_transfers,
    workouts,
)
from lending.engine import accounts, entries, money
from lending.engine.replay import Flow
from lending.models import LOSS_TAKEN, Approval, Correction, Loan, LoanState, Obligation, Repayment, Role, User
from lending.replays import Plan

PAYMENT = "back_dated_payment"
REVERSAL = "reverse_payment"
WAIVER = "waive_make_whole"
KINDS = (PAYMENT, REVERSAL, WAIVER)
ASKERS = frozenset({Role.OPERATIONS, Role.RELATIONSHIP_MANAGER})
CORRECTED = (*loans.OWING, LoanState.REPAID)
TAKEN_BACK = (*CORRECTED, *LOSS_TAKEN)  # a loss is not lived again: it is more by what is taken back
_KIND = Correction.Kind


class UnableToCorrect(Exception):
    """A loan's past can not be corrected like this; the message says why."""


def ask_payment(
    loan: Loan, amount: Decimal, *, received_at: datetime, reason: str, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person to record a payment out of the client's free balance that counts from an instant in the past.

    Raises
    ------
    UnableToCorrect
        If the payment can not be, nothing is said of how it is known, or it was asked for already.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    check_maker(loan, maker)
    said = said_of(reason)
    try:
        repayments.check(loan, amount, None, received_at, by_hand=True, agreed=True, now=now)
    except repayments.UnableToRepay as refusal:
        raise UnableToCorrect(str(refusal)) from refusal
    wanted = replanned(loan, added=prepayments.flow(loan, amount, at=received_at))
    if wanted.added.total == wanted.added.surplus:
        raise UnableToCorrect(f"nothing was owed at {received_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    payload = {
        "loan": str(loan.public_id),
        "asset": loan.asset.code,
        "amount": money.text(amount),
        "received_at": received_at.astimezone(UTC).isoformat(),
        "reason": said,
    }
    if any(_same(row.payload, payload) for row in waiting(loan, now=now)):
        raise UnableToCorrect("it was asked for already")
    return approvals.request(PAYMENT, payload, maker=maker, now=now, client=loan.client)


def ask_reversal(
    payment: Repayment, *, cause: Correction.Cause | str, reason: str, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person to take a client's payment back, as if it had never been, with all that its transfer paid.

    Its money is in the client's free balance afterwards; if the transfer that brought it came back, it leaves that too.
    Where one transfer paid several loans of a margin account, it is one act for all of them.

    Raises
    ------
    UnableToCorrect
        If it is no payment of a client, was taken back already, its loan is past correcting, the cause is none, or
        nothing is said of how it is known.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    rows = shared_transfers.together(payment)
    others = [{"loan": str(row.loan.public_id), "payment": row.key} for row in rows if row != payment]
    return ask_about(
        payment,
        REVERSAL,
        lambda loan: _check_all(payment, rows, cause),
        facts={"cause": str(cause), **({"with": others} if others else {})},
        again="it was asked for already",
        reason=reason,
        maker=maker,
        now=now,
    )


def ask_about(
    payment: Repayment,
    kind: str,
    check: Callable[[Loan], Decimal],
    *,
    again: str,
    reason: str,
    maker: User,
    now: datetime,
    facts: Mapping[str, Any] | None = None,
) -> Approval:
    """
    Ask a second person for one of the `KINDS` about a payment; `check` returns the amount that it is about.

    `again` is what is said where something is asked about it already: UnableToCorrect, as what `check` raises.
    """
    loan = payment.loan
    check_maker(loan, maker)
    said = said_of(reason)
    amount = check(loan)
    payload = {"loan": str(loan.public_id), "payment": payment.key, **(facts or {}), "reason": said}
    payload |= {"asset": loan.asset.code, "amount": money.text(amount)}
    if any(payment.key in _named(row) for row in waiting(loan, now=now)):
        raise UnableToCorrect(again)
    return approvals.request(kind, payload, maker=maker, now=now, client=loan.client)


def waiting(loan: Loan, *, now: datetime) -> list[Approval]:
    """Return the corrections of a loan that wait for a second person."""
    rows = Approval.objects.filter(
        kind__in=KINDS, client=loan.client_id, state=Approval.State.REQUESTED, expires_at__gt=now
    )
    own = str(loan.public_id)
    rows = rows.filter(Q(payload__loan=own) | Q(payload__with__contains=[{"loan": own}]))
    return list(rows.select_related("maker").order_by("requested_at", "pk"))


def foreseen(approval: Approval) -> list[tuple[Loan, Plan]]:
    """Return what a correction that is asked for would change about its loans; nothing if it can not be done now."""
    try:
        if approval.kind == PAYMENT:
            loan = Loan.objects.select_related("asset", "client").get(public_id=approval.payload["loan"])
            flow = _flow(approval)
            return [(loan, replanned(loan, added=prepayments.flow(loan, flow.amount, at=flow.at)))]
        about = _named(approval)
        payments = Repayment.objects.select_related("loan__asset", "loan__client").filter(key__in=about)
        rows = list(payments.exclude(corrections__kind=_KIND.REVERSAL).order_by("pk"))
        if len(rows) < len(about):
            return []
        if approval.kind == WAIVER:
            return [(row.loan, replanned(row.loan, freed=row)) for row in rows]
        _check_all(rows[0], rows, approval.payload["cause"])
        return [(row.loan, replanned(row.loan, taken_back=row)) for row in rows if row.loan.state in CORRECTED]
    except UnableToCorrect:
        return []


@transaction.atomic
def record_payment(approval: Approval, *, now: datetime) -> Repayment:
    """
    Record a payment of the past, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be recorded any more, because of what happened meanwhile.
    """
    loan = Loan.objects.select_related("asset", "client").get(public_id=approval.payload["loan"])
    flow = _flow(approval)
    try:
        return repayments.record(
            loan,
            flow.amount,
            key=f"back_dated:{approval.public_id}",
            received_at=flow.at,
            actor=approval.checker,
            agreed=approval,
            now=now,
        )
    except repayments.UnableToRepay as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal


@transaction.atomic
def take_back(approval: Approval, *, now: datetime) -> list[Correction]:
    """
    Take a payment back, as two persons agreed, with all that its transfer paid.

    Its entries are reversed, and the differences of everything that followed are posted. A repaid loan that owes again
    is opened as what it would be without the payment, and so is what the payment had met of what was asked for; its
    client is told of both.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be taken back any more, because of what happened meanwhile.
    """
    cause, key = Correction.Cause(approval.payload["cause"]), f"taken_back:{approval.public_id}"
    payment = payment_of(approval)
    margin_accounts.lock(payment.loan.margin_account_id)
    rows = shared_transfers.together(payment)
    made: list[Correction] = []
    try:
        _check_all(payment, rows, cause, agreed=_named(approval))
        for row in reversed(rows):  # what one left over paid the next: it comes back first
            about: dict[str, Any] = {"cause": cause, "key": key, "said": "a payment was taken back", "now": now}
            again: list[Obligation] = []
            if row.loan.state in LOSS_TAKEN:
                correction = _lose(approval, row, **about)
            else:
                correction, _, again = put_right(
                    approval,
                    row,
                    lambda payment, loan: payment.amount,
                    kind=_KIND.REVERSAL,
                    event="payment_taken_back",
                    **about,
                )
            notices.enqueue(
                [correction_letters.taken_back(correction, row, again, key=f"{key}:{row.loan.public_id}")], now=now
            )
            made.append(correction)
        if cause == Correction.Cause.BOUNCED:
            transfer = shared_transfers.of(rows[0].key)
            if transfer is not None:
                shared_transfers.give_up(transfer, payment.loan, actor=approval.checker, now=now)
    except (UnableToCorrect, shared_transfers.UnableToGiveUp) as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    return made


def payment_of(approval: Approval) -> Repayment:
    """Return the payment that a request is about."""
    return Repayment.objects.select_related("loan__asset", "entry").get(key=approval.payload["payment"])


def put_right(
    approval: Approval,
    payment: Repayment,
    check: Callable[[Repayment, Loan], Decimal],
    *,
    kind: Correction.Kind,
    cause: Correction.Cause,
    key: str,
    said: str,
    event: str,
    now: datetime,
) -> tuple[Correction, Decimal, list[Obligation]]:
    """
    Take back or free a payment that two persons agreed about, and book the differences of everything that followed.

    `check` returns the amount that it is about, which the news says. Returned are the correction, that amount, and what
    the client is asked for again.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be done any more, because of what happened meanwhile.
    """
    account = margin_accounts.lock(payment.loan.margin_account_id)
    payment.loan = loan = loans.locked(payment.loan)
    capitalisations.catch_up(loan, until=now, now=now)
    free, actor = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id)), approval.checker
    try:
        amount = check(payment, loan)
        gone = kind == _KIND.REVERSAL
        wanted = replanned(loan, taken_back=payment) if gone else replanned(loan, freed=payment)
        booked = replays.book(loan, wanted, key=key, cause=said, now=now, actor=actor, client_free=free)
    except (UnableToCorrect, replays.UnableToSettle) as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    why, at = approval.payload["reason"], payment.received_at
    row = replays.remember(
        booked, loan, kind=kind, cause=cause, reason=why, effective_at=at, now=now, payment=payment, agreed=approval
    )
    margin_accounts.touch(account)
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(amount)}
    events.emit("loans", event, facts, client_id=loan.client_id, now=now)
    if loan.state == LoanState.REPAID and loans.owes(loan):
        again = f"{said}: {cause.label}"
        loans.transition(loan, _reopened(loan, now), actor=actor, cause=again, now=now)
    elif loan.state in loans.OWING and not loans.owes(loan) and not loans.stays_open(loan):
        loans.transition(loan, LoanState.REPAID, actor=actor, cause=said, now=now)
    return row, amount, obligations.recount(loan, replays.received(loan), now=now)


def _reopened(loan: Loan, now: datetime) -> LoanState:
    """Return what a repaid loan is that owes again; one that is past its maturity has its grace before a default."""
    if loan.obligations.filter(state=Obligation.State.DEFAULTED).exists():
        return LoanState.DEFAULTED
    return loans.by_its_dates(loan, now=now)


def replanned(
    loan: Loan, *, added: Flow | None = None, taken_back: Repayment | None = None, freed: Repayment | None = None
) -> Plan:
    """Return what a changed past would change, as `replays.plan` does; UnableToCorrect once a loan's past is closed."""
    if loan.state not in CORRECTED:
        raise UnableToCorrect(f"{loan} is {loan.get_state_display().lower()}: its past is closed")
    return replays.plan(loan, added=added, taken_back=taken_back, freed=freed)


def check_maker(loan: Loan, maker: User) -> None:
    """Check that somebody may ask for a loan's past to be put right; lending.access.UnableToAccess if not."""
    access.require_role(maker, *ASKERS)
    access.require_client(maker, loan.client)


def _check_all(
    payment: Repayment,
    rows: Sequence[Repayment],
    cause: Correction.Cause | str,
    *,
    agreed: Collection[str] | None = None,
) -> Decimal:
    """
    Check that a payment can be taken back with all that its transfer paid, and return how much that transfer was.

    `agreed` are the keys of what two persons agreed to take back.
    """
    if payment not in rows:
        raise UnableToCorrect("it was taken back already")
    if agreed not in (None, {row.key for row in rows}):
        raise UnableToCorrect("a part of what its transfer paid was taken back meanwhile: ask anew")
    for row in rows:
        _check_kind(row, row.loan, cause)
    if cause == Correction.Cause.BOUNCED and shared_transfers.of(rows[0].key) is None:
        raise UnableToCorrect(shared_transfers.NONE)
    return rows[0].amount


def _named(approval: Approval) -> set[str]:
    """Return the keys of the payments that a request is about."""
    asked = approval.payload
    return {row["payment"] for row in (asked, *asked.get("with", ())) if "payment" in row}


def _check_kind(payment: Repayment, loan: Loan, cause: Correction.Cause | str) -> None:
    """Check that a payment which stands is one that can be taken back for a cause."""
    if payment.kind != Repayment.Kind.CASH:
        raise UnableToCorrect("what a sale brought is a fact and can not be taken back")
    if cause not in (Correction.Cause.WRONG, Correction.Cause.BOUNCED):
        raise UnableToCorrect("say whether it was booked wrongly or its transfer came back")
    if loan.state not in TAKEN_BACK:
        raise UnableToCorrect(f"{loan} is {loan.get_state_display().lower()}: its past is closed")


def _lose(
    approval: Approval, payment: Repayment, *, cause: Correction.Cause, key: str, said: str, now: datetime
) -> Correction:
    """Take back a payment of a loan of which a sale left something unpaid: what it had paid is left unpaid, too."""
    payment.loan = loan = loans.lock(payment.loan)
    paid, actor = replays.parts_now([payment])[payment.pk], approval.checker
    mirror = replays.take_back(payment, cause=said, now=now, actor=actor)
    if (unpaid := entries.Dues(paid.fees, paid.interest, paid.principal)).total:
        workouts.lose(loan, unpaid, key=f"lost:{payment.key}", cause=said, actor=actor, now=now)
    row = replays.remember(
        replays.Booked(None, ((payment, -paid, mirror),), money.ZERO), loan, kind=_KIND.REVERSAL, cause=cause,
        reason=approval.payload["reason"], effective_at=payment.received_at, now=now, payment=payment, agreed=approval,
    )  # fmt: skip
    margin_accounts.touch(margin_accounts.lock(loan.margin_account_id))
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(payment.amount)}
    events.emit("loans", "payment_taken_back", facts, client_id=loan.client_id, now=now)
    return row


def _flow(approval: Approval) -> Flow:
    asked = approval.payload
    return Flow(datetime.fromisoformat(asked["received_at"]), Decimal(asked["amount"]))


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one.get(name) == other[name] for name in ("amount", "received_at"))


def said_of(reason: str) -> str:
    """Return a reason that was given; UnableToCorrect for none, or one that is too long to keep."""
    return reasons.kept(reason, UnableToCorrect, missing="say how it is known")
