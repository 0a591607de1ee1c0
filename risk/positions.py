"""One margin account at the marks of now, for people to read: LTV, ladder, and the price at which each level is met."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from lending import interest
from lending.interest import Payoff
from lending.models import Loan, MarginAccount
from risk import exposures, prices
from risk.engine import cures, ltv
from risk.engine.quality import Quality
from risk.exposures import AccountFacts, Judgement
from risk.models import MarginState
from risk.prices import Marks

_TRIGGER_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Holding:
    """One collateral asset: what is pledged of it, and what it is worth at its mark."""

    asset: str
    quantity: Decimal
    held_for_sale: Decimal
    weight: Decimal
    price: Decimal | None
    quality: Quality
    as_of: datetime | None
    sources: Mapping[str, Any]
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Rung:
    """A level of the ladder: whether it is passed, and the price of each asset at which LTV meets it."""

    name: str
    ltv: Decimal
    passed: bool | None
    prices: tuple[tuple[str, Decimal | None], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """
    Where a margin account stands.

    `ltv` and `market_ltv` are None while a mark that matters can not be used: then only the state by bounds is known.
    """

    facts: AccountFacts
    judgement: Judgement
    debts: tuple[tuple[Loan, Payoff], ...]
    holdings: tuple[Holding, ...]
    rungs: tuple[Rung, ...]
    ltv: Decimal | None
    market_ltv: Decimal | None
    debt_usd: Decimal | None
    collateral_usd: Decimal | None
    as_of: datetime | None

    @property
    def account(self) -> MarginAccount:
        """Return the margin account."""
        return self.facts.account

    @property
    def state(self) -> MarginState:
        """Return the state that the marks of now imply; the recorded one follows with the next round."""
        return self.judgement.state


def standing(account: MarginAccount, *, now: datetime) -> Standing:
    """Return where one margin account stands at the marks of now."""
    return standings([account], now=now)[account.pk]


def standings(accounts: list[MarginAccount], *, now: datetime) -> dict[int, Standing]:
    """Return where some margin accounts stand, by their keys, in a constant number of queries."""
    loaded = exposures.load([account.pk for account in accounts], now=now)
    marks = prices.current(now=now)
    loans = [loan for facts in loaded.values() for loan in facts.loans]
    payoffs = interest.payoffs(loans, now=now)
    return {key: _standing(facts, marks, payoffs) for key, facts in loaded.items()}


def _standing(facts: AccountFacts, marks: Marks, payoffs: dict[int, Payoff]) -> Standing:
    judgement = exposures.judge(facts, marks)
    known = {code: price for code in facts.position.assets if (price := marks.price(code)) is not None}
    exposed = None if judgement.bounded or len(known) < len(facts.position.assets) else judgement.exposed
    times = [marks.of[code].as_of for code in facts.position.assets if code in marks.of]
    return Standing(
        facts=facts,
        judgement=judgement,
        debts=tuple((loan, payoffs[loan.pk]) for loan in facts.loans),
        holdings=tuple(_holding(pledge, marks) for pledge in facts.pledges),
        rungs=_rungs(facts, known, exposed),
        ltv=ltv.ltv_of(exposed) if exposed else None,
        market_ltv=ltv.market_ltv_of(exposed) if exposed else None,
        debt_usd=exposed.debt if exposed else None,
        collateral_usd=exposed.market if exposed else None,
        as_of=min(times, default=None),
    )


def _holding(pledge: exposures.Pledge, marks: Marks) -> Holding:
    code = pledge.asset.code
    price, quantity = marks.price(code), pledge.quantity + pledge.held_quantity
    mark = marks.of.get(code)
    return Holding(
        asset=code,
        quantity=quantity,
        held_for_sale=pledge.held_quantity,
        weight=1 - pledge.haircut,
        price=price,
        quality=marks.quality(code),
        as_of=mark.as_of if mark else None,
        sources=mark.sources if mark else {},
        value=None if price is None else quantity * price,
    )


def _rungs(facts: AccountFacts, known: dict[str, Decimal], exposed: ltv.Exposure | None) -> tuple[Rung, ...]:
    assets = [pledge.asset.code for pledge in facts.pledges if pledge.quantity + pledge.held_quantity]
    return tuple(
        Rung(
            name=name,
            ltv=level,
            passed=exposed.exceeds(level) if exposed else None,
            prices=tuple(
                (code, cures.trigger_price(facts.position, known, code, level, decimals=_TRIGGER_DECIMALS))
                if exposed
                else (code, None)
                for code in assets
            ),
        )
        for name, level in facts.terms.levels
    )
