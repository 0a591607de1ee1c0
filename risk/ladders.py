"""
Whether a margin account may stand on another ladder now: what a borrower has agreed to must not sell them at once.

A ladder that is nowhere tighter is always good for them, also while a call is open. A tighter one is for quiet times:
no call and no sale under way, marks that can be used, and an LTV below the margin call that it would make.
"""

from datetime import datetime

from lending.models import LadderTerms, MarginAccount
from lending.other_terms import UnableToAmend
from risk import exposures, prices
from risk.models import OPEN_CALL_STATES, MarginCall

_LEVELS = (
    "initial_ltv", "warning_ltv", "margin_call_ltv", "accelerated_ltv", "liquidation_ltv", "cure_to", "clear_ltv",
    "liquidate_to", "minimum_transfer", "gap_limit",
)  # fmt: skip
_CLOCKS = ("cure_period_s", "accelerated_cure_period_s", "final_wait_s")
_COSTS = ("liquidation_fee", "call_rounding", "clear_hold_s", "reopen_window_s")


def loosens(held: LadderTerms, wanted: LadderTerms) -> bool:
    """Return whether a ladder is nowhere tighter for a borrower than the one that holds."""
    no_less = all(getattr(wanted, name) >= getattr(held, name) for name in (*_LEVELS, *_CLOCKS))
    return no_less and all(getattr(wanted, name) <= getattr(held, name) for name in _COSTS)


def check(account: MarginAccount, wanted: LadderTerms, *, now: datetime) -> None:
    """
    Check that a margin account may stand on another ladder from now on.

    Raises
    ------
    lending.other_terms.UnableToAmend
        If a sale is under way; or the ladder is tighter and a call is open, a mark can not be used, or the account
        would be called at once.
    """
    facts = exposures.of_accounts([account], now=now)[account.pk]
    if facts.held:
        raise UnableToAmend("collateral is ordered for sale: its ladder changes when that is over")
    if loosens(account.terms, wanted):
        return
    if MarginCall.objects.filter(margin_account=account, state__in=OPEN_CALL_STATES).exists():
        raise UnableToAmend("a margin call is open: until it is over the ladder can only become looser")
    judged = exposures.judge(facts, prices.current(now=now))
    if not judged.good:
        raise UnableToAmend(
            f"a mark is {judged.quality.label.lower()}: nobody knows whether a tighter ladder would call"
        )
    if judged.exposed.exceeds(wanted.margin_call_ltv):
        raise UnableToAmend("the account would be called at once: its LTV is above the margin call of that ladder")
