"""
Many loans at once: a desk that comes with its book opens it through the same checks, in sets of statements.

What each loan goes through, and what is remembered of it, is what the verbs of `loans` do for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, prefetch_related_objects

from lending import (
    access,
    authority,
    custody,
    ids,
    ledger,
    loans,
    margin_accounts,
    obligations,
    offers,
    onboarding,
    schedules,
    screening,
    term_sheets,
    withdrawals,
)
from lending.engine import money
from lending.models import (
    AuditRecord,
    Client,
    Event,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Product,
    Role,
    SigningRule,
    TermSheet,
    TermSheetAcceptance,
    User,
)
from lending.permits import Permit

_OFFER_ENDS_AFTER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A loan that its client's manager has offered and a signer has accepted."""

    client: Client
    product: Product
    principal: Decimal
    annual_rate: Decimal
    maturity_date: date | None
    accepted_by: User
    payout_address: str = ""
    collateral: tuple[tuple[str, Decimal], ...] = ()  # what is expected, in units by asset code
    public_id: UUID


@transaction.atomic
def open_offers(offers: Sequence[Offer], *, approved_by: User, actor: User, now: datetime) -> list[Loan]:
    """
    Quote, accept and approve loans, each with a margin account of its own, and open the addresses for its collateral.

    The maker of each is its client's relationship manager. Returns the loans, waiting for collateral, in order.

    Raises
    ------
    lending.offers.UnableToQuote
        If the terms of one make no loan; nothing is written then.
    lending.access.UnableToAccess
        If a manager, signer or approver may not act for a client.
    """
    _check_people(offers, approved_by)
    _check_clients(offers, now)
    prefetch_related_objects([offer.product for offer in offers], "haircuts__asset", "asset__networks")
    drawn = [_drawn(offer, now) for offer in offers]
    made = [_offered(offer, sheet) for offer, sheet in zip(offers, drawn, strict=True)]
    accounts = MarginAccount.objects.bulk_create(
        MarginAccount(
            public_id=ids.derived("margin_account", loan.public_id),
            client_id=loan.client_id,
            terms=margin_accounts.kept(loan.product.terms, sheet.ladder),
            pledge_terms_id=loan.product.pledge_terms_id,
            shard=0,  # the database sets it
            created_at=now,
        )
        for loan, sheet in zip(made, drawn, strict=True)
    )
    for loan, account in zip(made, accounts, strict=True):
        loan.margin_account = account
    made = Loan.objects.bulk_create(made)
    signed = _signed(made, drawn, now)
    keys = [loan.pk for loan in made]
    before = LoanState.QUOTED
    remember([(loan, "", before, loan.made_by, "quoted") for loan in made], now)
    for state, cause, actors in (
        (LoanState.ACCEPTED, "accepted by the client's signer", [loan.accepted_by for loan in made]),
        (LoanState.APPROVED, "approved by a second person", [approved_by] * len(made)),
        (LoanState.COLLATERAL_PENDING, "waiting for collateral", [actor] * len(made)),
    ):
        values = {"approved_by": approved_by} if state == LoanState.APPROVED else {}
        Loan.objects.filter(pk__in=keys, state=before).update(state=state, **values)
        steps = [(loan, before, state, who, cause) for loan, who in zip(made, actors, strict=True)]
        remember(steps, now, evidence=signed if state == LoanState.ACCEPTED else None)
        before = state
    for loan in made:
        loan.state, loan.approved_by = before, approved_by
    custody.open_all(accounts, now=now)
    return made


@transaction.atomic
def fund_all(draws: Sequence[tuple[Loan, Permit]], *, actor: User, now: datetime) -> list[Loan]:
    """
    Fund loans that wait for collateral, each under its permit, and ask for the transfers out; all or none.

    Raises
    ------
    UnableToFund, UnableToMove, UnableToVerify, UnableToAccess
        As `loans.fund` does; also if a loan stands twice among them.
    """
    access.require_role(actor, Role.OPERATIONS)
    held = set(screening.held_clients())
    for loan, _ in draws:
        if loan.client_id in held:
            screening.check_money_out(loan.client)
    for client in obligations.behind({loan.client_id for loan, _ in draws}):
        loans.check_paid(client)
    if len({loan.pk for loan, _ in draws}) < len(draws):
        raise loans.UnableToFund("a loan stands twice among those to fund")
    locked = margin_accounts.lock_many(loan.margin_account_id for loan, _ in draws)
    accounts = {account.pk: account for account in locked}
    rows = Loan.objects.select_for_update(of=("self",)).select_related("asset", "client", "made_by", "book", "product")
    fresh = {row.pk: row for row in rows.filter(pk__in=[loan.pk for loan, _ in draws]).order_by("pk")}
    funded = [fresh[loan.pk] for loan, _ in draws]
    permits = [permit for _, permit in draws]
    asked = [(accounts[loan.margin_account_id], loan, one) for loan, one in zip(funded, permits, strict=True)]
    loans.check_funding(asked, actor, now=now)
    loans.check_borrower(*funded, now=now)
    lent = [loans.disbursement(loan, now=now) for loan in funded]
    ledger.post_many((draft for draft, _ in lent if draft), now=now, actor=actor)
    Loan.objects.filter(pk__in=fresh).update(
        state=LoanState.ACTIVE, start_at=now, accrued_at=now, funded_by=actor, principal_outstanding=F("principal")
    )
    for loan in funded:
        loan.state, loan.start_at, loan.accrued_at, loan.funded_by = LoanState.ACTIVE, now, now, actor
        for name, amount in loans.owed_when_funded(loan).items():
            setattr(loan, name, amount)
    for line in funded:
        if line.is_line:
            Loan.objects.filter(pk=line.pk).update(**loans.owed_when_funded(line))
    obligations.expect(schedules.write(funded, start_at=now))
    evidence = [{"snapshot": permit.snapshot_id, "permit_version": permit.version} for _, permit in draws]
    steps = [(loan, LoanState.COLLATERAL_PENDING, LoanState.ACTIVE, actor, "funded") for loan in funded]
    remember(steps, now, evidence=evidence)
    margin_accounts.touch_many(accounts)
    wanted = [
        withdrawals.Wanted(
            client=loan.client,
            asset=loan.asset,
            quantity=net,
            destination=loan.payout_address,
            purpose="disbursement",
            maker=loan.made_by,
            checker=actor,
            book_id=loan.book_id,
            key=draft.idempotency_key,
        )
        for loan, (draft, net) in zip(funded, lent, strict=True)
        if loan.payout_address and draft and net
    ]
    withdrawals.request_all(wanted, actor=actor, now=now)
    return funded


def _check_people(offers: Sequence[Offer], approved_by: User) -> None:
    clients = {offer.client.pk: offer.client for offer in offers}
    for manager in {client.relationship_manager for client in clients.values()}:
        access.require_role(manager, Role.RELATIONSHIP_MANAGER)
        mine = next(client for client in clients.values() if client.relationship_manager == manager)
        access.require_checker(approved_by, client=mine, maker=manager)
    matrices = authority.matrices(list(clients.values()))
    for offer in offers:
        asset, amount = offer.product.asset, offer.principal
        signer, matrix = offer.accepted_by, matrices[offer.client.pk]
        if matrix.signatures(signer, SigningRule.Action.ACCEPT, asset, amount) == authority.JOINTLY:
            words = f"{money.text(amount)} {asset.code}"
            raise authority.UnableToSign(f"by the authority matrix of {offer.client} two accept {words} jointly")


def _check_clients(offered: Sequence[Offer], now: datetime) -> None:
    refused = onboarding.refusals([(offer.client, offer.product) for offer in offered], now=now)
    for words in refused.values():
        raise offers.UnableToQuote(words)


def _drawn(offer: Offer, now: datetime) -> term_sheets.Drawn:
    product = offer.product
    offers.check_terms(product, offer.principal, offer.annual_rate)
    offers.check_end(product, offer.maturity_date, now=now)
    if product.floats:
        raise offers.UnableToQuote(f"the rate of {product} floats: its loans are offered one by one")
    return offers.drawn_sheet(
        public_id=offer.public_id,
        client=offer.client,
        product=product,
        loan_terms={
            "principal": offer.principal,
            "annual_rate": offer.annual_rate,
            "default_rate": offers.rate_in_default(offer.annual_rate),
            "maturity_date": offer.maturity_date,
            "quoted_until": now + _OFFER_ENDS_AFTER,
            "payout_address": offer.payout_address,
        },
        ladder=product.terms,
        collateral=dict(offer.collateral),
        now=now,
    )


def _offered(offer: Offer, sheet: term_sheets.Drawn) -> Loan:
    product = offer.product
    return Loan(
        public_id=offer.public_id,
        client=offer.client,
        product=product,
        book_id=product.book_id,
        asset=product.asset,
        made_by=offer.client.relationship_manager,
        accepted_by=offer.accepted_by,
        default_at=obligations.default_of(sheet.loan),
        **sheet.loan,
    )


def _signed(made: Sequence[Loan], drawn: Sequence[term_sheets.Drawn], now: datetime) -> list[dict[str, Any]]:
    """Write the term sheets of loans and their acceptances, and return what the steps name as their evidence."""
    sheets = TermSheet.objects.bulk_create(
        term_sheets.new(loan, sheet, made_by=loan.made_by, now=now) for loan, sheet in zip(made, drawn, strict=True)
    )
    TermSheetAcceptance.objects.bulk_create(
        term_sheets.acceptance(sheet, signer=sheet.loan.accepted_by, now=now)  # type: ignore[arg-type]
        for sheet in sheets
    )
    return [sheet.as_evidence for sheet in sheets]


def remember(
    steps: Sequence[tuple[Loan, str, str, User | None, str]],
    now: datetime,
    *,
    evidence: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Write down steps of loans as `loans.step` says: the loan, from which state to which, by whom and why."""
    facts = evidence or [{}] * len(steps)
    records = [
        loans.step(loan, before, after, actor=who, cause=cause, evidence=known, now=now)
        for (loan, before, after, who, cause), known in zip(steps, facts, strict=True)
    ]
    LoanEvent.objects.bulk_create(record for record, _, _ in records)
    Event.objects.bulk_create(told for _, told, _ in records)
    AuditRecord.objects.bulk_create(trail for _, _, trail in records)
