"""
Workouts: what the sale of all collateral left unpaid, paid after all, or given up by two persons.

The loss was taken when it was known, and the claim stands beside an allowance that values it at nothing. So what is
recovered is income of its day, and giving the claim up changes no profit. A claim bears no interest.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Case, OuterRef, QuerySet, Subquery, Sum, When

from lending import (
    access,
    approvals,
    events,
    interest,
    ledger,
    loans,
    margin_accounts,
    notices,
    obligations,
    reasons,
    repayments,
)
from lending.engine import entries, figures, money
from lending.engine.chart import AccountKind, Category
from lending.models import LOSS_OPEN, Approval, Asset, Entry, Loan, LoanState, MarginAccount, Posting, Role, User
from lending.notices import Letter

WRITE_OFF = "write_off"
ASKERS = frozenset({Role.RISK, Role.RISK_HEAD, Role.DESK_HEAD})


class UnableToWriteOff(Exception):
    """A claim can not be given up, or its loan not be closed; the message says why."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost on a loan and what of that came back, in its asset; both >= 0."""

    lost: Decimal
    recovered: Decimal

    @property
    def unpaid(self) -> Decimal:
        with money.exact():
            return self.lost - self.recovered


def loss_of(loan: Loan) -> Loss:
    """Return what was lost on a loan and what of that came back, from the ledger; zero where nothing was lost."""
    rows = Posting.objects.filter(loan=loan, category__in=(Category.CREDIT_LOSS, Category.RECOVERY))
    lost = recovered = money.ZERO
    with money.exact():
        for category, amount in rows.values_list("category", "amount"):
            if category == Category.CREDIT_LOSS:
                lost += amount
            else:
                recovered -= amount
    return Loss(lost, recovered)


def beside(rows: QuerySet[Loan]) -> QuerySet[Loan]:
    """Return loans with what their sale left unpaid as `unpaid`, in the query that reads them; None of the others."""
    taken = Posting.objects.filter(loan=OuterRef("pk"), category__in=(Category.CREDIT_LOSS, Category.RECOVERY))
    unpaid = taken.order_by().values("loan").annotate(unpaid=Sum("amount")).values("unpaid")
    return rows.annotate(unpaid=Case(When(state__in=LOSS_OPEN, then=Subquery(unpaid))))


def recoveries(loan: Loan) -> list[tuple[Entry, Decimal]]:
    """Return what was recovered of a loss and not taken back, the newest first: its entry, and how much."""
    rows = Posting.objects.filter(loan=loan, category=Category.RECOVERY, entry__reverses=None, entry__reversed_by=None)
    found = rows.select_related("entry").order_by("-entry__effective_at", "-pk")
    return [(row.entry, row.amount.copy_negate()) for row in found]


def lose(loan: Loan, unpaid: entries.Dues, *, key: str, cause: str, actor: User | None, now: datetime) -> None:
    """Book what a locked loan owes again as part of its loss, which was taken before: no more collateral is there."""
    draft = entries.shortfall(interest.heading(loan, key, now, cause=cause), asset=loan.asset.code, unpaid=unpaid)
    entry = ledger.post(draft, now=now, actor=actor)
    unpaid_again(loan, entry, unpaid.total, cause=cause, actor=actor, now=now)


def unpaid_again(loan: Loan, entry: Entry, amount: Decimal, *, cause: str, actor: User | None, now: datetime) -> None:
    """
    Open a locked loan of whose loss more is unpaid, by what an entry moved; a recovered one is broken again.

    What was written off before stays so: a claim that comes with it is given up as the rest was.
    """
    written_off = loan.events.filter(to_state=LoanState.WRITTEN_OFF).exists()
    claim = Posting.objects.filter(entry=entry, account__kind=AccountKind.DEFICIENCY_CLAIM)
    if written_off and claim.exists():
        heading = interest.heading(loan, f"write_off:{entry.idempotency_key}", now)
        ledger.post(entries.write_off(heading, asset=loan.asset.code, amount=amount), now=now, actor=actor)
    if loan.state == LoanState.RECOVERED:
        before = LoanState.WRITTEN_OFF if written_off else LoanState.WORKOUT
        loans.transition(loan, before, actor=actor, cause=cause, now=now)


def meant(account: MarginAccount, asset: Asset, said: Loan | None) -> Loan | None:
    """
    Return the loan whose loss a payment to a margin account makes good, None where it is for a loan that is owed.

    That is the loan which somebody said; without one the oldest, once nothing else is owed on the account.
    """
    margin_accounts.lock(account.pk)  # a sale may be under way
    found = Loan.objects.filter(margin_account=account, asset=asset)
    if said is None and interest.in_debt(found.filter(state__in=loans.OWING)):
        return None
    broken = found.filter(state__in=LOSS_OPEN).order_by("pk")
    return broken.filter(pk=said.pk).first() if said is not None else broken.first()


@transaction.atomic
def recover(loan: Loan, amount: Decimal, *, key: str, now: datetime, actor: User | None = None) -> Entry:
    """
    Pay what a sale left unpaid out of the client's free balance; what is more than that stays there.

    A loan of which nothing is unpaid any more is RECOVERED. The same key with the same amount pays once.

    Parameters
    ----------
    amount : Decimal
        In the loan's asset, > 0, at most the client's free balance.

    Raises
    ------
    lending.repayments.UnableToRepay
        If the amount is not positive, too fine, or more than what is free; nothing was lost on the loan, or it is
        closed; or the key was used otherwise.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = loans.locked(loan)
    unpaid = loss_of(loan).unpaid
    if first := Entry.objects.filter(idempotency_key=key).first():
        return _repeated(first, amount, unpaid)
    repayments.check_amount(loan, amount)
    if loan.state not in LOSS_OPEN:
        raise repayments.UnableToRepay(f"no loss is open on {loan}: it is {loan.get_state_display().lower()}")
    repayments.check_free(loan, amount)
    paid = min(amount, unpaid)
    draft = entries.recovery(
        interest.heading(loan, key, now),
        asset=loan.asset.code,
        amount=paid,
        claim_stands=loan.state == LoanState.WORKOUT,
    )
    entry = ledger.post(draft, now=now, actor=actor)
    margin_accounts.touch(account)
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(paid)}
    events.emit("loans", "recovery", facts, client_id=loan.client_id, now=now)
    notices.enqueue([_receipt(loan, paid, unpaid, key)], now=now)
    if paid == unpaid:
        cause = "all that the sale left unpaid is paid"
        loans.transition(loan, LoanState.RECOVERED, actor=actor, cause=cause, now=now)
    return entry


def _repeated(first: Entry, amount: Decimal, unpaid: Decimal) -> Entry:
    """Return the entry of a payment that came before under the same key; another payment is refused."""
    rows = Posting.objects.filter(entry=first, category=Category.RECOVERY)
    with money.exact():
        paid = money.ZERO - sum(rows.values_list("amount", flat=True), money.ZERO)
        if not paid or paid != min(amount, paid + unpaid):
            raise repayments.UnableToRepay(f"the key {first.idempotency_key} was used for another payment")
    return first


def waiting(loan: Loan, *, now: datetime) -> Approval | None:
    """Return the request to give a claim up that nobody has decided yet."""
    found = approvals.waiting(WRITE_OFF, now=now)
    return next((row for row in found if row.payload["loan"] == str(loan.public_id)), None)


def ask(loan: Loan, *, closes: bool, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to write off what is unpaid; `closes` says that nothing more is asked for and the loan ends.

    A loan that is written off and not closed is still owed: what its client pays is a recovery. What came to be pledged
    after the sale, or was too little to sell, goes back once the loan is closed: until then it secures what is unpaid.

    Raises
    ------
    UnableToWriteOff
        If no loss is open on it or it is written off already, it was asked for, or nothing is said of why.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    access.require_role(maker, *ASKERS)
    access.require_client(maker, loan.client)
    said = reasons.kept(reason, UnableToWriteOff, missing="say why: the second person reads it")
    _check(loan, closes=closes)
    if waiting(loan, now=now) is not None:
        raise UnableToWriteOff("it was asked for already, and waits for a second person")
    payload = {
        "loan": str(loan.public_id),
        "asset": loan.asset.code,
        "amount": money.text(loss_of(loan).unpaid),
        "closes": closes,
        "reason": said,
    }
    return approvals.request(WRITE_OFF, payload, maker=maker, now=now, client=loan.client)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Loan:
    """
    Write off what is unpaid of a loan, and close it where that was asked, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be done any more, because of what happened meanwhile.
    """
    asked = approval.payload
    loan = loans.lock(Loan.objects.get(public_id=asked["loan"]))
    try:
        _check(loan, closes=asked["closes"])
    except UnableToWriteOff as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    unpaid = loss_of(loan).unpaid
    if money.text(unpaid) != asked["amount"]:
        raise approvals.UnableToApprove(f"{figures.amount(unpaid, loan.asset.code)} are unpaid by now: ask again")
    # The reason is the desk's own: a cause is read by the client as well.
    evidence = {"approval": str(approval.public_id), "asked_by": approval.maker.email, "reason": asked["reason"]}
    step: dict[str, Any] = {"actor": approval.checker, "evidence": evidence, "now": now}
    if loan.state == LoanState.WORKOUT:
        heading = interest.heading(loan, f"write_off:{loan.public_id}", now)
        draft = entries.write_off(heading, asset=loan.asset.code, amount=unpaid)
        ledger.post(draft, now=now, actor=approval.checker)
        loans.transition(loan, LoanState.WRITTEN_OFF, cause="written off", **step)
    if asked["closes"]:
        loans.transition(loan, LoanState.CLOSED, cause="nothing more is asked for", **step)
        notices.enqueue([_letter(loan, unpaid)], now=now)
    margin_accounts.touch(margin_accounts.lock(loan.margin_account_id))
    return loan


def _check(loan: Loan, *, closes: bool) -> None:
    if loan.state not in LOSS_OPEN:
        raise UnableToWriteOff(f"no loss is open on it: it is {loan.get_state_display().lower()}")
    if loan.state == LoanState.WRITTEN_OFF and not closes:
        raise UnableToWriteOff("it is written off already")


def _receipt(loan: Loan, paid: Decimal, unpaid: Decimal, key: str) -> Letter:
    with money.exact():
        left = unpaid - paid
    name, amount = str(loan.public_id)[:8], figures.amount(paid, loan.asset.code)
    rest = f"{figures.amount(left, loan.asset.code)} are left unpaid." if left else "Nothing is left unpaid."
    return Letter(
        client=loan.client,
        kind="loss_paid",
        subject=f"{amount} paid on loan {name}",
        body=f"{amount} of what the sale of your collateral left unpaid on your loan {name} were paid. {rest}",
        key=f"recovered:{key}",
        margin_account=loan.margin_account,
    )


def _letter(loan: Loan, unpaid: Decimal) -> Letter:
    name, account = str(loan.public_id)[:8], loan.margin_account
    left = account.pledges.filter(quantity__gt=0).exists() and not obligations.secures(account)
    return Letter(
        client=loan.client,
        kind="loan_closed",
        subject=f"Loan {name} is closed",
        body=f"{figures.amount(unpaid, loan.asset.code)} of your loan {name} were left unpaid by the sale of its "
        "collateral. We ask for nothing more of it: the loan is closed."
        + (" What is still pledged for it may go back to you: ask for it on the loan's page." if left else ""),
        key=f"closed:{loan.public_id}",
        margin_account=account,
    )
