"""
Sales for a default: what a loan in default owes, paid out of its collateral because two persons have agreed to it.

A default is no breach: the LTV may be low, so nothing sells by itself. Risk asks and the head of risk agrees; that is
the declared cause, and from there the sale goes the way of every other: smallest first, good marks, two bids, the
waterfall. It pays the loan off and stops there. Who pays before it is sold stops it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import CharField, Exists, Max, OuterRef, Value
from django.db.models.functions import Cast, Concat

from lending import access, approvals, events, loans, notices, reasons
from lending.engine import figures, money
from lending.interest import Debt
from lending.models import WHOLE, Approval, Loan, LoanState, Notice, Obligation, User
from lending.notices import Letter
from risk import exposures, incidents, letters, margin_calls, prices, restraints
from risk.exposures import AccountFacts, Judgement
from risk.models import DecisionLog, MarginCall, MarginState, MarginStatus, SaleCause

KIND = "sell_for_default"
ASKERS = access.RISK_ROLES
REASON_LENGTH = 400
_Kind, _Asked = SaleCause.Kind, Obligation.Kind
_CAUSES = {_Asked.MATURITY: _Kind.MATURITY_DEFAULT, _Asked.RECALL: _Kind.RECALL_DEFAULT}
_BREACHED = (MarginState.CALL, MarginState.ACCELERATED, MarginState.LIQUIDATE)


class UnableToSell(Exception):
    """No sale for a default can be asked for; the message says why."""


def default_of(loan: Loan) -> Obligation | None:
    """
    Return what a loan's default rests on: what it was to pay and has not paid by the end of its grace.

    `told` says whether its client has received the letter of it: not of an earlier default that was undone.
    """
    letter = Concat(Value(f"loan_default:{loan.public_id}:"), Cast("due_date", CharField()), Value(":"))
    received = Notice.objects.filter(client=loan.client_id, kind="loan_default", deemed_received_at__isnull=False)
    rows = Obligation.objects.filter(loan=loan, state=Obligation.State.DEFAULTED).annotate(letter=letter)
    of_it = received.filter(key__startswith=OuterRef("letter"), created_at__gte=OuterRef("default_at"))
    told = rows.annotate(told=Exists(of_it))
    return told.order_by("-default_at", "-pk").first()


def waiting(loan: Loan, *, now: datetime) -> Approval | None:
    """Return the request to sell for a loan's default that nobody has decided yet."""
    asked = Approval.objects.filter(kind=KIND, client=loan.client_id, payload__loan=str(loan.public_id))
    undecided = asked.filter(state=Approval.State.REQUESTED, expires_at__gt=now)
    return undecided.select_related("maker").order_by("pk").first()


def may_be_sold(loan: Loan, *, now: datetime) -> bool:
    """Return whether a loan's collateral may be, or is being, sold for a default of its own: it asks nothing."""
    states = (LoanState.DEFAULTED, LoanState.LIQUIDATING)
    return loan.state in states and loan.default_at is not None and loan.default_at <= now


def of_accounts(account_ids: Collection[int]) -> list[SaleCause]:
    """Return the causes of sale that stand on some accounts, with who agreed to each; it asks nothing about none."""
    found = SaleCause.objects.filter(margin_account__in=account_ids, closed_at=None)
    found = found.select_related("loan__asset", "approval__maker", "approval__checker").order_by("declared_at", "pk")
    return list(found) if account_ids else []


def for_default(debts: Iterable[Debt], *, now: datetime) -> list[SaleCause]:
    """Return the sales for a default that are under way among what is owed; it asks nothing where none may be."""
    accounts = {loan.margin_account_id for loan, _payoff in debts if may_be_sold(loan, now=now)}
    return [cause for cause in of_accounts(accounts) if cause.loan_id is not None]


def why_not(loan: Loan, row: Obligation | None, cause: SaleCause | None) -> str:
    """Return why nothing more can be sold for a loan's default on `row`, beside a cause that stands; "" when it can."""
    if loan.state != LoanState.DEFAULTED or row is None:
        return f"it is {loan.get_state_display().lower()}: nothing is sold for a default"
    if cause is not None:
        return f"collateral is being sold already: {cause.get_kind_display().lower()}"
    if not row.told:  # type: ignore[attr-defined]
        return "the letter that told its client of the default has no evidence of delivery on two channels yet"
    return ""


def _stands(loan: Loan) -> tuple[Obligation | None, str]:
    """Return what a loan's default rests on, and why nothing can be sold for it."""
    row = default_of(loan)
    return row, why_not(loan, row, next(iter(of_accounts([loan.margin_account_id])), None))


def ask(loan: Loan, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask the head of risk to let collateral be sold for a loan's default, as much as pays it off.

    Raises
    ------
    UnableToSell
        If the loan is not in default, its client has not received the letter that says so, a sale is under way, it
        was asked for already, or no reason is given, or too long a one.
    lending.access.UnableToAccess
        If the maker is not of risk.
    """
    access.require_role(maker, *ASKERS)
    said = reasons.kept(reason, UnableToSell, missing="say why: the second person reads it", most=REASON_LENGTH)
    row, refusal = _stands(loan)
    if refusal or row is None:
        raise UnableToSell(refusal)
    if waiting(loan, now=now) is not None:
        raise UnableToSell("it was asked for already, and waits for the head of risk")
    payload = {"loan": str(loan.public_id), **_meant(row), "reason": said}
    return approvals.request(KIND, payload, maker=maker, now=now, client=loan.client)


def _meant(row: Obligation) -> dict[str, str]:
    """Return which default is meant: the same sum may be in default a second time, when its first was undone."""
    return {"asked_for": row.due_date.isoformat(), "what": row.kind, "default_at": row.default_at.isoformat()}


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> SaleCause:
    """
    Declare a loan's default as the cause of a sale, as two persons agreed; the next round orders it.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the loan is not in that default any more, its collateral is being sold already, or the request is from
        before requests said which default they mean.
    """
    asked = approval.payload
    loan = Loan.objects.get(public_id=asked["loan"])
    facts = exposures.load_locked([loan.margin_account_id], now=now)[loan.margin_account_id]
    loan = loans.locked(loan)
    row, refusal = _stands(loan)
    if refusal or row is None:
        raise approvals.UnableToApprove(refusal)
    if "default_at" not in asked:
        raise approvals.UnableToApprove("the request does not say since when the loan is in default: ask for it anew")
    if not _meant(row).items() <= asked.items():
        raise approvals.UnableToApprove("the default that was meant is over; it is in another by now")
    marks = prices.current(now=now)
    judged = exposures.judge(facts, marks)
    owed = next((payoff.total for debt, payoff in facts.debts if debt.pk == loan.pk), money.ZERO)
    status, _ = MarginStatus.objects.get_or_create(margin_account=facts.account, defaults={"since": now})
    cause = SaleCause.objects.create(
        client_id=loan.client_id,
        margin_account=facts.account,
        episode=_episode(facts, status),
        kind=_CAUSES.get(_Asked(row.kind), _Kind.PAYMENT_DEFAULT),
        loan=loan,
        approval=approval,
        snapshot=prices.snapshot(marks, now=now),
        evidence={
            "asked": money.text(row.asks),
            "paid": money.text(row.paid),
            "due_at": row.due_at.isoformat(),
            "default_at": row.default_at.isoformat(),
            "owed": money.text(owed),
            "ltv": f"{margin_calls.stored_ltv(judged):f}",
            "asked_by": approval.maker.email,
            "agreed_by": approval.checker.email if approval.checker else None,
        },
        declared_at=now,
    )
    _move_on(cause, facts, judged, status, now=now)
    notices.enqueue([_letter(loan, row, owed, key=f"default_sale:{loan.public_id}:{cause.episode}")], now=now)
    facts_told = {
        "account": str(facts.account.public_id),
        "loan": str(loan.public_id),
        "summary": f"Collateral is being sold for the default of loan {str(loan.public_id)[:8]}",
    }
    for stream in (incidents.CONSOLE, letters.client_stream(loan.client)):
        events.emit(stream, "default_sale", facts_told, client_id=loan.client_id, now=now)
    return cause


def _episode(facts: AccountFacts, status: MarginStatus) -> int:
    """Return an episode of a locked account's own for a sale without a call."""
    account = facts.account
    known = (
        status.episode,
        account.margin_calls.aggregate(last=Max("episode"))["last"],
        account.sale_causes.aggregate(last=Max("episode"))["last"],
    )
    return 1 + max(number or 0 for number in known)


def _move_on(cause: SaleCause, facts: AccountFacts, judged: Judgement, status: MarginStatus, *, now: datetime) -> None:
    """
    Have a locked account's status count the episode of a cause, so that no call to come shares it.

    Why its breach is not called is written down in that episode too: this sale, or what it was before until the next
    round says.
    """
    account = facts.account
    MarginStatus.objects.filter(margin_account=account).update(episode=cause.episode)
    called = MarginCall.objects.filter(margin_account=account, state__in=margin_calls.RUNNING)
    if status.state not in _BREACHED or called.exists():
        return
    uncalled = DecisionLog.objects.filter(margin_account=account, episode=status.episode, decision="no_call")
    before = uncalled.filter(last_at__gte=status.since).order_by("-last_at", "-pk").values_list("reason", flat=True)
    reason = restraints.by_default(facts, judged, {cause.loan_id: now}, now=now) or before.first()
    if reason:
        incidents.log(account, cause.episode, "no_call", reason, now=now)


def _letter(loan: Loan, row: Obligation, owed: Decimal, *, key: str) -> Letter:
    name, code = str(loan.public_id)[:8], loan.asset.code
    with money.exact():
        missing = row.asks - row.paid
    asked, missing_, now_owed = (
        figures.amount(money.quantize_up(value, loan.asset.decimals), code) for value in (row.asks, missing, owed)
    )
    unpaid = f"{missing_} of it has not arrived" if row.paid else "it has not arrived"
    if row.kind in WHOLE:  # parts of what ends a loan are counted as payments before their time
        unpaid = "it has not arrived in full"
    return Letter(
        client=loan.client,
        kind="default_sale",
        subject=f"Loan {name} is in default: collateral will be sold",
        body=f"{asked} was to be paid on {row.due_at:%d %b %Y} on your loan {name}; {unpaid}. The loan has been in "
        f"default since {row.default_at:%d %b %Y %H:%M} UTC, and all of it is due. Two persons of the desk have agreed "
        f"to sell as much of its collateral as pays it off: {now_owed} at this instant.\n"
        "What you pay before that is not sold for; what is free of yours, or set aside for a margin call, pays it only "
        "when you say so. What a sale brings beyond what is owed is yours at once.",
        key=key,
        margin_account=loan.margin_account,
    )
