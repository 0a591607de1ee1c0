"""What a loan that is not yet offered would look like at the marks of now: by the engine that decides about calls."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lending import deposits, term_sheets
from lending.engine import money
from lending.models import Asset, Deposit, DepositAddress, LadderTerms, Loan
from risk import positions, prices
from risk.engine import cures, ltv
from risk.engine.ladder import state_of
from risk.engine.ltv import Owed, Pledged, Position
from risk.engine.quality import Quality
from risk.exposures import ladder_of
from risk.models import MarginState
from risk.positions import Rung
from risk.prices import Marks

FALLS = (money.ZERO, Decimal("0.1"), Decimal("0.2"), Decimal("0.3"), Decimal("0.5"))  # of all collateral together
_ON_ITS_WAY = (Deposit.State.PENDING, Deposit.State.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Planned:
    """One asset of the collateral: units planned, what they are worth in USD, units that alone would be enough."""

    asset: str
    quantity: Decimal
    haircut: Decimal
    price: Decimal | None
    quality: Quality
    as_of: datetime | None
    value: Decimal | None
    missing: Decimal | None


@dataclass(frozen=True, slots=True)
class Level(Rung):
    """A level, and the ratio by which all collateral falls together until it is met; None where no fall does it."""

    fall: Decimal | None


@dataclass(frozen=True, slots=True)
class Fall:
    """Where the account would stand if all of its collateral fell by a ratio, and the prices then, in USD."""

    by: Decimal
    prices: tuple[tuple[str, Decimal], ...]
    ltv: Decimal
    state: MarginState


@dataclass(frozen=True, slots=True)
class Preview:
    """
    Where the margin account would stand on the day of funding.

    `exposure`-figures are None, `rungs` and `falls` empty, while a mark that matters can not be used. `fits` says
    whether the LTV is at most initial_ltv, so that risk would permit the draw at the marks of now. Amounts in USD.
    """

    terms: LadderTerms
    planned: tuple[Planned, ...]
    rungs: tuple[Level, ...]
    falls: tuple[Fall, ...]
    ltv: Decimal | None
    debt_usd: Decimal | None
    collateral_usd: Decimal | None
    fits: bool
    unusable: tuple[str, ...]
    quality: Quality
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Awaited:
    """
    What a loan waits for: where it stands with what counts, and with what is on its way as well.

    `coming` are units by asset code that were seen and do not count yet, `transfers` all that was seen, `where` the
    address of each asset; both previews plan for the assets of `where` in its order.
    """

    arrived: Preview
    expected: Preview
    coming: Mapping[str, Decimal]
    transfers: tuple[Deposit, ...]
    where: Mapping[Asset, DepositAddress]

    @property
    def is_coming(self) -> bool:
        """Return whether what is on its way will be enough, and what has arrived is not."""
        return self.expected.fits and not self.arrived.fits


def of_terms(
    terms: LadderTerms,
    asset: Asset,
    principal: Decimal,
    collateral: Mapping[Asset, Decimal],
    *,
    haircuts: Mapping[str, Decimal],
    marks: Marks,
    beside: Position | None = None,
) -> Preview:
    """
    Return what a loan on these terms would look like against some collateral.

    Parameters
    ----------
    principal : Decimal, in units of `asset`, > 0.
    collateral : mapping of Asset to Decimal
        Units that would be pledged; what is zero is shown with what would be enough of it.
    haircuts : mapping of asset code to Decimal
        In [0, 1); of what is not named, zero.
    beside : Position, optional
        What the pool that is to secure it holds and owes already.
    """
    with money.exact():
        weights = {held: 1 - haircuts.get(held.code, money.ZERO) for held in collateral}
    shared = beside or Position((), ())
    pledges = (*(Pledged(held.code, units, weights[held]) for held, units in collateral.items()), *shared.pledges)
    position = Position(_together(pledges), (Owed(asset.code, principal), *shared.debts))
    codes = {asset.code, *position.assets, *(held.code for held in collateral)}
    known = {code: price for code in codes if (price := marks.price(code))}
    unusable = tuple(sorted(position.assets - known.keys()))
    exposed = None if unusable else ltv.exposure(position, known)
    times = [marks.of[code].as_of for code in position.assets if code in marks.of]
    order = (Quality.GOOD, Quality.DEGRADED, Quality.STALE, Quality.HALTED)
    return Preview(
        terms=terms,
        planned=tuple(
            _planned(held, units, weights[held], marks, exposed, terms) for held, units in collateral.items()
        ),
        rungs=_levels(terms, position, known) if exposed else (),
        falls=_falls(terms, position, known) if exposed else (),
        ltv=ltv.ltv_of(exposed) if exposed else None,
        debt_usd=exposed.debt if exposed else None,
        collateral_usd=exposed.market if exposed else None,
        fits=exposed is not None and not exposed.exceeds(terms.initial_ltv),
        unusable=unusable,
        quality=max((marks.quality(code) for code in position.assets), key=order.index),
        as_of=min(times, default=None),
    )


def _levels(terms: LadderTerms, position: Position, known: Mapping[str, Decimal]) -> tuple[Level, ...]:
    """Return a ladder's levels with how far all collateral falls together until each is met."""
    held = [row.asset for row in position.pledges if row.quantity]
    return tuple(
        Level(rung.name, rung.ltv, rung.passed, rung.prices, cures.uniform_shock(position, known, rung.ltv, held))
        for rung in positions.rungs_of(terms, position, known)
    )


def _falls(terms: LadderTerms, position: Position, known: Mapping[str, Decimal]) -> tuple[Fall, ...]:
    """Return where a position would stand at lower prices of what is pledged; what is owed of that falls with it."""
    held, ladder, found = sorted({row.asset for row in position.pledges if row.quantity}), ladder_of(terms), []
    for by in FALLS if held else ():
        with money.exact():
            fallen = {code: known[code] * (1 - by) for code in held}
        exposed = ltv.exposure(position, {**known, **fallen})
        state = MarginState(state_of(exposed, ladder).value)
        found.append(Fall(by, tuple(fallen.items()), ltv.ltv_of(exposed), state))
    return tuple(found)


def _together(pledges: Iterable[Pledged]) -> tuple[Pledged, ...]:
    """Return pledges with one of each asset: what comes is added to what is there, at the haircut that holds there."""
    found: dict[str, Pledged] = {}
    for row in pledges:
        before = found.get(row.asset)
        with money.exact():
            found[row.asset] = Pledged(row.asset, row.quantity + (before.quantity if before else 0), row.weight)
    return tuple(found.values())


def awaited(loan: Loan, *, now: datetime) -> Awaited:
    """Return where a loan that waits for collateral would stand with what has been sent, and where each asset goes."""
    account = loan.margin_account
    found = deposits.addresses(account.pk, now=now).values()
    where = {row.asset: row for row in found if row.purpose == DepositAddress.Purpose.COLLATERAL}
    held_now = dict(account.pledges.values_list("asset", "quantity"))
    pledged = {asset: held_now.get(asset.pk, money.ZERO) for asset in where}
    transfers = tuple(deposits.of_account(account.pk))
    coming = _coming(transfers)
    with money.exact():
        sent = {asset: quantity + coming.get(asset.code, money.ZERO) for asset, quantity in pledged.items()}
    agreed, marks = term_sheets.haircuts(account.pk), prices.current(now=now)
    arrived, expected = (
        of_terms(account.terms, loan.asset, loan.principal, held, haircuts=agreed, marks=marks)
        for held in (pledged, sent)
    )
    return Awaited(arrived, expected, coming, transfers, where)


def _coming(transfers: Iterable[Deposit]) -> dict[str, Decimal]:
    """Return by asset code what was sent as collateral and does not count yet."""
    found: defaultdict[str, Decimal] = defaultdict(lambda: money.ZERO)
    with money.exact():
        for transfer in transfers:
            to = transfer.address
            if to and to.purpose == DepositAddress.Purpose.COLLATERAL and transfer.state in _ON_ITS_WAY:
                found[transfer.asset.code] += transfer.quantity
    return dict(found)


def _planned(
    held: Asset, units: Decimal, weight: Decimal, marks: Marks, exposed: ltv.Exposure | None, terms: LadderTerms
) -> Planned:
    price, mark = marks.price(held.code), marks.of.get(held.code)
    missing = None
    if exposed is not None and price is not None and exposed.exceeds(terms.initial_ltv):
        missing = cures.collateral_cure_quantity(exposed, terms.initial_ltv, weight, price, decimals=held.decimals)
    value = None
    if price is not None:
        with money.exact():
            value = units * price
    return Planned(
        held.code, units, 1 - weight, price, marks.quality(held.code), mark.as_of if mark else None, value, missing
    )
