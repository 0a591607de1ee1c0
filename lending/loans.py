"""Loans: quoted, accepted, approved, funded against a permit, due, closed. Every step is in the declared table."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce

from lending import (
    access,
    audit,
    events,
    interest,
    ledger,
    margin_accounts,
    obligations,
    onboarding,
    one_by_one,
    permits,
    schedules,
    screening,
    withdrawals,
)
from lending.engine import entries, money
from lending.engine.chart import Category
from lending.models import (
    LOAN_TRANSITIONS,
    AuditRecord,
    Client,
    Event,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Overdue,
    Pledge,
    Role,
    TermSheetAcceptance,
    User,
)

END = Coalesce("maturity_date", "ends_on")  # of rows in order of their end; what nobody has ended comes last
# From its signature on. After that its rate, and what it was approved on, are another day's.
PAID_OUT_WITHIN = timedelta(days=14)
OWING = (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED, LoanState.DEFAULTED, LoanState.LIQUIDATING)
# A payment that comes back opens a repaid loan again, and never a closed one.
PAST_IS_OPEN = timedelta(days=60)
_PAID_OFF = (LoanState.REPAID, LoanState.RECOVERED)


class UnableToMove(Exception):
    """A loan can not go from its state to the wanted one; the message says why."""


class UnableToFund(Exception):
    """A loan can not be funded; the message says why."""


def owes(loan: Loan) -> bool:
    """Return whether anything posted is still owed on a loan."""
    return bool(loan.principal_outstanding or loan.interest_due or loan.fees_due)


def by_its_dates(loan: Loan, *, now: datetime) -> LoanState:
    """Return what a funded loan is that owes and is not in default: running, under notice, or due."""
    if now >= interest.maturity_at(loan):
        return LoanState.MATURED
    return LoanState.RECALLED if loan.ends_on else LoanState.ACTIVE


def locked(loan: Loan) -> Loan:
    """Return the loan as it stands, locked; the caller holds its margin account's lock."""
    rows = Loan.objects.select_for_update(of=("self",)).select_related("asset", "client", "product", "book")
    return rows.get(pk=loan.pk)


@transaction.atomic
def fund(loan: Loan, *, permit: permits.Permit, actor: User, now: datetime) -> Loan:
    """
    Lend the principal: credit it to the client's free balance less the origination fee, and send it on its way.

    Raises
    ------
    UnableToFund
        If something that is due of the client's loans is not paid, the margin account is frozen, the maturity date has
        come, it was signed too long ago, or the actor also made or approved the loan.
    UnableToMove
        If the loan does not wait for collateral, or the client is not onboarded or not eligible by now.
    lending.permits.UnableToVerify
        If the permit does not allow the draw.
    lending.access.UnableToAccess
        If the actor does not hold the operations role.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = locked(loan)
    access.require_role(actor, Role.OPERATIONS)
    screening.check_money_out(loan.client)
    check_paid(loan.client)
    check_funding([(account, loan, permit)], actor, now=now)
    check_borrower(loan, now=now)
    draft, net = disbursement(loan, now=now)
    if draft is not None:
        ledger.post(draft, now=now, actor=actor)
    transition(
        loan,
        LoanState.ACTIVE,
        actor=actor,
        cause="funded",
        evidence={"snapshot": permit.snapshot_id, "permit_version": permit.version},
        now=now,
        start_at=now,
        accrued_at=now,
        funded_by=actor,
        **owed_when_funded(loan),
    )
    obligations.expect(schedules.write([loan], start_at=now))
    margin_accounts.touch(account)
    if loan.payout_address and draft is not None and net:
        withdrawals.request(
            loan.client,
            loan.asset,
            net,
            destination=loan.payout_address,
            purpose="disbursement",
            maker=loan.made_by,  # who named the address
            checker=actor,
            book=loan.book,
            key=draft.idempotency_key,
            now=now,
        )
    return loan


def check_funding(wanted: Sequence[tuple[MarginAccount, Loan, permits.Permit]], actor: User, *, now: datetime) -> None:
    """Check that locked loans may be funded by somebody of operations, each under its permit, as `fund` says."""
    for account, loan, permit in wanted:
        check_declared(loan, LoanState.ACTIVE, only_from=LoanState.COLLATERAL_PENDING)
        if actor.pk == loan.approved_by_id:
            raise UnableToFund(f"{actor} approved this loan and can not also fund it")
        if actor.pk == loan.made_by_id:
            raise UnableToFund(f"{actor} made this loan and can not also fund it")
        if account.frozen:
            raise UnableToFund("the margin account is frozen")
        if now >= interest.maturity_at(loan):
            raise UnableToFund(f"the loan was to mature on {loan.maturity_date}: quote it anew")
        permits.verify(permit, account, permits.DRAW, loan.asset, loan.principal, now=now)
    signed = TermSheetAcceptance.objects.filter(sheet__loan__in=[loan.pk for _, loan, _ in wanted])
    if signed.filter(accepted_at__lte=now - PAID_OUT_WITHIN).exists():
        raise UnableToFund(f"it was signed more than {PAID_OUT_WITHIN.days} days ago: offer it anew")


def check_paid(client: Client) -> None:
    """Check that nothing that is due of a client's loans is unpaid, before more is lent to it; UnableToFund if not."""
    if why := obligations.holds_back(client):
        raise UnableToFund(f"nothing is lent while {why}")


def check_borrower(*owed: Loan, now: datetime) -> None:
    """
    Check that the clients of loans are onboarded, and eligible for what they borrow, before another step is taken.

    Raises
    ------
    UnableToMove
        If one is not; the message says what is missing and on which step of its way.
    """
    for words in onboarding.refusals([(loan.client, loan.product) for loan in owed], now=now).values():
        raise UnableToMove(words)


def owed_when_funded(loan: Loan) -> dict[str, Decimal]:
    """Return the columns of what is owed on a loan once it is funded: of a line, which is drawn later, its fee."""
    if loan.is_line:
        return {"principal_outstanding": money.ZERO, "fees_due": _origination_fee(loan)}
    return {"principal_outstanding": loan.principal}


def stays_open(loan: Loan) -> bool:
    """Return whether a loan goes on when nothing is owed on it: a line that nobody has ended."""
    return loan.is_line and loan.state == LoanState.ACTIVE


def _origination_fee(loan: Loan) -> Decimal:
    with money.exact():
        return money.quantize_up(loan.principal * loan.origination_fee, loan.asset.decimals)


def disbursement(loan: Loan, *, now: datetime) -> tuple[entries.Draft | None, Decimal]:
    """
    Return the entry that lends a loan's principal, and what of it is left after the origination fee.

    Of a line nothing is lent yet: its fee is charged, if it has one.
    """
    fee = _origination_fee(loan)
    with money.exact():
        net = loan.principal - fee
    heading = entries.Heading(
        key=f"disbursement:{loan.public_id}",
        effective_at=now,
        book_id=loan.book_id,
        client_id=loan.client_id,
        loan_id=loan.pk,
    )
    if loan.is_line and not fee:
        return None, money.ZERO
    if loan.is_line:
        charged = entries.fee(heading, asset=loan.asset.code, amount=fee, category=Category.ORIGINATION_FEE)
        return charged, money.ZERO
    draft = entries.disbursement(heading, asset=loan.asset.code, principal=loan.principal, origination_fee=fee)
    return draft, net


def close_due(*, now: datetime) -> int:
    """
    Close repaid loans whose collateral has gone back to the client, and return how many.

    The collateral of a pool stays for the other loans of it that owe: one that was repaid long enough ago is closed. So
    is one whose loss was paid: a bank may call that back, and nothing else of the loan is left to wait for.
    """
    mine = {"margin_account": OuterRef("margin_account")}
    pledged = Pledge.objects.filter(Q(quantity__gt=0) | Q(held_quantity__gt=0), **mine)
    others = Loan.objects.filter(**mine, state__in=OWING).exclude(pk=OuterRef("pk"))
    of_late = LoanEvent.objects.filter(loan=OuterRef("pk"), to_state__in=_PAID_OFF, happened_at__gt=now - PAST_IS_OPEN)
    long_ago = ~Exists(of_late.exclude(from_state=F("to_state")))
    shared = Q(Exists(others), margin_account__kind=MarginAccount.Kind.POOL)
    rows = Loan.objects.filter(state__in=_PAID_OFF).annotate(pledged=Exists(pledged))
    ready = rows.filter(Q(pledged=False, state=LoanState.REPAID) | Q(Q(pledged=False) | shared, long_ago))
    due = [(row, partial(_close, row, row.pledged, now)) for row in ready.order_by("margin_account_id", "pk")]
    return one_by_one.work(Overdue.Kind.CLOSING, due, now=now)


@transaction.atomic
def _close(loan: Loan, pledged: bool, now: datetime) -> int:
    loan = lock(loan)
    if loan.state not in _PAID_OFF or owes(loan):
        return 0
    rest = "its collateral secures other loans of the pool" if pledged else "collateral returned"
    transition(loan, LoanState.CLOSED, actor=None, cause=f"repaid and {rest}", now=now)
    return 1


def lock(loan: Loan) -> Loan:
    """Return the loan as it stands, locked after its margin account."""
    margin_accounts.lock(loan.margin_account_id)
    return locked(loan)


def transition(
    loan: Loan,
    state: LoanState,
    *,
    actor: User | None,
    cause: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """
    Move a loan to a state that the declared table allows, and remember actor, cause and evidence.

    `values` are the loan's fields that become known with the step; they are written in the same statement.

    Raises
    ------
    UnableToMove
        If the table has no such step, or somebody else moved the loan meanwhile.
    """
    check_declared(loan, state)
    before = loan.state
    if not Loan.objects.filter(pk=loan.pk, state=before).update(state=state, **values):
        raise UnableToMove(f"{loan} is no longer {LoanState(before).label.lower()}")
    for name, value in {"state": state, **values}.items():
        setattr(loan, name, value)
    obligations.follow(loan, before, state, now=now)
    for record in step(loan, before, state, actor=actor, cause=cause, evidence=evidence or {}, now=now):
        record.save(force_insert=True)


def undo_default(loan: Loan, *, default_from: datetime, actor: User | None, now: datetime) -> None:
    """
    Take a locked loan out of a default that was none: what it rested on had been paid in time.

    It is what its dates say then; one that is in sale or paid off by now stays so, and bears the default rate no more.
    """
    said, before = "what was in default had been paid in time", loan.default_at
    agreed_at = None if default_from == interest.NEVER else default_from
    if loan.state == LoanState.DEFAULTED:
        transition(loan, by_its_dates(loan, now=now), actor=actor, cause=said, now=now, default_at=agreed_at)
        return
    loan.default_at = agreed_at
    loan.save(update_fields=["default_at"])
    was, now_is = ({"default_at": at.isoformat() if at else None} for at in (before, agreed_at))
    audit.write("default_undone", actor=actor, obj=loan, before=was, after=now_is, reason=said, now=now)


def check_declared(loan: Loan, state: LoanState, *, only_from: LoanState | None = None) -> None:
    """Check that the declared table leads from a loan's state to the wanted one; UnableToMove if not."""
    wrong_start = only_from is not None and loan.state != only_from
    if wrong_start or (LoanState(loan.state), LoanState(state)) not in LOAN_TRANSITIONS:
        now_is, wanted = LoanState(loan.state).label.lower(), LoanState(state).label.lower()
        raise UnableToMove(f"{loan} is {now_is} and can not become {wanted}")


def step(
    loan: Loan,
    before: str,
    after: str,
    *,
    actor: User | None,
    cause: str,
    evidence: Mapping[str, Any],
    now: datetime,
) -> tuple[LoanEvent, Event, AuditRecord]:
    """Return what is written of a step of a loan, not yet saved: its history, the news, the audit trail."""
    record = LoanEvent(
        client_id=loan.client_id,
        loan=loan,
        from_state=before,
        to_state=after,
        actor=actor,
        cause=cause,
        evidence=dict(evidence),
        happened_at=now,
    )
    facts = {"loan": str(loan.public_id), "from": str(before), "to": str(after)}
    told = events.new("loans", str(after), facts, client_id=loan.client_id, now=now)
    was, now_is = {"state": str(before)}, {"state": str(after)}
    trail = audit.new("loan_step", actor=actor, obj=loan, before=was, after=now_is, reason=cause, now=now)
    return record, told, trail
