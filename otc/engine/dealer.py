"""
A simulated dealer: what it answers is a function of its seed, the client's order id and the market it sees.

It behaves like a real one: size-dependent spread by the square-root law, partial fills, refusal in a crash, last look,
stale and crossed quotes, answers that get lost after an acceptance. Nothing here remembers anything: the order
book of a dealer is kept by its adapter.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal, FloatOperation, InvalidOperation, localcontext

_WIDE = Context(prec=34, traps=[InvalidOperation, FloatOperation])
_HASH_SPAN = Decimal(2**64)
CROSSED_BY = Decimal("0.004")
TICK = Decimal("0.0001")


@dataclass(frozen=True)
class Character:
    """
    How one dealer behaves. Fractions are of the price unless a name says otherwise; chances are in [0, 1].

    half_spread at rest; impact_y of the square-root law; crash_drop: fall over the look-back at which it starts to
    refuse, with refusal_chance; last_look: fall since the quote at which it rejects an acceptance.
    """

    name: str
    half_spread: Decimal
    impact_y: Decimal
    crash_drop: Decimal
    refusal_chance: Decimal
    last_look: Decimal
    partial_chance: Decimal
    lost_answer_chance: Decimal
    stale_chance: Decimal = Decimal("0.02")
    crossed_chance: Decimal = Decimal("0.005")
    quote_life_s: int = 60
    latency_ms: int = 80
    settlement_lag_s: int = 300


@dataclass(frozen=True)
class Market:
    """What a dealer sees of one asset: USD per unit now, a minute ago and a quarter of an hour ago, and its depth."""

    mid: Decimal
    mid_1m: Decimal
    mid_15m: Decimal
    daily_volatility: Decimal
    daily_volume_usd: Decimal

    @property
    def drop(self) -> Decimal:
        """Fall over the last quarter of an hour as a fraction, 0 when the price rose."""
        with localcontext(_WIDE):
            return max(Decimal(0), 1 - self.mid / self.mid_15m)


@dataclass(frozen=True)
class Offer:
    """A price for a quantity until an instant."""

    price: Decimal
    quantity: Decimal
    expires_at: datetime


@dataclass(frozen=True)
class Execution:
    """One fill of an accepted offer, known from executed_at on."""

    fill_id: str
    quantity: Decimal
    price: Decimal
    executed_at: datetime


def chance(seed: int, *parts: str) -> Decimal:
    """Return a number in [0, 1) that depends on nothing but the seed and the parts."""
    digest = hashlib.sha256("\x1f".join((str(seed), *parts)).encode()).digest()
    with localcontext(_WIDE):
        return Decimal(int.from_bytes(digest[:8], "big")) / _HASH_SPAN


def offer(
    character: Character, seed: int, client_order_id: str, quantity: Decimal, market: Market, *, at: datetime
) -> Offer | str:
    """
    Return the dealer's bid for a quantity that is offered for sale, or its refusal in words.

    price = mid x (1 - half_spread x stress - Y x sigma x sqrt(quantity x mid / V)), where stress grows with the fall
    of the last quarter of an hour (square-root law of market impact: Almgren et al. 2005, Toth et al. 2011). With
    small chances the mid is a minute old (stale) or the bid stands above the market (crossed).

    Parameters
    ----------
    quantity : Decimal
        Asset units, > 0.
    market : Market
        All prices > 0, volume > 0.
    """

    def draw(what: str) -> Decimal:
        return chance(seed, character.name, client_order_id, what)

    if market.drop >= character.crash_drop and draw("refuse") < character.refusal_chance:
        return "no bid in this market"
    with localcontext(_WIDE):
        mid = market.mid_1m if draw("stale") < character.stale_chance else market.mid
        stress = 1 + 20 * market.drop
        impact = character.impact_y * market.daily_volatility * (quantity * mid / market.daily_volume_usd).sqrt()
        cost = character.half_spread * stress * (Decimal("0.8") + Decimal("0.4") * draw("mood")) + impact
        if draw("crossed") < character.crossed_chance:
            cost = -CROSSED_BY
        price = (mid * (1 - min(cost, Decimal("0.9")))).quantize(TICK, ROUND_FLOOR)
    return Offer(price, quantity, at + timedelta(seconds=character.quote_life_s))


def last_look(character: Character, quoted_mid: Decimal, price: Decimal, market: Market) -> str | None:
    """
    Return why an acceptance is rejected, None when it stands.

    The dealer looks at how far the market is now below the mid that it quoted at, or below its own bid when that was
    stale or crossed and stood higher still.
    """
    with localcontext(_WIDE):
        fall = 1 - market.mid / max(quoted_mid, price)
    return f"last look: the market is {fall:.2%} below the quote" if fall > character.last_look else None


def answer_is_lost(character: Character, seed: int, client_order_id: str) -> bool:
    """Return whether the dealer's answer to an acceptance never reaches the client."""
    return chance(seed, character.name, client_order_id, "lost") < character.lost_answer_chance


def executions(
    character: Character, seed: int, client_order_id: str, accepted: Offer, *, lot: Decimal, at: datetime
) -> tuple[Execution, ...]:
    """
    Return the fills of an accepted offer: one at once, or a part at once and another seconds later.

    Of those that come in parts a third never gets its second part; the rest of the quantity stays unsold.

    Parameters
    ----------
    lot : Decimal
        Asset units, > 0: parts are whole lots.
    """

    def draw(what: str) -> Decimal:
        return chance(seed, character.name, client_order_id, what)

    def execution(number: int, quantity: Decimal, after_s: int) -> Execution:
        return Execution(f"{client_order_id}-{number}", quantity, accepted.price, at + timedelta(seconds=after_s))

    if draw("partial") >= character.partial_chance:
        return (execution(1, accepted.quantity, 0),)
    with localcontext(_WIDE):
        share = Decimal("0.4") + Decimal("0.4") * draw("share")
        first = (accepted.quantity * share / lot).to_integral_value(ROUND_FLOOR) * lot
        rest = accepted.quantity - first
    if first <= 0 or rest <= 0:
        return (execution(1, accepted.quantity, 0),)
    parts = (execution(1, first, 0), execution(2, rest, 5))
    return parts[:1] if draw("rest") * 3 < 1 else parts


CHARACTERS = {
    character.name: character
    for character in (
        Character(
            name="harbour",
            half_spread=Decimal("0.0004"),
            impact_y=Decimal("0.6"),
            crash_drop=Decimal("0.08"),
            refusal_chance=Decimal("0.6"),
            last_look=Decimal("0.004"),
            partial_chance=Decimal("0.10"),
            lost_answer_chance=Decimal("0.03"),
        ),
        Character(
            name="meridian",
            half_spread=Decimal("0.0006"),
            impact_y=Decimal("0.5"),
            crash_drop=Decimal("0.12"),
            refusal_chance=Decimal("0.4"),
            last_look=Decimal("0.006"),
            partial_chance=Decimal("0.15"),
            lost_answer_chance=Decimal("0.02"),
            latency_ms=150,
        ),
        Character(
            name="northgate",
            half_spread=Decimal("0.0009"),
            impact_y=Decimal("0.7"),
            crash_drop=Decimal("0.20"),
            refusal_chance=Decimal("0.3"),
            last_look=Decimal("0.010"),
            partial_chance=Decimal("0.20"),
            lost_answer_chance=Decimal("0.04"),
            stale_chance=Decimal("0.03"),
            crossed_chance=Decimal("0.01"),
            latency_ms=250,
            settlement_lag_s=600,
        ),
    )
}
