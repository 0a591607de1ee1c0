"""One margin account at the marks of now, for people to read: LTV, ladder, and the price at which each level is met."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from lending.interest import Debt
from lending.models import LadderTerms, MarginAccount
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
    `prices` are the USD prices that the figures rest on, None with them. `room` is how far all collateral can fall
    together before a margin call, as a ratio; None where no fall does it.
    """

    facts: AccountFacts
    judgement: Judgement
    debts: tuple[Debt, ...]
    holdings: tuple[Holding, ...]
    prices: Mapping[str, Decimal] | None
    ltv: Decimal | None
    market_ltv: Decimal | None
    debt_usd: Decimal | None
    collateral_usd: Decimal | None
    room: Decimal | None
    as_of: datetime | None

    @property
    def account(self) -> MarginAccount:
        """Return the margin account."""
        return self.facts.account

    @property
    def state(self) -> MarginState:
        """Return the state that the marks of now imply; the recorded one follows with the next round."""
        return self.judgement.state

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Return the levels with the price of each asset that meets them; without prices while LTV is not known."""
        if self.prices is None:
            return _unpriced(self.facts)
        return rungs_of(self.facts.terms, self.facts.position, self.prices)


def standing(
    account: MarginAccount, *, now: datetime, marks: Marks | None = None, debts: Iterable[Debt] | None = None
) -> Standing:
    """Return where one margin account stands at the marks of now."""
    return standings([account], now=now, marks=marks, debts=debts)[account.pk]


def standings(
    accounts: list[MarginAccount], *, now: datetime, marks: Marks | None = None, debts: Iterable[Debt] | None = None
) -> dict[int, Standing]:
    """
    Return where some margin accounts stand, by their keys, in a constant number of queries.

    Fewer of them if the accounts were read with their terms and client, and the marks of now or all that the accounts
    owe are at hand.
    """
    loaded = exposures.of_accounts(accounts, now=now, debts=debts)
    known = prices.current(now=now) if marks is None else marks
    return {key: _standing(facts, known) for key, facts in loaded.items()}


def _standing(facts: AccountFacts, marks: Marks) -> Standing:
    judgement = exposures.judge(facts, marks)
    known = {code: price for code in facts.position.assets if (price := marks.price(code)) is not None}
    exposed = None if judgement.bounded or len(known) < len(facts.position.assets) else judgement.exposed
    times = [marks.of[code].as_of for code in facts.position.assets if code in marks.of]
    return Standing(
        facts=facts,
        judgement=judgement,
        debts=facts.debts,
        holdings=tuple(_holding(pledge, marks) for pledge in facts.pledges),
        prices=known if exposed else None,
        ltv=ltv.ltv_of(exposed) if exposed else None,
        market_ltv=ltv.market_ltv_of(exposed) if exposed else None,
        debt_usd=exposed.debt if exposed else None,
        collateral_usd=exposed.market if exposed else None,
        room=_room(facts, known) if exposed else None,
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


def _room(facts: AccountFacts, known: Mapping[str, Decimal]) -> Decimal | None:
    held = [pledge.asset for pledge in facts.position.pledges if pledge.quantity]
    return cures.uniform_shock(facts.position, known, facts.terms.margin_call_ltv, held)


def rungs_of(terms: LadderTerms, position: ltv.Position, known: Mapping[str, Decimal]) -> tuple[Rung, ...]:
    """Return a ladder's levels with the price of each asset that meets them, for a position of it at some prices."""
    exposed = ltv.exposure(position, known)
    assets = [pledge.asset for pledge in position.pledges if pledge.quantity]
    return tuple(
        Rung(
            name=name,
            ltv=level,
            passed=exposed.exceeds(level),
            prices=tuple(
                (code, cures.trigger_price(position, known, code, level, decimals=_TRIGGER_DECIMALS)) for code in assets
            ),
        )
        for name, level in terms.levels
    )


def _unpriced(facts: AccountFacts) -> tuple[Rung, ...]:
    assets = [pledge.asset for pledge in facts.position.pledges if pledge.quantity]
    return tuple(Rung(name, level, None, tuple((code, None) for code in assets)) for name, level in facts.terms.levels)
