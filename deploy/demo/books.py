"""
The books that a demo desk opens with: any number of loans for a replay, and the one that visitors are shown.

The showcase's set pieces are loans whose way through the crash of 19 May 2021 is known beforehand, each with what its
borrower will do: between them every way a margin call can end is there to be seen. Every other loan is drawn.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from deploy.demo import reference
from deploy.demo.borrowers import Answer
from deploy.demo.desk import Party, Plan
from deploy.demo.reference import Ladder
from deploy.demo.roster import ROSTER, Trade
from lending import ids
from lending.engine import money

LOANS_PER_CLIENT = 6
SHOWCASE_LOANS = 400
MIXES = (("BTC",), ("BTC",), ("ETH",), ("ETH",), ("LINK",), ("BTC", "ETH"), ("BTC", "ETH", "LINK"))
Prices = dict[str, Decimal]


def of_size(loans: int, price: Prices, *, seed: int) -> list[Party]:
    """Return a book of any size: sizes, assets and LTVs spread as a desk of wealthy clients has them."""
    drawn = list(_spread(loans, price, seed=seed))
    return [
        Party(number=start // LOANS_PER_CLIENT, loans=tuple(drawn[start : start + LOANS_PER_CLIENT]))
        for start in range(0, loans, LOANS_PER_CLIENT)
    ]


def _spread(loans: int, price: Prices, *, seed: int) -> Iterator[Plan]:
    draw = random.Random(f"desk/{seed}")  # noqa: S311  reproducible on purpose
    for number in range(loans):
        principal = Decimal(draw.choice((25, 50, 75, 100, 150, 250, 500))) * 1000
        ladder = draw.choice(reference.LADDERS)
        ltv = draw.triangular(0.28, float(ladder.levels["initial_ltv"]) - 0.001, 0.48)
        mix = draw.choice([mix for mix in MIXES if price.keys() >= set(mix)])
        asset = draw.choice(("USD", "USD", "USDC"))
        yield Plan(
            public_id=ids.derived("loan", seed, number),
            product=ladder.product(asset),
            asset=asset,
            principal=principal,
            rate=Decimal(draw.choice((800, 900, 1050, 1200))) / 10_000,
            term_days=draw.choice((30, 90, 180, 365)),
            collateral=_collateral(principal, ltv, mix, price),
        )


def _collateral(principal: Decimal, ltv: float, mix: tuple[str, ...], price: Prices) -> tuple[tuple[str, Decimal], ...]:
    """Return units of each asset of a mix, equal in value, that secure a principal at an LTV."""
    with money.exact():
        value = money.div_up(principal, Decimal(str(round(ltv, 4))), 2)
        return tuple((code, money.quantize_up(money.div_up(value, len(mix) * price[code], 18), 6)) for code in mix)


@dataclass(frozen=True)
class SetPiece:
    """A loan of the showcase that was chosen, not drawn; `answer` is what its borrower does when called."""

    client: str
    answer: Answer
    asset: str
    ladder: Ladder
    principal: int
    ltv: float
    mix: tuple[str, ...]


# How each goes is what the prices of 19 May 2021 make of it: bitcoin 34,765 at 12:50, 30,000 at 13:10 and 35,469 at
# 13:34; LINK 27 at 12:44 and 21 at 12:54, half of what it began the day with.
HOUR, FOUR, DAY = reference.LADDERS
SET_PIECES: tuple[SetPiece, ...] = (
    # What the visitors who sign in as Alice and Charlie have: nobody answers these calls for them.
    SetPiece("Aldgate Family Office", "visitor", "USD", DAY, 850_000, 0.490, ("BTC", "ETH", "LINK")),
    SetPiece("Aldgate Family Office", "visitor", "USDC", FOUR, 420_000, 0.485, ("BTC", "LINK")),
    SetPiece("Aldgate Family Office", "visitor", "USD", HOUR, 300_000, 0.490, ("BTC", "LINK")),
    SetPiece("Aldgate Family Office", "visitor", "USD", reference.OPEN, 500_000, 0.300, ("BTC",)),
    SetPiece("Quayside Holdings", "visitor", "USDC", DAY, 600_000, 0.480, ("ETH",)),
    SetPiece("Quayside Holdings", "visitor", "USD", reference.INSTALMENT, 250_000, 0.470, ("BTC", "ETH")),
    # Cured in cash, early enough for the wire to be credited.
    SetPiece("Galley Treasury Services", "cash", "USD", HOUR, 400_000, 0.530, ("BTC",)),
    SetPiece("Tidewater Markets", "cash", "USDC", HOUR, 750_000, 0.520, ("BTC", "ETH")),
    # Cured in coins of a chain that confirms within minutes.
    SetPiece("Meltemi Trading", "collateral", "USDC", HOUR, 350_000, 0.460, ("ETH",)),
    SetPiece("Dr Matthias Kehl", "collateral", "USD", FOUR, 120_000, 0.430, ("LINK",)),
    # Called at the bottom and out of danger half an hour later.
    SetPiece("Fjordkraft Hashing", "ignore", "USD", HOUR, 900_000, 0.500, ("BTC",)),
    SetPiece("Prairie Wind Compute", "acknowledge", "USD", HOUR, 650_000, 0.510, ("BTC",)),
    # Never answered, neither cleared by the market nor at the liquidation level when the hour is over.
    SetPiece("Bramble Capital Partners", "ignore", "USD", HOUR, 500_000, 0.4875, ("BTC", "LINK")),
    SetPiece("Calder Valley Trust", "acknowledge", "USD", HOUR, 260_000, 0.4900, ("BTC", "LINK")),
    SetPiece("Ines Calheiros", "partial", "USDC", HOUR, 80_000, 0.4925, ("BTC", "LINK")),
    SetPiece("Chidi Balogun", "late", "USD", HOUR, 60_000, 0.4900, ("BTC", "LINK")),
    # Disputes the price that its call rests on: risk has two hours to answer, and the clock waits for the answer.
    SetPiece("Cobalt Row Fund", "dispute", "USD", FOUR, 700_000, 0.4700, ("BTC", "ETH")),
    # LINK falls through the liquidation level before anybody could have paid.
    SetPiece("Ember Ventures", "ignore", "USD", HOUR, 380_000, 0.480, ("LINK",)),
    SetPiece("Sophie Lacombe", "acknowledge", "USD", HOUR, 45_000, 0.500, ("LINK",)),
    # Much LINK on a ladder that sells late, reached as the last and deepest fall begins: what it brings is too little.
    SetPiece("Larkspur Digital Assets Fund", "ignore", "USD", reference.PRIME, 3_900_000, 0.5125, ("LINK",)),
    SetPiece("Larkspur Digital Assets Fund", "ignore", "USDC", reference.PRIME, 2_600_000, 0.5150, ("LINK",)),
    SetPiece("Thornfield Credit Fund", "partial", "USD", DAY, 1_200_000, 0.4850, ("LINK",)),
)


@dataclass(frozen=True)
class _Habit:
    """How clients of one trade borrow."""

    weight: int
    sizes: tuple[int, ...]
    mixes: tuple[tuple[str, ...], ...]
    usdc: float
    prime: bool = False


_HABITS: dict[Trade, _Habit] = {
    "individual": _Habit(2, (25, 40, 50, 75, 100), (("BTC",), ("ETH",), ("BTC", "ETH"), ("LINK",)), usdc=0.1),
    "family office": _Habit(6, (100, 150, 250, 400, 750), (("BTC",), ("BTC", "ETH"), ("ETH",)), usdc=0.15),
    "fund": _Habit(
        11,
        (150, 250, 400, 800, 1500),
        (("BTC",), ("ETH",), ("BTC", "ETH"), ("BTC", "ETH", "LINK"), ("LINK",)),
        0.4,
        prime=True,
    ),
    "miner": _Habit(5, (200, 300, 500, 1000), (("BTC",), ("BTC",), ("ETH",)), usdc=0.1),
    "market maker": _Habit(
        12,
        (150, 300, 500, 900),
        (("BTC", "ETH"), ("BTC", "ETH", "LINK"), ("ETH", "LINK"), ("BTC", "LINK")),
        0.7,
        prime=True,
    ),
    "treasury": _Habit(5, (100, 200, 350, 600), (("BTC",), ("ETH",), ("BTC", "ETH")), usdc=0.5),
}
# LINK alone is lent against in small amounts: more would be a set piece.
_MOST_ON_LINK = 150


def showcase(price: Prices, *, seed: int, loans: int = SHOWCASE_LOANS) -> list[Party]:
    """
    Return the book of the demo desk: every client of the roster, the set pieces, and drawn loans up to a number.

    The set pieces come whole, so a book has at least one loan for each of them and is for the three assets they use.
    """
    taken: dict[str, list[Plan]] = {entrant.name: [] for entrant in ROSTER}
    for number, piece in enumerate(SET_PIECES):
        taken[piece.client].append(_piece(piece, number, price, seed=seed))
    draw = random.Random(f"showcase/{seed}")  # noqa: S311  reproducible on purpose
    rest = [entrant for entrant in ROSTER if not taken[entrant.name]]
    free = max(loans - len(SET_PIECES), 0)
    more = [entrant for entrant in ROSTER if entrant.contact not in VISITORS]
    rest += draw.choices(more, [_HABITS[entrant.trade].weight for entrant in more], k=max(free - len(rest), 0))
    for number, entrant in enumerate(rest[:free]):
        taken[entrant.name].append(_drawn(entrant.trade, number, price, draw, seed=seed))
    return [
        Party(number=number, loans=tuple(taken[entrant.name]))
        for number, entrant in enumerate(ROSTER)
        if taken[entrant.name]
    ]


VISITORS = ("Alice Thornbury", "Charlie Okonkwo")


def _piece(piece: SetPiece, number: int, price: Prices, *, seed: int) -> Plan:
    principal = Decimal(piece.principal)
    return Plan(
        public_id=ids.derived("loan", "set piece", seed, number),
        product=piece.ladder.product(piece.asset),
        asset=piece.asset,
        principal=principal,
        rate=Decimal("0.09"),
        term_days=None if piece.ladder == reference.OPEN else 180,
        collateral=_collateral(principal, piece.ltv, piece.mix, price),
    )


def _drawn(trade: Trade, number: int, price: Prices, draw: random.Random, *, seed: int) -> Plan:
    habit = _HABITS[trade]
    mix = draw.choice(habit.mixes)
    ladders = (*reference.LADDERS, reference.PRIME) if habit.prime and "LINK" not in mix else reference.LADDERS
    ladder = draw.choice(ladders)
    size = draw.choice(habit.sizes)
    principal = Decimal(min(size, _MOST_ON_LINK) if mix == ("LINK",) else size) * 1000
    ltv = draw.triangular(0.22, float(ladder.levels["initial_ltv"]) - 0.001, 0.42)
    asset = "USDC" if draw.random() < habit.usdc else "USD"
    return Plan(
        public_id=ids.derived("loan", "showcase", seed, number),
        product=ladder.product(asset),
        asset=asset,
        principal=principal,
        rate=Decimal(draw.choice((750, 800, 900, 1050, 1200))) / 10_000,
        term_days=draw.choice((30, 60, 90, 180, 365)),
        collateral=_collateral(principal, ltv, mix, price),
    )


def scripts(seed: int) -> dict[UUID, Answer]:
    """Return what the borrowers of the set pieces do when called, by the public id of the margin account."""
    return {
        ids.derived("margin_account", ids.derived("loan", "set piece", seed, number)): piece.answer
        for number, piece in enumerate(SET_PIECES)
    }
