"""Standing instructions at work: what a client has set aside cures a call as soon as that is made, and nothing more."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import CharField, Exists, Manager, OuterRef, Q, QuerySet
from django.db.models.functions import Cast, JSONObject

from lending import arrivals, collateral, margin_accounts, repayments, reserves, term_sheets
from lending.engine import money
from lending.models import Asset, Pledge, StandingInstruction
from risk import cures, letters, margin_calls
from risk.engine.cures import Way, cheapest_first
from risk.models import OPEN_CALL_STATES, CallEvent, MarginCall

logger = logging.getLogger(__name__)
# A step of the call it cured; an episode that is reopened asks for new amounts, and uses what is left then.
KIND = "standing_instruction"
_REFUSALS = (collateral.UnableToPledge, repayments.UnableToRepay)


@dataclass(slots=True)
class _Use:
    """What was used for one call, of which asset how much, and why something could not be."""

    done: Fraction
    paid: dict[str, Decimal] = field(default_factory=dict)
    added: dict[str, Decimal] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def carry_out_due(*, now: datetime) -> int:
    """Use what is set aside for every open call that has not had it yet, and return for how many calls it was."""
    set_aside = StandingInstruction.objects.filter(
        margin_account=OuterRef("margin_account"), ended_at=None, quantity__gt=0
    )
    due = MarginCall.objects.filter(Exists(set_aside), ~_carried_out(), state__in=OPEN_CALL_STATES)
    done = 0
    for key, account in list(due.order_by("issued_at", "public_id").values_list("pk", "margin_account")):
        try:
            with transaction.atomic():
                margin_accounts.lock(account)
                done += carry_out(margin_calls.locked(key), now=now)
        except Exception:
            # Whatever it is, the calls after it run against their clocks; this one is tried again with the next beat.
            logger.exception("what is set aside for call %s could not be used", key)
    return done


def carry_out(call: MarginCall, *, now: datetime) -> bool:
    """
    Use what is set aside for an open call, once for each opening of it; returns whether anything was decided.

    It is a cure like the client's own: a payment, or collateral that is added, out of the free balance, in parts of
    the amounts that the notice has fixed, the cheapest first and no more than is missing. What the desk held when the
    call was made is in time, however late a worker comes to it. The caller holds the account's lock.
    """
    rows = list(reserves.running().filter(margin_account=call.margin_account_id, quantity__gt=0).select_related("loan"))
    if not rows or call.state not in OPEN_CALL_STATES:
        return False
    if MarginCall.objects.filter(_carried_out(), pk=call.pk).exists():
        return False
    use = _used(call, rows, now=now)
    _tell(call, use, now=now)
    # The account has moved on: counted at once, as what a client sends is with the next look at the call.
    margin_calls.assess(margin_calls.locked(call.pk), now=now)
    return True


def ways(call: MarginCall, rows: Sequence[StandingInstruction]) -> dict[str, Way]:
    """Return in which ways some instructions can cure a call, by the code of their assets."""
    terms = call.margin_account.terms
    with money.exact():
        missing = call.debt_usd - terms.cure_to * call.weighted_collateral_usd
    found, named = {}, securing(call.margin_account_id)
    for row in rows:
        asset = row.asset
        if asset.pk == call.cure_asset_id:
            found[asset.code] = Way(call.cash_cure, missing, row.quantity, asset.decimals)
        elif secures(asset, named) and (whole := cures.whole(call, asset)) is not None:
            price = Decimal(call.snapshot.marks[asset.code]["price"])
            with money.exact():
                worth = whole * price
            found[asset.code] = Way(whole, worth, row.quantity, asset.decimals)
    return found


def beside(calls: QuerySet[MarginCall] | Manager[MarginCall]) -> QuerySet[MarginCall]:
    """Return calls with what is set aside for them in `set_aside`, without asking again."""
    rows = StandingInstruction.objects.filter(margin_account=OuterRef("margin_account"), ended_at=None)
    amounts = {name: Cast(name, CharField()) for name in ("quantity", "used")}
    row = JSONObject(asset="asset__code", has_used=Q(used__gt=0), **amounts)
    return calls.annotate(set_aside=ArraySubquery(rows.order_by("asset__code").values(row=row)))


def step_of(call: MarginCall, events: Sequence[CallEvent]) -> CallEvent | None:
    """Return the step of a call, by its events, in which what was set aside was used since it was last issued."""
    return next((event for event in events if event.kind == KIND and event.happened_at >= call.issued_at), None)


def securing(margin_account_id: int) -> set[str]:
    """Return the codes of what an account's sheets name as collateral, or what is pledged there."""
    pledged = Pledge.objects.filter(margin_account=margin_account_id).values_list("asset__code", flat=True)
    return {*term_sheets.haircuts(margin_account_id), *pledged}


def secures(asset: Asset, named: Collection[str]) -> bool:
    """Return whether an asset can be added to an account as a cure, by what secures that."""
    return asset.kind != Asset.Kind.FIAT and asset.code in named


def _carried_out() -> Exists:
    """Return what holds of calls that had what was set aside since they were last issued."""
    return Exists(CallEvent.objects.filter(call=OuterRef("pk"), kind=KIND, happened_at__gte=OuterRef("issued_at")))


def _used(call: MarginCall, rows: Sequence[StandingInstruction], *, now: datetime) -> _Use:
    _cash, done = cures.paid(call)
    use, by_code = _Use(done), {row.asset.code: row for row in rows}
    known = ways(call, rows)
    for code in cheapest_first(known):
        units = known[code].part(max(1 - use.done, Fraction(0)))
        if not units:
            continue
        try:
            with transaction.atomic():
                _cure(call, by_code[code], units, now=now)
        except _REFUSALS as refusal:
            use.refused.append(str(refusal))
        else:
            use.done += known[code].covers(units)
            (use.paid if _is_cash(call, by_code[code]) else use.added)[code] = units
    return use


def _cure(call: MarginCall, row: StandingInstruction, units: Decimal, *, now: datetime) -> None:
    """Pay, or add as collateral, a part of what is set aside, in time for the call's deadline."""
    in_time = min(now, call.cure_due_at or now)
    reserves.take(row, units, reason=f"call {call.public_id}", now=now)
    key = f"{KIND}:{row.public_id}:{row.steps}"
    if _is_cash(call, row):
        # Whichever of its loans the call is about: it asks for one amount for all of them.
        arrivals.repay(call.margin_account, row.asset, units, key=key, received_at=now, arrived_at=in_time, now=now)
    else:
        collateral.top_up(call.margin_account, row.asset, units, key=key, received_at=in_time, now=now)


def _is_cash(call: MarginCall, row: StandingInstruction) -> bool:
    return row.asset_id == call.cure_asset_id


def _tell(call: MarginCall, use: _Use, *, now: datetime) -> None:
    """Write down what was used for a call and what is still missing, and tell the client."""
    parts = [f"{letters.amount(units, code)} paid" for code, units in use.paid.items()]
    parts += [f"{letters.amount(units, code)} added as collateral" for code, units in use.added.items()]
    what = ", ".join(parts) or "nothing could be used"
    missing = _missing(call, use.done)
    cured = use.done >= 1
    said = "nothing is missing" if cured else f"still missing: {missing}"
    facts = {
        "reason": f"{what}; {said}",
        "paid": {code: money.text(units) for code, units in use.paid.items()},
        "added": {code: money.text(units) for code, units in use.added.items()},
        "missing": "" if cured else missing,
        "refused": use.refused,
    }
    letters.record(call, KIND, now=now, facts=facts, public=f"What was set aside: {what}; {said}")
    end = "Nothing is missing: the call is cured." if cured else f"Still missing: {missing}. Parts of several add up."
    letters.told(
        call,
        KIND,
        "Your standing instruction was carried out" + ("" if cured else ": some of the call is still missing"),
        f"What you had set aside for the margin call of {letters.instant(call.issued_at, call.client)}: {what}.\n{end}",
        key=f"{KIND}:{call.issued_at.isoformat()}",
        now=now,
    )


def _missing(call: MarginCall, done: Fraction) -> str:
    """Return in words what cures the rest of a call: each by itself."""
    cash = cures.left(call.cash_cure, done, call.cure_asset.decimals)
    demanded = call.collateral_cures.select_related("asset").order_by("asset__code")
    more = [letters.amount(cures.left(row.quantity, done, row.asset.decimals), row.asset.code) for row in demanded]
    return " or ".join([f"{letters.amount(cash, call.cure_asset.code)} in cash", *more])
