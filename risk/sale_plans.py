"""The smallest sale that restores an account: which asset, how much, at what expected cost, and when none does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lending.engine import money
from lending.models import Asset, Loan, Pledge
from risk import exposures
from risk.engine import sizing
from risk.engine.sizing import Impact, Refusal, Sale, SaleTerms, UnableToRestore
from risk.exposures import AccountFacts, Judgement
from risk.models import AssetPolicy
from risk.prices import Marks

BPS = Decimal(10_000)
# Collateral worth less is dust: nobody pays for it, so it is neither sold nor waited for.
LEAST_VALUE_USD = Decimal("0.01")
# Selling an account out above this size takes two persons.
FULL_CLOSE_LIMIT_USD = Decimal(5_000_000)


class UnableToPlan(Exception):
    """No sale may be made of this account; the message says why."""


@dataclass(frozen=True, slots=True)
class Aim:
    """
    What a sale is to reach: a debt in USD that is at most a share of what is left of the weighted collateral.

    A sale for a default pays the loan off, whatever the LTV: a share of 0, and the collateral that stays counts for
    nothing. `owed_in` are the codes of the assets that it pays in: what buying them costs is part of its cost.
    """

    debt: Decimal
    weighted: Decimal
    target: Decimal
    owed_in: frozenset[str]

    @property
    def gap(self) -> Decimal:
        """Return what is still to be closed; 0 or less when nothing has to be sold."""
        with money.exact():
            return self.debt - self.target * self.weighted


def to_restore(facts: AccountFacts, judged: Judgement) -> Aim:
    """Return what a sale is to reach that gives an account its margin back."""
    return Aim(judged.exposed.debt, judged.exposed.weighted, facts.terms.liquidate_to, _codes(facts.loans))


def to_pay_off(facts: AccountFacts, loans: Sequence[Loan], marks: Marks) -> Aim:
    """Return what a sale is to reach that pays some loans of an account off."""
    return Aim(exposures.owed_usd(facts, loans, marks), money.ZERO, money.ZERO, _codes(loans))


def _codes(loans: Iterable[Loan]) -> frozenset[str]:
    return frozenset(loan.asset.code for loan in loans)


@dataclass(frozen=True, slots=True)
class Lot:
    """One asset of an account that may be sold, with the terms on which the desk expects to sell it."""

    pledge: Pledge
    terms: SaleTerms

    @property
    def asset(self) -> Asset:
        """Return the asset that is sold."""
        return self.pledge.asset


@dataclass(frozen=True, slots=True)
class Planned:
    """A sale of one asset as planned, with what it rests on."""

    asset: Asset
    sale: Sale
    terms: SaleTerms
    target: Decimal
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return formula, inputs, target and expected cost as plain text values."""
        value = self.sale.market_value
        return {
            "formula": "square_root" if self.terms.impact.root else "no_impact",
            "why": self.why,
            "target": f"{self.target:f}",
            "weight": f"{self.terms.weight:f}",
            "fee": f"{self.terms.fee:f}",
            "kappa": f"{self.terms.impact.root:f}",
            "lot": f"{self.terms.lot:f}",
            "market_value": f"{value:f}",
            "expected_cost": f"{self.sale.cost:f}",
            "expected_slippage_bps": f"{money.div_up(self.sale.cost * BPS, value, 2):f}" if value else "0",
        }


@dataclass(frozen=True, slots=True)
class SalePlan:
    """The sales of one slice; `full_close` when everything goes because nothing less restores the target."""

    sales: tuple[Planned, ...]
    full_close: bool = False

    @property
    def market_value(self) -> Decimal:
        """Return the market value of all sales in USD."""
        with money.exact():
            return sum((planned.sale.market_value for planned in self.sales), money.ZERO)


def plan(facts: AccountFacts, aim: Aim, marks: Marks) -> SalePlan:
    """
    Return the smallest sale of an account's collateral that reaches its aim.

    One asset if one is enough, the cheapest of those; else several, cheapest first; an asset whose impact would raise
    the LTV is sold up to that point and the rest planned again later; everything only when nothing less restores.

    Raises
    ------
    UnableToPlan
        If nothing that is held has a mark and a policy to be sold on.
    """
    debt, weighted, target = aim.debt, aim.weighted, aim.target
    lots = _lots(facts, aim.owed_in, marks)
    if not lots:
        raise UnableToPlan("nothing that is held can be sold: no mark, or no sale policy")
    alone = [planned for lot in lots if (planned := _alone(lot, debt, weighted, target)) is not None]
    if alone:
        return SalePlan((min(alone, key=lambda planned: (planned.sale.cost, planned.asset.code)),))
    return _basket(lots, debt, weighted, target)


def is_dust(pledge: Pledge, marks: Marks) -> bool:
    """Return whether what is pledged and not held is surely worth less than anybody can be paid."""
    if not pledge.quantity:
        return True
    highest = marks.band(pledge.asset.code).high
    with money.exact():
        return highest.is_finite() and pledge.quantity * highest < LEAST_VALUE_USD


def _lots(facts: AccountFacts, owed_in: frozenset[str], marks: Marks) -> list[Lot]:
    """Return what can be sold to pay in some assets, in order of the asset's code."""
    codes = owed_in | {pledge.asset.code for pledge in facts.pledges}
    policies = {
        row.asset.code: row for row in AssetPolicy.objects.filter(asset__code__in=codes).select_related("asset")
    }
    debt_cost = max((_spread(policies[code]) for code in owed_in if code in policies), default=money.ZERO)
    lots = []
    for pledge in facts.pledges:
        price, policy = marks.price(pledge.asset.code), policies.get(pledge.asset.code)
        if price is None or policy is None or is_dust(pledge, marks):
            continue
        with money.exact():
            fee = _spread(policy) + facts.terms.liquidation_fee + debt_cost
            weight = 1 - pledge.haircut
        terms = SaleTerms(
            weight=weight, price=price, quantity=pledge.quantity, lot=policy.lot, fee=fee, impact=_impact(policy),
            dust=policy.lot,
        )  # fmt: skip
        lots.append(Lot(pledge, terms))
    return lots


def _spread(policy: AssetPolicy) -> Decimal:
    """Return what trading an asset costs apart from impact: execution fee and half the spread."""
    with money.exact():
        return policy.execution_fee + policy.half_spread


def _impact(policy: AssetPolicy) -> Impact:
    """Return the square-root law of an asset, or no impact where its Y is zero."""
    if not policy.impact_y:
        return Impact()
    return sizing.square_root_impact(policy.impact_y, policy.daily_volatility, policy.daily_volume_usd)


def _alone(lot: Lot, debt: Decimal, weighted: Decimal, target: Decimal) -> Planned | None:
    """Return the smallest sale of one asset that restores the target, None if it alone can not."""
    try:
        sale = sizing.smallest_sale(debt, weighted, target, lot.terms)
    except UnableToRestore:
        return None
    return None if sale is None else Planned(lot.asset, sale, lot.terms, target, "the cheapest that restores alone")


def _basket(lots: Sequence[Lot], debt: Decimal, weighted: Decimal, target: Decimal) -> SalePlan:
    """Return sales of several assets, cheapest first, as far as they go."""
    picked: list[Planned] = []
    bounded = False
    for lot in sorted(lots, key=lambda lot: (lot.terms.fee, lot.asset.code)):
        try:
            last = sizing.smallest_sale(debt, weighted, target, lot.terms)
        except UnableToRestore as refused:
            if refused.reason == Refusal.SALE_RAISES_LTV:
                continue
            bounded = bounded or refused.reason == Refusal.IMPACT_BOUND
            quantity = _most(lot, target) if refused.reason == Refusal.IMPACT_BOUND else lot.terms.quantity
            sale = sizing.after_sale(debt, weighted, lot.terms, quantity)
            picked.append(Planned(lot.asset, sale, lot.terms, target, f"not enough alone: {refused.reason.value}"))
            debt, weighted = sale.debt_after, sale.weighted_after
        else:
            if last is not None:
                picked.append(Planned(lot.asset, last, lot.terms, target, "completes the basket"))
            return SalePlan(tuple(picked))
    if bounded:
        return SalePlan(tuple(picked))
    return _everything(lots, target)


def _most(lot: Lot, target: Decimal) -> Decimal:
    """Return the quantity up to which selling lowers the LTV: s = (2a/3κ)², in whole lots, at least one."""
    terms = lot.terms
    with money.exact():
        gain = 1 - terms.fee - target * terms.weight
        top = 4 * gain * gain
        bottom = 9 * terms.impact.root * terms.impact.root * terms.price * terms.lot
    lots = max(money.div_down(top, bottom, 0), Decimal(1))
    with money.exact():
        return min(lots * terms.lot, terms.quantity)


def _everything(lots: Sequence[Lot], target: Decimal) -> SalePlan:
    """Return the sale of all that is held: what it brings decides between a small rest and a shortfall."""
    zero = money.ZERO
    return SalePlan(
        tuple(
            Planned(
                lot.asset, sizing.after_sale(zero, zero, lot.terms, lot.terms.quantity), lot.terms, target, "full close"
            )
            for lot in lots
        ),
        full_close=True,
    )
