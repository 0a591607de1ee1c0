"""Offers: loans quoted to a client, accepted by a signer, approved by a second person, waiting for collateral."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from lending import (
    access,
    allow_list,
    authority,
    benchmarks,
    ids,
    loans,
    margin_accounts,
    obligations,
    onboarding,
    outbox,
    products,
    reasons,
    schedules,
    screening,
    term_sheets,
)
from lending.engine import figures, floating, money, periods
from lending.engine.terms import UnableToWrite
from lending.models import (
    Client,
    JointSignature,
    LadderTerms,
    Loan,
    LoanState,
    MarginAccount,
    Product,
    Role,
    ScheduleKind,
    SigningRule,
    User,
)

DEFAULT_MARGIN = Decimal("0.05")
_FAR_OFF = f"more than {periods.MOST_YEARS} years off"
REASON_LENGTH = 160  # of why a client does not take an offer: it stands in the cause of the loan's step


class UnableToQuote(Exception):
    """A loan can not be quoted on these terms; the message says why."""


@transaction.atomic
def quote(
    *,
    client: Client,
    product: Product,
    principal: Decimal,
    annual_rate: Decimal | None,
    maturity_date: date | None,
    quoted_until: datetime,
    made_by: User,
    now: datetime,
    default_rate: Decimal | None = None,
    spread: Decimal | None = None,
    step_up: Decimal = money.ZERO,
    step_up_date: date | None = None,
    terms: LadderTerms | None = None,
    margin_account: MarginAccount | None = None,
    opens_pool: bool = False,
    payout_address: str = "",
    collateral: Mapping[str, Decimal] | None = None,
    public_id: UUID | None = None,
) -> Loan:
    """
    Offer a loan to a client until an instant, with a margin account of its own unless the client's pool is given.

    Its term sheet is drawn first: the loan's columns and its ladder are read from that. Without a default rate it is
    the annual rate plus five points; without terms the product's ladder, or the pool's. `opens_pool` says that later
    loans may share the account that is made for it, with the collateral and the ladder. `collateral` is what is
    expected, in units by asset code. Of a product whose rate floats no rate is given: until the first reset it is
    what the newest fixing comes to with the spread, without another one the product's.

    Raises
    ------
    UnableToQuote
        If compliance has stopped the client's business, it is not onboarded or not eligible, the principal is not
        positive or finer than the asset, a rate is outside [0, 1) or finer than the books keep it, missing, or given
        though it floats, a step-up is none that `check_step_up` takes, the maturity is not one that `check_end` takes,
        the offer ends in the past, the asset can not be sent to the payout address, or the margin account is none that
        `check_pool` takes.
    lending.access.UnableToAccess
        If made_by is no relationship manager, or is one who does not see the client.
    """
    access.require_role(made_by, Role.RELATIONSHIP_MANAGER)
    access.require_client(made_by, client)
    try:
        screening.check_new_business(client)
    except screening.UnableToDeal as refusal:
        raise UnableToQuote(str(refusal)) from refusal
    spread = product.spread if spread is None else spread
    annual_rate = first_rate(product, annual_rate, spread, now=now)
    check_step_up(product, step_up, step_up_date, maturity_date, now=now)
    check_terms(product, principal, annual_rate)
    default_rate = rate_in_default(annual_rate, default_rate)
    if margin_account is not None:
        margin_account = margin_accounts.lock(margin_account.pk)
        check_pool(margin_account, client, product, terms)
    if reason := onboarding.refusal(client, product, now=now):
        raise UnableToQuote(reason)
    check_end(product, maturity_date, now=now)
    if quoted_until <= now:
        raise UnableToQuote(f"an offer can not end in the past, at {quoted_until:%Y-%m-%d %H:%M} UTC")
    public_id = public_id or ids.new()
    ladder = margin_account.terms if margin_account else terms or product.terms
    kind = MarginAccount.Kind.POOL if margin_account or opens_pool else MarginAccount.Kind.RING_FENCED
    drawn = drawn_sheet(
        public_id=public_id,
        client=client,
        product=product,
        loan_terms={
            "principal": principal,
            "annual_rate": annual_rate,
            "default_rate": default_rate,
            "spread": spread,
            "step_up": step_up,
            "step_up_date": step_up_date,
            "maturity_date": maturity_date,
            "quoted_until": quoted_until,
            "payout_address": payout_address,
        },
        ladder=ladder,
        kind=kind,
        collateral=collateral,
        haircuts=haircuts_in(margin_account, product),
        now=now,
    )
    if margin_account is None:
        margin_account = MarginAccount.objects.create(
            public_id=ids.derived("margin_account", public_id),
            client=client,
            kind=kind,
            terms=margin_accounts.kept(ladder, drawn.ladder),
            pledge_terms=product.pledge_terms,
            created_at=now,
        )
    loan = Loan.objects.create(
        public_id=public_id,
        client=client,
        margin_account=margin_account,
        product=product,
        book=product.book,
        asset=product.asset,
        made_by=made_by,
        default_at=obligations.default_of(drawn.loan),
        **drawn.loan,
    )
    term_sheets.new(loan, drawn, made_by=made_by, now=now).save(force_insert=True)
    for record in loans.step(loan, "", LoanState.QUOTED, actor=made_by, cause="quoted", evidence={}, now=now):
        record.save(force_insert=True)
    return loan


def drawn_sheet(
    *,
    product: Product,
    loan_terms: Mapping[str, Any],
    haircuts: Mapping[str, Decimal] | None = None,
    now: datetime,
    **sheet: Any,
) -> term_sheets.Drawn:
    """
    Return the term sheet of an offer whose terms are checked, as `term_sheets.draw` does; UnableToQuote if none.

    Haircuts are the product's, unless others were agreed.
    """
    given = {name: getattr(product, name) for name in products.TERMS}
    given |= {"step_up": money.ZERO, "step_up_date": None, **loan_terms}
    off = products.haircuts(product) if haircuts is None else haircuts
    if given["payout_address"]:
        given["payout_address"] = allow_list.kept(product.asset, given["payout_address"], UnableToQuote)
    try:
        return term_sheets.draw(product=product, loan_terms=given, haircuts=off, now=now, **sheet)
    except (UnableToWrite, schedules.UnableToSchedule) as refusal:
        raise UnableToQuote(str(refusal)) from refusal


@transaction.atomic
def accept(loan: Loan, *, by: User, now: datetime, read: str | None = None) -> Loan:
    """
    Accept an offer on behalf of its client, which binds the signer to the hash of its term sheet.

    Where two sign jointly, it stays an offer until the second has signed the same sheet.

    `read` is the hash of the sheet that the signer had in sight, where the door knows it.

    Raises
    ------
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    lending.loans.UnableToMove
        If the offer has ended, the loan is not an open offer, its sheet is no longer the one that was read, or the
        client is not onboarded or not eligible by now.
    """
    loan = loans.lock(loan)
    access.require_signer(by, loan.client)  # before anything is told about the offer
    try:
        screening.check_new_business(loan.client)
    except screening.UnableToDeal as refusal:
        # Nobody is told by a page that they stand on a list.
        raise loans.UnableToMove("it can not be accepted just now; your contact at the desk knows more") from refusal
    if loan.state == LoanState.QUOTED and now >= loan.quoted_until:
        raise loans.UnableToMove(f"the offer ended at {loan.quoted_until:%Y-%m-%d %H:%M} UTC; ask for a new one")
    loans.check_declared(loan, LoanState.ACCEPTED)
    loans.check_borrower(loan, now=now)
    try:
        sheet = term_sheets.accept(loan, by=by, read=read, now=now)
    except term_sheets.UnableToAgree as refusal:
        raise loans.UnableToMove(str(refusal)) from refusal
    if sheet is None:
        return loan
    cause, evidence = "accepted by the client's signer", sheet.as_evidence
    loans.transition(loan, LoanState.ACCEPTED, actor=by, cause=cause, evidence=evidence, now=now, accepted_by=by)
    return loan


@transaction.atomic
def decline(loan: Loan, *, by: User, reason: str, now: datetime) -> Loan:
    """
    Turn an offer down on behalf of its client, for which one signature is enough; a reason may be empty.

    Raises
    ------
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    lending.loans.UnableToMove
        If the loan is not an open offer, or the reason is too long.
    """
    loan = loans.lock(loan)
    authority.require(by, loan.client, SigningRule.Action.ACCEPT, asset=loan.asset, amount=loan.principal)
    if loan.state != LoanState.QUOTED:
        raise loans.UnableToMove(f"{loan} is no offer any more: it is {loan.get_state_display().lower()}")
    why = reasons.kept(reason, loans.UnableToMove, most=REASON_LENGTH)
    cause = f"declined by the client: {why}" if why else "declined by the client"
    authority.void(loan, SigningRule.Action.ACCEPT, by=by, now=now)
    loans.transition(loan, LoanState.CANCELLED, actor=by, cause=cause, now=now)
    return loan


def accept_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Accept an offer as its second signer; lending.authority.UnableToSign if it can not be accepted any more."""
    try:
        accept(Loan.objects.get(public_id=row.content["loan"]), by=by, read=row.content["sheet"], now=now)
    except loans.UnableToMove as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


@transaction.atomic
def approve(loan: Loan, *, by: User, now: datetime) -> Loan:
    """
    Approve an accepted loan as the second person.

    Raises
    ------
    lending.access.UnableToAccess
        If `by` quoted the loan, manages its client, or holds no risk role.
    lending.loans.UnableToMove
        If the loan is not accepted, or is approved already; or the client is not onboarded or not eligible by now.
    """
    loan = loans.lock(loan)
    access.require_checker(by, client=loan.client, maker=loan.made_by)
    screening.check_new_business(loan.client)
    loans.check_borrower(loan, now=now)
    loans.transition(loan, LoanState.APPROVED, actor=by, cause="approved by a second person", now=now, approved_by=by)
    return loan


@transaction.atomic
def collateral_pending(loan: Loan, *, actor: User | None, now: datetime) -> Loan:
    """Wait for an approved loan's collateral, and have deposit addresses opened for it at the custodian."""
    loan = loans.lock(loan)
    loans.transition(loan, LoanState.COLLATERAL_PENDING, actor=actor, cause="waiting for collateral", now=now)
    account = str(loan.margin_account.public_id)
    # Per loan, not per account: a second loan of a pool may be in another asset.
    outbox.put("custody.address", {"margin_account": account}, key=f"address:{loan.public_id}", now=now)
    return loan


def check_end(product: Product, maturity_date: date | None, *, now: datetime) -> None:
    """Check that a fixed term ends on a day after today, and not too far off, of nothing else on any; UnableToQuote."""
    if not product.has_fixed_end:
        if maturity_date is not None:
            raise UnableToQuote(f"{product} has no maturity: either side ends it with {product.notice}")
    elif maturity_date is None:
        raise UnableToQuote(f"{product} is a fixed term: say on which day it matures")
    elif maturity_date <= now.astimezone(UTC).date():
        raise UnableToQuote(f"a loan can not mature on {maturity_date}, that is not after today")
    elif periods.is_far_off(maturity_date, now.astimezone(UTC).date()):
        raise UnableToQuote(f"a loan can not mature on {maturity_date}, that is {_FAR_OFF}")


def first_rate(product: Product, annual_rate: Decimal | None, spread: Decimal, *, now: datetime) -> Decimal:
    """Return what a loan of a product costs a year until its first reset: as agreed, or by the newest fixing."""
    if not product.floats:
        if annual_rate is None:
            raise UnableToQuote(f"{product} has a fixed rate: say which")
        if spread:
            raise UnableToQuote(f"{product} has a fixed rate, which is over no benchmark")
        return annual_rate
    if annual_rate is not None:
        raise UnableToQuote(f"the rate of {product} is {product.how_it_floats}: say no other")
    if not 0 <= spread < 1:
        raise UnableToQuote(f"{spread} is not a spread; 2 % is 0.02")
    known = benchmarks.Known([product.benchmark])
    today = benchmarks.fixing_date(product, now.astimezone(UTC).date())
    fixing = known.on(product.benchmark, today)
    if fixing is None:
        raise UnableToQuote(f"no fixing of {product.benchmark} is known of {today:%d %b %Y} or before: record it first")
    return floating.rate(fixing.rate, spread=spread, floor=product.rate_floor, cap=product.rate_cap)


def check_step_up(
    product: Product, step_up: Decimal, step_up_date: date | None, maturity_date: date | None, *, now: datetime
) -> None:
    """Check that a step-up is a rate from a day after today and before the maturity on, or none; UnableToQuote."""
    if not step_up and step_up_date is None:
        return
    if not 0 < step_up < 1 or step_up_date is None:
        raise UnableToQuote("a step-up is a rate above 0 and the day from which it is added: 1 % is 0.01")
    if periods.is_far_off(step_up_date, now.astimezone(UTC).date()):
        raise UnableToQuote(f"a step-up can not come on {step_up_date}, that is {_FAR_OFF}")
    if step_up_date <= now.astimezone(UTC).date() or (maturity_date and step_up_date >= maturity_date):
        raise UnableToQuote(f"a step-up on {step_up_date} is not after today and before the loan ends")
    if product.schedule_kind == ScheduleKind.EQUAL_INSTALMENT:
        raise UnableToQuote(f"{product} has equal instalments, which need one rate throughout")


def check_terms(product: Product, principal: Decimal, annual_rate: Decimal) -> None:
    """Check the terms of an offer as `quote` says."""
    asset = product.asset
    if not money.is_positive(principal) or principal != money.quantize_down(principal, asset.decimals):
        raise UnableToQuote(f"{principal} is not a principal that {asset.code} allows ({asset.decimals} decimals)")
    if not 0 <= annual_rate < 1:
        raise UnableToQuote(f"{annual_rate} is not an annual rate; 8.5 % is 0.085")


def rate_in_default(annual_rate: Decimal, agreed: Decimal | None = None) -> Decimal:
    """Return what a loan costs a year in default: as agreed, or five points more than else; UnableToQuote if none."""
    with money.exact():
        rate = annual_rate + DEFAULT_MARGIN if agreed is None else agreed
    if not annual_rate <= rate < 1:
        known, usual = figures.percent(annual_rate), ", five points above the annual one," if agreed is None else ""
        raise UnableToQuote(f"a default rate of {figures.percent(rate)}{usual} is not from {known} on and below 100 %")
    return rate


def haircuts_in(pool: MarginAccount | None, product: Product) -> dict[str, Decimal]:
    """Return the haircuts of an offer by asset code: the product's, where those of its pool do not hold already."""
    return products.haircuts(product) | (term_sheets.haircuts(pool.pk) if pool is not None else {})


def check_pool(pool: MarginAccount, client: Client, product: Product, terms: LadderTerms | None = None) -> None:
    """
    Check that another loan of a product may be secured by a margin account, on the ladder that the account has.

    A pool may call and sell sooner than the product would have it, and never later.

    Raises
    ------
    UnableToQuote
        If it is another client's, secures one loan alone, is frozen, is kept in another book, its collateral is given
        otherwise, or another ladder is wanted than the pool's.
    """
    if pool.client_id != client.pk:
        raise UnableToQuote("the margin account is another client's")
    if pool.kind != MarginAccount.Kind.POOL:
        raise UnableToQuote("that margin account secures one loan alone: another loan needs a pool")
    if pool.frozen:
        raise UnableToQuote("the pool is frozen: nothing new is secured by it")
    if margin_accounts.book_of(pool) not in (product.book, margin_accounts.house_book()):
        raise UnableToQuote(f"the pool is kept in another book than {product}")
    if pool.pledge_terms_id != product.pledge_terms_id:
        raise UnableToQuote(f"collateral of the pool is given by {pool.pledge_terms}, that of {product} is not")
    if terms is not None and (reason := margin_accounts.differs(terms, pool.terms)):
        raise UnableToQuote(f"the ladder is the pool's, which another loan does not change: {reason}")
    if later := margin_accounts.later(pool.terms, product.terms):
        raise UnableToQuote(f"the ladder of the pool is looser than that of {product}: {', '.join(later).lower()}")
