"""What a margin account would look like at other prices, after a top-up or a repayment: exact, and nothing is kept."""

from dataclasses import dataclass
from decimal import Decimal

from lending.engine import money
from risk import positions
from risk.engine import ltv
from risk.engine.ladder import state_of
from risk.engine.ltv import Owed, Pledged, Position
from risk.exposures import AccountFacts
from risk.models import MarginState
from risk.positions import Rung
from risk.prices import Marks


class UnableToImagine(ValueError):
    """The question has no answer: a mark can not be used, or the change is none that could be made."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    What is imagined: prices moved by ratios (> -1), units added of an asset, an amount repaid.

    `move` moves the price of all collateral; `alone` moves single assets, each by its code, on top of that.
    """

    move: Decimal = money.ZERO
    alone: tuple[tuple[str, Decimal], ...] = ()
    asset: str = ""
    added: Decimal = money.ZERO
    repaid: Decimal = money.ZERO


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the account would stand, the prices that it rests on, and the prices that would then meet each level."""

    ltv: Decimal
    state: MarginState
    debt_usd: Decimal
    collateral_usd: Decimal
    prices: tuple[tuple[str, Decimal], ...]
    rungs: tuple[Rung, ...]


def imagine(facts: AccountFacts, marks: Marks, change: Change, *, loan_asset: str) -> Outcome:
    """
    Return where a margin account would stand after a change, by the engine that decides about calls.

    A repayment reduces the debt in `loan_asset`. The prices of debts stay as they are.

    Raises
    ------
    UnableToImagine
        If a mark that matters can not be used, a price would not stay above zero, something moves or is added that
        is no collateral, or more is repaid than is owed.
    """
    if min([change.move, *(move for _code, move in change.alone)]) <= -1:
        raise UnableToImagine("a price can not fall by 100 % or more")
    position = _changed(facts, change, loan_asset)
    prices = {code: price for code in position.assets if (price := marks.price(code)) is not None}
    if missing := sorted(position.assets - prices.keys()):
        raise UnableToImagine(f"there is no usable mark of {' and '.join(missing)} now")
    held = sorted({pledge.asset for pledge in position.pledges if pledge.quantity})
    moving, alone = [code for code in held if code != loan_asset], dict(change.alone)
    if strange := sorted(alone.keys() - moving):
        raise UnableToImagine(f"{' and '.join(strange)} is not among the collateral whose price can move")
    with money.exact():
        prices |= {code: prices[code] * (1 + change.move) * (1 + alone.get(code, money.ZERO)) for code in moving}
    exposed = ltv.exposure(position, prices)
    return Outcome(
        ltv=ltv.ltv_of(exposed),
        state=MarginState(state_of(exposed, facts.ladder).value),
        debt_usd=exposed.debt,
        collateral_usd=exposed.market,
        prices=tuple((code, prices[code]) for code in held),
        rungs=positions.rungs_of(facts.terms, position, prices),
    )


def _changed(facts: AccountFacts, change: Change, loan_asset: str) -> Position:
    held = {pledge.asset: pledge for pledge in facts.position.pledges}
    if change.added:
        if change.asset not in held:
            raise UnableToImagine(f"{change.asset or 'nothing'} is not among the collateral of this loan")
        was = held[change.asset]
        with money.exact():
            held[change.asset] = Pledged(was.asset, was.quantity + change.added, was.weight)
    left, debts = change.repaid, []
    for owed in facts.position.debts:
        part = min(left, owed.amount) if owed.asset == loan_asset else money.ZERO
        with money.exact():
            left -= part
            debts.append(Owed(owed.asset, owed.amount - part))
    if left > 0:
        raise UnableToImagine(f"{left.normalize():,f} {loan_asset} more than is owed")
    return Position(tuple(held.values()), tuple(debts))
