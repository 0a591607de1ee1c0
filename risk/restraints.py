"""What keeps an act that can not be taken back from being done now, each reason in words for the log."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from lending import custody
from risk import incidents, two_keys
from risk.clocks import MAX_PAUSE_S
from risk.engine.ladder import past_gap_limit
from risk.exposures import AccountFacts, Judgement
from risk.models import MarginCall, Quality, SaleCause

UNSETTLED = "what else of its collateral is being sold has to settle first"
UNHEARD = "what had arrived when two persons agreed is not credited yet, or not known"


def on_sale(facts: AccountFacts, judged: Judgement, episode: int, *, now: datetime) -> str:
    """
    Return why nothing irreversible may be done to an account at these marks; "" when it may.

    A DEGRADED mark does not stop a sale that two persons have agreed to; past the gap limit, neither does the grace
    period after an outage.
    """
    account = facts.account
    if account.frozen:
        return "the account is frozen"
    if judged.quality == Quality.DEGRADED:
        agreed = two_keys.agreed(two_keys.SALE_ON_DEGRADED, account, episode, now=now)
        return "" if agreed else two_keys.ON_DEGRADED
    if not judged.good:
        return f"a mark is {judged.quality.value}"
    if judged.in_grace:
        if not past_gap_limit(judged.exposed, facts.ladder, facts.terms.gap_limit):
            return "grace after an outage"
        return "" if two_keys.agreed(two_keys.SALE_IN_GRACE, account, episode, now=now) else two_keys.IN_GRACE
    return ""


def by_default(
    facts: AccountFacts, judged: Judgement, sold_for: Mapping[int | None, datetime], *, now: datetime
) -> str:
    """
    Return why an account is neither called nor sold for its margin beside its sale for a default; "" when it may be.

    Only where that sale pays all that the account owes, and can be made now: what holds it back holds back no other
    protection. `sold_for` is what causes of sale stand for and since when, as `sales.standing` says.
    """
    agreed = {loan: at for loan, at in sold_for.items() if loan is not None}
    if not agreed or not agreed.keys() >= {loan.pk for loan in facts.loans}:
        return ""
    waits = facts.account.frozen or not judged.good or judged.in_grace
    waits = waits or any(_unheard(facts.account.pk, at, now=now) for at in agreed.values())
    return "" if waits else incidents.FOR_DEFAULT


def on_default(cause: SaleCause, *, now: datetime) -> str:
    """
    Return why nothing is sold for a default yet; "" when it may be, and for any other sale.

    What had arrived when two persons agreed may be known to the custodian alone: its word is waited for, as with a
    deadline, for at most six hours.
    """
    return "" if cause.loan_id is None else _unheard(cause.margin_account_id, cause.declared_at, now=now)


def _unheard(margin_account_id: int, agreed_at: datetime, *, now: datetime) -> str:
    """Return UNHEARD while it is not known what had arrived at an account when its sale for a default was agreed to."""
    if now - agreed_at >= timedelta(seconds=MAX_PAUSE_S):
        return ""
    return UNHEARD if custody.unheard(margin_account_id, agreed_at) else ""


def on_expiry(call: MarginCall, *, now: datetime) -> str:
    """
    Return why a call whose deadline has passed is not expired yet; "" when it is.

    Who paid in time may be known to the custodian alone: while it is out of reach, or we were, its word is waited for,
    for at most six hours past the deadline.
    """
    if call.cure_due_at is None or now - call.cure_due_at >= timedelta(seconds=MAX_PAUSE_S):
        return ""
    return custody.unheard(call.margin_account_id, call.cure_due_at)
