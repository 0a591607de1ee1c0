"""Loans: quoted, accepted, approved, funded against a permit, due, closed. Every step is in the declared table."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from lending import access, audit, events, ids, interest, ledger, margin_accounts, outbox, permits, withdrawals
from lending.engine import entries, money
from lending.models import (
    LOAN_TRANSITIONS,
    AuditRecord,
    Client,
    Event,
    LadderTerms,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Product,
    Role,
    User,
)

OWING = (LoanState.ACTIVE, LoanState.MATURED, LoanState.DEFAULTED, LoanState.LIQUIDATING)
DEFAULT_MARGIN = Decimal("0.05")


class UnableToQuote(Exception):
    """A loan can not be quoted on these terms; the message says why."""


class UnableToMove(Exception):
    """A loan can not go from its state to the wanted one; the message says why."""


class UnableToFund(Exception):
    """A loan can not be funded; the message says why."""


def owes(loan: Loan) -> bool:
    """Return whether anything posted is still owed on a loan."""
    return bool(loan.principal_outstanding or loan.interest_due or loan.fees_due)


def locked(loan: Loan) -> Loan:
    """Return the loan as it stands, locked; the caller holds its margin account's lock."""
    rows = Loan.objects.select_for_update(of=("self",)).select_related("asset", "client", "product", "book")
    return rows.get(pk=loan.pk)


@transaction.atomic
def quote(
    *,
    client: Client,
    product: Product,
    principal: Decimal,
    annual_rate: Decimal,
    maturity_date: date,
    quoted_until: datetime,
    made_by: User,
    now: datetime,
    default_rate: Decimal | None = None,
    terms: LadderTerms | None = None,
    margin_account: MarginAccount | None = None,
    payout_address: str = "",
    public_id: UUID | None = None,
) -> Loan:
    """
    Offer a loan to a client until an instant, with a margin account of its own unless one is given.

    Without a default rate it is the annual rate plus five points; without terms the product's ladder.

    Raises
    ------
    UnableToQuote
        If the principal is not positive or finer than the asset, a rate is outside [0, 1), maturity is not after
        today, the offer ends in the past, or the margin account is another client's.
    lending.access.UnableToAccess
        If made_by is no relationship manager, or is one who does not see the client.
    """
    access.require_role(made_by, Role.RELATIONSHIP_MANAGER)
    access.require_client(made_by, client)
    with money.exact():
        default_rate = annual_rate + DEFAULT_MARGIN if default_rate is None else default_rate
    check_terms(client, product, principal, annual_rate, default_rate, margin_account)
    if maturity_date <= now.astimezone(UTC).date():
        raise UnableToQuote(f"a loan can not mature on {maturity_date}, that is not after today")
    if quoted_until <= now:
        raise UnableToQuote(f"an offer can not end in the past, at {quoted_until:%Y-%m-%d %H:%M} UTC")
    public_id = public_id or ids.new()
    if margin_account is None:
        margin_account = MarginAccount.objects.create(
            public_id=ids.derived("margin_account", public_id),
            client=client,
            terms=margin_accounts.kept(terms or product.terms),
            created_at=now,
        )
    loan = Loan.objects.create(
        public_id=public_id,
        client=client,
        margin_account=margin_account,
        product=product,
        book=product.book,
        asset=product.asset,
        principal=principal,
        annual_rate=annual_rate,
        default_rate=default_rate,
        day_count=product.day_count,
        origination_fee=product.origination_fee,
        maturity_date=maturity_date,
        quoted_until=quoted_until,
        payout_address=payout_address,
        made_by=made_by,
    )
    for record in step(loan, "", LoanState.QUOTED, actor=made_by, cause="quoted", evidence={}, now=now):
        record.save(force_insert=True)
    return loan


@transaction.atomic
def accept(loan: Loan, *, by: User, now: datetime) -> Loan:
    """
    Accept an offer on behalf of its client.

    Raises
    ------
    lending.access.UnableToAccess
        If `by` may not sign for the client.
    UnableToMove
        If the offer has ended, or the loan is not an open offer.
    """
    loan = _lock(loan)
    access.require_signer(by, loan.client)
    if loan.state == LoanState.QUOTED and now >= loan.quoted_until:
        raise UnableToMove(f"the offer ended at {loan.quoted_until:%Y-%m-%d %H:%M} UTC; ask for a new one")
    _move(loan, LoanState.ACCEPTED, actor=by, cause="accepted by the client's signer", now=now, accepted_by=by)
    return loan


@transaction.atomic
def approve(loan: Loan, *, by: User, now: datetime) -> Loan:
    """
    Approve an accepted loan as the second person.

    Raises
    ------
    lending.access.UnableToAccess
        If `by` quoted the loan, manages its client, or holds no risk role.
    UnableToMove
        If the loan is not accepted, or is approved already.
    """
    loan = _lock(loan)
    access.require_checker(by, client=loan.client, maker=loan.made_by)
    _move(loan, LoanState.APPROVED, actor=by, cause="approved by a second person", now=now, approved_by=by)
    return loan


@transaction.atomic
def collateral_pending(loan: Loan, *, actor: User | None, now: datetime) -> Loan:
    """Wait for an approved loan's collateral, and have deposit addresses opened for it at the custodian."""
    loan = _lock(loan)
    transition(loan, LoanState.COLLATERAL_PENDING, actor=actor, cause="waiting for collateral", now=now)
    account = str(loan.margin_account.public_id)
    # Per loan, not per account: a second loan of a pool may be in another asset.
    outbox.put("custody.address", {"margin_account": account}, key=f"address:{loan.public_id}", now=now)
    return loan


@transaction.atomic
def fund(loan: Loan, *, permit: permits.Permit, actor: User, now: datetime) -> Loan:
    """
    Lend the principal: credit it to the client's free balance less the origination fee, and send it on its way.

    Raises
    ------
    UnableToFund
        If the margin account is frozen, the maturity date has come, or the actor also made or approved the loan.
    UnableToMove
        If the loan does not wait for collateral.
    lending.permits.UnableToVerify
        If the permit does not allow the draw.
    lending.access.UnableToAccess
        If the actor does not hold the operations role.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = locked(loan)
    access.require_role(actor, Role.OPERATIONS)
    check_funding(account, loan, permit, actor, now=now)
    draft, net = disbursement(loan, now=now)
    ledger.post(draft, now=now, actor=actor)
    _move(
        loan,
        LoanState.ACTIVE,
        actor=actor,
        cause="funded",
        evidence={"snapshot": permit.snapshot_id, "permit_version": permit.version},
        now=now,
        start_at=now,
        accrued_at=now,
        principal_outstanding=loan.principal,
    )
    margin_accounts.touch(account)
    if loan.payout_address:
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


def check_funding(account: MarginAccount, loan: Loan, permit: permits.Permit, actor: User, *, now: datetime) -> None:
    """Check that a locked loan may be funded by somebody of operations, as `fund` says."""
    _check_declared(loan, LoanState.ACTIVE, only_from=LoanState.COLLATERAL_PENDING)
    if actor.pk == loan.approved_by_id:
        raise UnableToFund(f"{actor} approved this loan and can not also fund it")
    if actor.pk == loan.made_by_id:
        raise UnableToFund(f"{actor} made this loan and can not also fund it")
    if account.frozen:
        raise UnableToFund("the margin account is frozen")
    if now >= interest.maturity_at(loan):
        raise UnableToFund(f"the loan was to mature on {loan.maturity_date}: quote it anew")
    permits.verify(permit, account, permits.DRAW, loan.asset, loan.principal, now=now)


def disbursement(loan: Loan, *, now: datetime) -> tuple[entries.Draft, Decimal]:
    """Return the entry that lends a loan's principal, and what of it is left after the origination fee."""
    with money.exact():
        fee = money.quantize_up(loan.principal * loan.origination_fee, loan.asset.decimals)
        net = loan.principal - fee
    heading = entries.Heading(
        key=f"disbursement:{loan.public_id}",
        effective_at=now,
        book_id=loan.book_id,
        client_id=loan.client_id,
        loan_id=loan.pk,
    )
    draft = entries.disbursement(heading, asset=loan.asset.code, principal=loan.principal, origination_fee=fee)
    return draft, net


def cancel(loan: Loan, *, actor: User, cause: str, now: datetime) -> Loan:
    """Drop a loan that was not funded; UnableToMove when it was."""
    with transaction.atomic():
        loan = _lock(loan)
        transition(loan, LoanState.CANCELLED, actor=actor, cause=cause, now=now)
    return loan


def mature_due(*, now: datetime) -> int:
    """Move loans whose maturity has come to MATURED, and those unpaid a day later to DEFAULTED; return how many."""
    today = now.astimezone(UTC).date()
    due = Q(state=LoanState.ACTIVE, maturity_date__lte=today) | Q(state=LoanState.MATURED, maturity_date__lt=today)
    return sum(_mature(loan, now) for loan in Loan.objects.filter(due).order_by("margin_account_id", "pk"))


def close_due(*, now: datetime) -> int:
    """Close repaid loans whose collateral has gone back to the client, and return how many."""
    pledged = Q(margin_account__pledges__quantity__gt=0) | Q(margin_account__pledges__held_quantity__gt=0)
    ready = Loan.objects.filter(state__in=(LoanState.REPAID, LoanState.RECOVERED)).exclude(pledged)
    return sum(_close(loan, now) for loan in ready.order_by("margin_account_id", "pk"))


def transition(
    loan: Loan,
    state: LoanState,
    *,
    actor: User | None,
    cause: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """
    Move a loan to a state that the declared table allows, and remember actor, cause and evidence.

    Raises
    ------
    UnableToMove
        If the table has no such step, or somebody else moved the loan meanwhile.
    """
    _move(loan, state, actor=actor, cause=cause, now=now, evidence=evidence)


@transaction.atomic
def _mature(loan: Loan, now: datetime) -> int:
    loan = _lock(loan)
    moved = 0
    if loan.state == LoanState.ACTIVE and now >= interest.maturity_at(loan):
        transition(loan, LoanState.MATURED, actor=None, cause="maturity date", now=now)
        moved = 1
    if loan.state == LoanState.MATURED and now >= interest.default_at(loan):
        transition(loan, LoanState.DEFAULTED, actor=None, cause="unpaid a day after maturity", now=now)
        moved = 1
    if moved:
        MarginAccount.objects.filter(pk=loan.margin_account_id).update(version=F("version") + 1)
    return moved


@transaction.atomic
def _close(loan: Loan, now: datetime) -> int:
    loan = _lock(loan)
    if loan.state not in (LoanState.REPAID, LoanState.RECOVERED) or owes(loan):
        return 0
    transition(loan, LoanState.CLOSED, actor=None, cause="repaid and collateral returned", now=now)
    return 1


def _lock(loan: Loan) -> Loan:
    margin_accounts.lock(loan.margin_account_id)
    return locked(loan)


def _move(
    loan: Loan,
    state: LoanState,
    *,
    actor: User | None,
    cause: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """Move a loan as `transition` does, and set what becomes known with the step in the same statement."""
    _check_declared(loan, state)
    before = loan.state
    if not Loan.objects.filter(pk=loan.pk, state=before).update(state=state, **values):
        raise UnableToMove(f"{loan} is no longer {LoanState(before).label.lower()}")
    for name, value in {"state": state, **values}.items():
        setattr(loan, name, value)
    for record in step(loan, before, state, actor=actor, cause=cause, evidence=evidence or {}, now=now):
        record.save(force_insert=True)


def _check_declared(loan: Loan, state: LoanState, *, only_from: LoanState | None = None) -> None:
    wrong_start = only_from is not None and loan.state != only_from
    if wrong_start or (LoanState(loan.state), LoanState(state)) not in LOAN_TRANSITIONS:
        now_is, wanted = LoanState(loan.state).label.lower(), LoanState(state).label.lower()
        raise UnableToMove(f"{loan} is {now_is} and can not become {wanted}")


def check_terms(
    client: Client,
    product: Product,
    principal: Decimal,
    annual_rate: Decimal,
    default_rate: Decimal,
    margin_account: MarginAccount | None,
) -> None:
    """Check the terms of an offer as `quote` says."""
    asset = product.asset
    if not money.is_positive(principal) or principal != money.quantize_down(principal, asset.decimals):
        raise UnableToQuote(f"{principal} is not a principal that {asset.code} allows ({asset.decimals} decimals)")
    if not 0 <= annual_rate < 1:
        raise UnableToQuote(f"{annual_rate} is not an annual rate; 8.5 % is 0.085")
    if not annual_rate <= default_rate < 1:
        raise UnableToQuote(f"a default rate of {default_rate} is below the annual rate, or not a rate")
    if margin_account is not None and margin_account.client_id != client.pk:
        raise UnableToQuote("the margin account is another client's")


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
