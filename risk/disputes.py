"""Disputes: a borrower's figure against ours. What they do not dispute stays due; the rest waits for an answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db import transaction

from lending import access, approvals, authority, ids, margin_accounts
from lending.engine import money
from lending.models import Approval, Asset, Pledge, PledgeMovement, SigningRule, User
from risk import exposures, incidents, letters, margin_calls, prices, waivers
from risk.models import CallState, Dispute, MarginCall, MarginState

AMEND, WITHDRAW = "dispute_amend", "dispute_withdraw"
WINDOW = timedelta(hours=4)
ANSWER_WITHIN = timedelta(hours=2)
# While what was wrong is put right, the same input must not call again.
QUIET = timedelta(hours=1)
TEXT_LENGTH = 1000
_IN = (PledgeMovement.Kind.PLEDGE, PledgeMovement.Kind.TOP_UP)
_OUT = (PledgeMovement.Kind.RELEASE, PledgeMovement.Kind.SALE, PledgeMovement.Kind.CLOSE_OUT)
_Part, _Outcome = Dispute.Part, Dispute.Outcome


class UnableToDispute(Exception):
    """A call can not be disputed, or its dispute not be answered so; the message says why."""


@dataclass(frozen=True, slots=True)
class Input:
    """One figure that a call rests on: what we took it for, and what a unit more of it changes, in USD."""

    part: str
    asset: Asset | None
    ours: Decimal
    debt_per_unit: Decimal
    weighted_per_unit: Decimal


def inputs(call: MarginCall) -> list[Input]:
    """Return the figures that a call rests on and a borrower can dispute: what is owed, prices and quantities."""
    zero, one = money.ZERO, Decimal(1)
    found = [Input(_Part.DEBT, None, call.debt_usd, one, zero)]
    pledges = Pledge.objects.filter(margin_account=call.margin_account_id).select_related("asset")
    for pledge in pledges.order_by("asset__code"):
        stated = call.snapshot.marks.get(pledge.asset.code, {}).get("price")
        quantity = _pledged_then(call, pledge.asset)
        if stated is None or quantity <= 0:
            continue
        price = Decimal(stated)
        with money.exact():
            weight = 1 - pledge.haircut
            of_price, of_quantity = weight * quantity, weight * price
        found.append(Input(_Part.PRICE, pledge.asset, price, zero, of_price))
        found.append(Input(_Part.QUANTITY, pledge.asset, quantity, zero, of_quantity))
    return found


def may_open(call: MarginCall, *, now: datetime) -> str:
    """Return why a call can not be disputed now, as far as its row tells; "" when it can."""
    if call.state not in margin_calls.RUNNING:
        return f"the call is {call.get_state_display().lower()}"
    if Dispute.objects.filter(call=call).exists():
        return "it was disputed already, and that is possible once"
    if call.received_at is not None and now > call.received_at + WINDOW:
        return "a call can be disputed within four hours of its receipt"
    if call.cure_due_at is not None and now >= call.cure_due_at:
        return "its deadline has passed"
    return ""


@transaction.atomic
def open_against(
    call: MarginCall, *, part: str, asset: Asset | None, claimed: Decimal, statement: str, by: User, now: datetime
) -> Dispute:
    """
    Dispute one figure that a call rests on; the clock stands still for the disputed part until the answer.

    Parameters
    ----------
    part, asset
        Which figure, one of `inputs`.
    claimed : Decimal
        What the borrower has it for: USD, or units of the asset.

    Raises
    ------
    UnableToDispute
        If the call is closed, late or was disputed before, the account is at its liquidation level, the figure would
        not lower the demand, or nothing is said about it.
    lending.access.UnableToAccess
        If the user may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, call.client, SigningRule.Action.DISPUTE, asset=call.cure_asset, amount=call.cash_cure)
    facts = exposures.load_locked([call.margin_account_id], now=now)[call.margin_account_id]
    call = margin_calls.locked(call.pk)
    if reason := may_open(call, now=now):
        raise UnableToDispute(reason)
    if exposures.judge(facts, prices.current(now=now)).state == MarginState.LIQUIDATE:
        raise UnableToDispute("the account is at its liquidation level: there is no time for it")
    said = _said(statement)
    figure = _input(call, part, asset)
    undisputed = _fraction(call, figure, claimed)
    row = Dispute.objects.create(
        public_id=ids.derived("dispute", call.public_id),
        client_id=call.client_id,
        call=call,
        part=part,
        asset=figure.asset,
        ours=figure.ours,
        claimed=claimed,
        statement=said,
        undisputed=money.div_up(Decimal(undisputed.numerator), Decimal(undisputed.denominator), 12),
        opened_at=now,
        opened_by=by,
        answer_due_at=now + ANSWER_WITHIN,
    )
    what = told(row)
    letters.record(
        call,
        "disputed",
        now=now,
        actor=by,
        facts={
            "what": what,
            "ours": f"{figure.ours:f}",
            "claimed": f"{claimed:f}",
            "undisputed": f"{row.undisputed:f}",
        },
        public=f"Disputed: {what}",
    )
    summary = f"{call.client} disputes {what}"
    about = {"call": str(call.public_id)}
    incidents.open_once(incidents.DISPUTE, summary[:300], now=now, margin_account=facts.account, facts=about)
    return row


def told(row: Dispute) -> str:
    """Return in words what a dispute is about."""
    if row.asset is None:
        return Dispute.Part(row.part).label
    return f"{'the price of' if row.part == _Part.PRICE else 'the quantity of'} {row.asset.code}"


@transaction.atomic
def stand(row: Dispute, *, answer: str, by: User, now: datetime) -> Dispute:
    """
    Answer that a call stands: its clock goes on.

    Raises
    ------
    UnableToDispute
        If it was answered already, ended with its call, or nothing is said.
    lending.access.UnableToAccess
        If the user is not of risk.
    """
    access.require_role(by, *access.RISK_ROLES)
    margin_accounts.lock(row.call.margin_account_id)
    row = _unanswered(row)
    return _answer(row, _Outcome.CALL_STANDS, _said(answer), maker=by, now=now)


def ask_to_amend(row: Dispute, *, agreed: Decimal, answer: str, maker: User, now: datetime) -> Approval:
    """
    Ask the head of risk to amend a call to a figure between ours and the borrower's.

    Raises
    ------
    UnableToDispute
        If it was answered or asked already, nothing is said, or the figure does not lie between, or leaves nothing due.
    lending.access.UnableToAccess
        If the maker is not of risk, or manages the client.
    """
    said = _may_give_in(row, answer, maker, now=now)
    low, high = sorted((row.ours, row.claimed))
    if not money.is_positive(agreed) or not low <= agreed <= high or agreed == row.ours:
        raise UnableToDispute("the figure must lie between ours and the borrower's")
    if _fraction(row.call, _input(row.call, row.part, row.asset), agreed) <= 0:
        raise UnableToDispute("on that figure nothing is due: withdraw the call")
    return _ask(row, AMEND, said, maker=maker, now=now, agreed=f"{agreed:f}")


def ask_to_withdraw(row: Dispute, *, answer: str, maker: User, now: datetime) -> Approval:
    """
    Ask the head of risk to withdraw a call that should not have been made.

    Raises
    ------
    UnableToDispute
        If it was answered or asked already, or nothing is said.
    lending.access.UnableToAccess
        If the maker is not of risk, or manages the client.
    """
    return _ask(row, WITHDRAW, _may_give_in(row, answer, maker, now=now), maker=maker, now=now)


def asked(row: Dispute, *, now: datetime) -> Approval | None:
    """Return the request to give in to a dispute that nobody has decided yet."""
    found = Approval.objects.filter(
        kind__in=(AMEND, WITHDRAW),
        client=row.client_id,
        state=Approval.State.REQUESTED,
        expires_at__gt=now,
        payload__dispute=str(row.public_id),
    )
    return found.select_related("maker").first()


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Dispute:
    """
    Amend or withdraw a call as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was answered meanwhile, or the call is closed or in sale.
    """
    row = Dispute.objects.select_related("call").get(public_id=approval.payload["dispute"])
    margin_accounts.lock(row.call.margin_account_id)
    try:
        row = _unanswered(row)
    except UnableToDispute as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    call = margin_calls.locked(row.call_id)
    if call.state not in margin_calls.RUNNING:
        raise approvals.UnableToApprove(f"the call is {call.get_state_display().lower()}")
    said, maker, checker = approval.payload["answer"], approval.maker, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    if approval.kind == WITHDRAW:
        row = _answer(row, _Outcome.WITHDRAWN, said, maker=maker, checker=checker, now=now)
        why = f"withdrawn after a dispute: {said}"
        waivers.grant(call, until=now + QUIET, reason=why, maker=maker, checker=checker, now=now)
        margin_calls.close(call, CallState.WITHDRAWN, "it was withdrawn after a dispute", now=now)
        return row
    agreed = Decimal(approval.payload["agreed"])
    _amend(call, row, agreed)
    row = _answer(row, _Outcome.AMENDED, said, maker=maker, checker=checker, agreed=agreed, now=now)
    margin_calls.assess(margin_calls.locked(call.pk), now=now)
    return row


def _amend(call: MarginCall, row: Dispute, agreed: Decimal) -> None:
    """Lower what a call asks for to what it would have asked on the agreed figure."""
    figure = _input(call, row.part, row.asset)
    share = _fraction(call, figure, agreed)
    call.cash_cure = _part_of(call.cash_cure, share, call.cure_asset.decimals)
    for cure in call.collateral_cures.select_related("asset"):
        cure.quantity = _part_of(cure.quantity, share, cure.asset.decimals)
        cure.save(update_fields=["quantity"])
    with money.exact():
        more = agreed - figure.ours
        call.debt_usd += more * figure.debt_per_unit
        call.weighted_collateral_usd += more * figure.weighted_per_unit
    # Counted afresh: the same payments are a larger part of less.
    call.assessed_version = 0
    call.save(update_fields=["cash_cure", "debt_usd", "weighted_collateral_usd", "assessed_version"])


def _answer(
    row: Dispute,
    outcome: Dispute.Outcome,
    said: str,
    *,
    maker: User,
    now: datetime,
    checker: User | None = None,
    agreed: Decimal | None = None,
) -> Dispute:
    """Write an answer down, tell it, and let the clock of its call go on from where it was."""
    row.outcome, row.answer, row.answered_at = outcome, said, now
    row.maker, row.checker, row.agreed = maker, checker, agreed
    row.save(update_fields=["outcome", "answer", "answered_at", "maker", "checker", "agreed"])
    call = margin_calls.locked(row.call_id)
    words = outcome.label.capitalize()
    figure = f"{agreed:f}" if agreed is not None else None
    letters.record(
        call,
        "dispute_answered",
        now=now,
        actor=checker or maker,
        facts={"outcome": outcome.value, "answer": said, "agreed": figure, "maker": maker.email},
        public=f"Dispute answered: {words}",
    )
    body = f"You disputed {told(row)}. Our answer: {words}. {said}"
    if outcome == _Outcome.AMENDED:
        body += f"\n\nThe call asks for {letters.amount(call.cash_cure, call.cure_asset.code)} in cash now."
    letters.told(call, "margin_call_dispute", f"Your dispute: {words}", body, key="dispute", now=now)
    incidents.close(incidents.DISPUTE, now=now, margin_account=call.margin_account)
    margin_calls.restart_clock(call.margin_account, now=now)
    return row


def _ask(row: Dispute, kind: str, said: str, *, maker: User, now: datetime, **more: str) -> Approval:
    payload = {"call": str(row.call.public_id), "dispute": str(row.public_id), "answer": said, **more}
    return approvals.request(kind, payload, maker=maker, now=now, client=row.call.client)


def _may_give_in(row: Dispute, answer: str, maker: User, *, now: datetime) -> str:
    """Return what a person of risk says to a dispute to which they may ask to give in."""
    access.require_role(maker, *access.RISK_ROLES)
    if row.call.client.relationship_manager_id == maker.pk:
        raise access.UnableToAccess(f"{maker} manages {row.call.client} and can not approve, release or waive for it")
    if row.outcome:
        raise UnableToDispute("it was answered already")
    if row.call.state not in margin_calls.RUNNING:
        raise UnableToDispute(f"the call is {row.call.get_state_display().lower()}: nothing of it can be given up")
    if asked(row, now=now) is not None:
        raise UnableToDispute("an answer waits for the second person already")
    return _said(answer)


def _unanswered(row: Dispute) -> Dispute:
    fresh = Dispute.objects.select_for_update(of=("self",)).select_related("asset", "call__client").get(pk=row.pk)
    if fresh.outcome:
        raise UnableToDispute("it was answered already")
    if fresh.call.closed_at is not None:
        raise UnableToDispute("it ended with its call")
    return fresh


def _input(call: MarginCall, part: str, asset: Asset | None) -> Input:
    wanted = asset.pk if asset else None
    for figure in inputs(call):
        if (figure.part, figure.asset.pk if figure.asset else None) == (part, wanted):
            return figure
    raise UnableToDispute("the call does not rest on such a figure")


def _fraction(call: MarginCall, figure: Input, value: Decimal) -> Fraction:
    """
    Return which part of a call's demand another figure would leave due, between 0 and 1.

    Raises
    ------
    UnableToDispute
        If the figure is not positive, or would not lower the demand.
    """
    if not money.is_positive(value):
        raise UnableToDispute("the figure must be a number above zero")
    target = call.margin_account.terms.cure_to
    with money.exact():
        missing = call.debt_usd - target * call.weighted_collateral_usd
        more = value - figure.ours
        left = missing + more * (figure.debt_per_unit - target * figure.weighted_per_unit)
    if left >= missing:
        raise UnableToDispute("on that figure the call would ask for no less")
    return Fraction(max(left, money.ZERO)) / Fraction(missing)


def _part_of(amount: Decimal, share: Fraction, decimals: int) -> Decimal:
    with money.exact():
        scaled = amount * share.numerator
    return money.div_up(scaled, Decimal(share.denominator), decimals)


def _pledged_then(call: MarginCall, asset: Asset) -> Decimal:
    """Return what was pledged of an asset when a call was issued."""
    moved = PledgeMovement.objects.filter(
        margin_account=call.margin_account_id, asset=asset, pk__lte=call.last_movement_id
    )
    total = money.ZERO
    with money.exact():
        for kind, quantity in moved.values_list("kind", "quantity"):
            total += quantity if kind in _IN else -quantity if kind in _OUT else 0
    return total


def _said(text: str) -> str:
    said = text.strip()
    if not said or len(said) > TEXT_LENGTH:
        raise UnableToDispute(f"say why, in at most {TEXT_LENGTH} characters")
    return said
