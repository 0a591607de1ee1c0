"""
Cures that are not final yet: what they would change, and the sale that waits for them, once, not for long.

What lacks its last confirmation counts in full; what lacks more counts where a policy of the desk says so, as far as
that says (risk/conditional_credits.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F

from lending import deposits, term_sheets
from lending.engine import money
from lending.models import Deposit, DepositAddress
from risk import letters
from risk.engine.ladder import past_gap_limit
from risk.engine.ltv import Exposure, Owed, Pledged, Position, bounded_exposure, ltv_of
from risk.exposures import AccountFacts, Judgement
from risk.models import CallEvent, ConditionalCredit, MarginCall, Quality
from risk.prices import Marks

HELD = CallEvent.SALE_HELD
WAITS = "a transfer that is not final yet would bring the LTV to where nothing is sold"


@dataclass(frozen=True, slots=True)
class _Coming:
    """A transfer on its way, and how much of it counts before it is final."""

    transfer: Deposit
    quantity: Decimal


def holds(
    call: MarginCall, facts: AccountFacts, judged: Judgement, marks: Marks, *, level: Decimal, now: datetime
) -> bool:
    """
    Return whether a sale that is due waits for what is on its way and not final yet.

    It waits if crediting that would bring the LTV to `level`, the one that triggers the sale, or below it; once per
    episode, for at most `final_wait_s` from the first instant at which it waited, and never past the gap limit. The
    first instant is written down as evidence and told to the client. The caller holds the account's lock.
    """
    terms = facts.terms
    if past_gap_limit(judged.exposed, facts.ladder, terms.gap_limit):
        return False
    begun = call.events.filter(kind=HELD).first()
    if begun is not None and now >= begun.happened_at + timedelta(seconds=terms.final_wait_s):
        return False
    coming = [found for found in _coming(call, now=now) if marks.quality(found.transfer.asset.code) == Quality.GOOD]
    if not coming:
        return False
    credited = _credited(facts, coming, marks)
    if credited.exceeds(level):
        return False
    if begun is None:
        _begin(call, facts, coming, judged.exposed, credited, level=level, now=now)
    return True


def until(call: MarginCall, events: Sequence[CallEvent], *, now: datetime) -> datetime | None:
    """Return until when the sale of a running call still waits at the latest, by the call's events; None if not."""
    begun = next((event for event in events if event.kind == HELD), None)
    if begun is None:
        return None
    end_at = begun.happened_at + timedelta(seconds=call.margin_account.terms.final_wait_s)
    return end_at if now < end_at and _coming(call, now=now) else None


def limit(call: MarginCall, *, now: datetime) -> str:
    """Return in words for how long a sale of a call that is due waits for what is on its way, as `holds` says."""
    terms = call.margin_account.terms
    begun = call.events.filter(kind=HELD).first()
    span = f"once for each margin call, for {letters.duration(terms.final_wait_s)} at most"
    if begun is not None:
        end_at = begun.happened_at + timedelta(seconds=terms.final_wait_s)
        if now >= end_at:
            return "no more: it has waited once for this margin call already"
        span = f"until {letters.instant(end_at, call.client)} at the latest"
    return f"{span}, and not if the LTV passes the liquidation level by more than {letters.percent(terms.gap_limit)}"


def counted(call: MarginCall, *, now: datetime) -> list[ConditionalCredit]:
    """Return what counts conditionally for a call now, the oldest first: what its network or the time took is none."""
    rows = ConditionalCredit.objects.filter(
        call=call, ended_at=None, until_at__gt=now, deposit__screened=True,
        deposit__confirmations__gte=F("policy__min_confirmations"),
        deposit__state__in=(Deposit.State.PENDING, Deposit.State.CONFIRMED),
    )  # fmt: skip
    return list(rows.select_related("deposit__asset", "deposit__address", "policy").order_by("begun_at", "pk"))


def _coming(call: MarginCall, *, now: datetime) -> list[_Coming]:
    """Return what is on its way to a call's account, and how much of it counts."""
    final = {row.pk: _Coming(row, row.quantity) for row in deposits.in_final_confirmation(call.margin_account_id)}
    earlier = {row.deposit_id: _Coming(row.deposit, row.quantity) for row in counted(call, now=now)}
    return list((earlier | final).values())


def _credited(facts: AccountFacts, coming: Sequence[_Coming], marks: Marks) -> Exposure:
    """Return the exposure of an account, by the worse bound, as if transfers to its addresses had been credited."""
    pledges, debts = list(facts.position.pledges), list(facts.position.debts)
    agreed = term_sheets.haircuts(facts.account.pk)
    for transfer, quantity in ((found.transfer, found.quantity) for found in coming):
        code, left = transfer.asset.code, quantity
        if transfer.address is not None and transfer.address.purpose == DepositAddress.Purpose.COLLATERAL:
            pledges = _added(pledges, code, left, agreed.get(code, term_sheets.HAIRCUT))
            continue
        for place, owed in enumerate(debts):
            paid = min(left, owed.amount) if owed.asset == code else money.ZERO
            with money.exact():
                debts[place], left = Owed(owed.asset, owed.amount - paid), left - paid
    position = Position(tuple(pledges), tuple(debts))
    worst, _best = bounded_exposure(position, {code: marks.band(code) for code in position.assets})
    return worst


def _added(pledges: list[Pledged], code: str, quantity: Decimal, haircut: Decimal) -> list[Pledged]:
    """Return pledges with more of an asset; one that is new to an account has the agreed haircut."""
    with money.exact():
        if code not in {pledge.asset for pledge in pledges}:
            return [*pledges, Pledged(code, quantity, 1 - haircut)]
        return [
            replace(pledge, quantity=pledge.quantity + quantity) if pledge.asset == code else pledge
            for pledge in pledges
        ]


def _begin(
    call: MarginCall,
    facts: AccountFacts,
    coming: Sequence[_Coming],
    stands: Exposure,
    credited: Exposure,
    *,
    level: Decimal,
    now: datetime,
) -> None:
    """Write down that a sale waits, for what and until when, and tell the client."""
    until_at = now + timedelta(seconds=facts.terms.final_wait_s)
    what = ", ".join(letters.amount(found.quantity, found.transfer.asset.code) for found in coming)
    then = letters.percent(ltv_of(credited))
    facts_kept = {
        "transfers": [found.transfer.custodian_ref for found in coming],
        "amounts": what,
        "ltv": f"{ltv_of(stands):f}",
        "ltv_credited": f"{ltv_of(credited):f}",
        "level": f"{level:f}",
        "until": until_at.isoformat(),
    }
    latest = letters.instant(until_at, call.client)
    letters.record(
        call, HELD, now=now, facts=facts_kept, public=f"The sale waits for {what}, at the latest until {latest}"
    )
    letters.told(
        call,
        "margin_call_sale_held",
        "Nothing is sold while your transfer is confirmed",
        f"Collateral would be sold now. {what} is on its way to your margin account and not final yet; with it the LTV "
        f"is {then}. So nothing is sold before it counts, at the latest until {latest}. The sale waits "
        "once for each margin call, and not if the LTV passes the liquidation level by more than "
        f"{letters.percent(facts.terms.gap_limit)}.",
        key=HELD,
        now=now,
    )
