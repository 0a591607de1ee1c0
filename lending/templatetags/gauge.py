"""The LTV gauge: a ship's side with the levels of a ladder as load lines on it, and water up to where LTV stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import template

from lending.models import LadderTerms
from lending.templatetags.plimsoll import percent, plain

register = template.Library()

_TOP, _BOTTOM, _APART = 16, 304, 34
_FAR = Decimal("0.15")  # of the scale below the lowest level
_NEAR = Decimal("0.05")  # and above the highest
_STATES = ("healthy", "warning", "call", "accelerated", "liquidate")


@dataclass(frozen=True, slots=True)
class _Label:
    """One line of the drawing: where its level lies (y), where its words stand (at), and the words."""

    name: str
    ltv: Decimal
    y: int
    at: int
    prices: str
    now: bool


def _scale(terms: LadderTerms, ltv: Decimal | None) -> tuple[Decimal, Decimal]:
    """Return the LTV at the bottom and at the top of a drawing; an LTV without an end stands at its top."""
    levels = [level for _name, level in terms.levels]
    low, high = min(levels) - _FAR, max(levels) + _NEAR
    if ltv is not None and ltv.is_finite():
        low, high = min(low, ltv - _NEAR), min(max(high, ltv + _NEAR), high + _FAR)
    return max(low, Decimal(0)), high


def _place(ltv: Decimal, low: Decimal, high: Decimal, start: int, end: int) -> int:
    share = 1 if not ltv.is_finite() else (min(max(ltv, low), high) - low) / (high - low)
    return round(start + (end - start) * share)


def _spread(places: Sequence[int]) -> list[int]:
    """Return places for labels, from the bottom up, as near to their lines as lets each be read (pool adjacent)."""
    pools: list[list[int]] = []  # of places with the distance to the label below taken out: these may only fall
    for index, place in enumerate(places):
        pools.append([place + index * _APART])
        while len(pools) > 1 and _mean(pools[-1]) > _mean(pools[-2]):
            pools[-2:] = [pools[-2] + pools[-1]]
    lowest, highest = _BOTTOM - _APART // 2, _TOP + _APART * (len(places) - 1)
    flat = [min(max(_mean(pool), highest), lowest) for pool in pools for _ in pool]
    return [round(place - index * _APART) for index, place in enumerate(flat)]


def _mean(pool: Sequence[int]) -> float:
    return sum(pool) / len(pool)


def _state(terms: LadderTerms, ltv: Decimal | None) -> str:
    if ltv is None:
        return "unknown"
    bounds = (terms.warning_ltv, terms.margin_call_ltv, terms.accelerated_ltv, terms.liquidation_ltv)
    return _STATES[sum(1 for bound in bounds if ltv > bound)]


def _zones(terms: LadderTerms, low: Decimal, high: Decimal, start: int, end: int) -> list[dict[str, Any]]:
    edges = [low, terms.warning_ltv, terms.margin_call_ltv, terms.accelerated_ltv, terms.liquidation_ltv, high]
    places = [_place(edge, low, high, start, end) for edge in edges]
    return [
        {"state": state, "start": min(a, b), "length": abs(b - a)}
        for state, a, b in zip(_STATES, places[:-1], places[1:], strict=True)
    ]


def _words(terms: LadderTerms, ltv: Decimal | None) -> str:
    levels = ", ".join(f"{name} {percent(level, 1)}" for name, level in terms.levels)
    here = "LTV is not known now" if ltv is None else f"LTV {percent(ltv)}, {_state(terms, ltv)}"
    return f"{here}. Levels: {levels}."


@register.inclusion_tag("components/gauge.html")
def gauge(terms: LadderTerms, ltv: Decimal | None = None, rungs: Iterable[Any] = ()) -> dict[str, Any]:
    """
    Draw a ladder as lines on a ship's side, with water up to the LTV.

    `ltv` None: the ladder alone, with nothing said about now. `rungs` (positions.Standing.rungs) adds to each level
    the price that meets it, where one asset is pledged; several assets need the table beside it.
    """
    low, high = _scale(terms, ltv)
    prices = {rung.name: rung.prices for rung in rungs}
    found = [(level, name, _price(prices.get(name, ())), False) for name, level in terms.levels]
    if ltv is not None:
        found.append((ltv, "Now", "", True))
    found.sort(key=lambda row: (row[0], row[3]))
    places = [_place(level, low, high, _BOTTOM, _TOP) for level, *_rest in found]
    labels = [
        _Label(name, level, y, at, price, now)
        for (level, name, price, now), y, at in zip(found, places, _spread(places), strict=True)
    ]
    tens = range(int(low * 10) + 1, int(high * 10) + 1)
    return {
        "labels": labels,
        "now": next((label for label in labels if label.now), None),
        "water": None if ltv is None else _BOTTOM - _place(ltv, low, high, _BOTTOM, _TOP),
        "state": _state(terms, ltv),
        "zones": _zones(terms, low, high, _BOTTOM, _TOP),
        "ticks": [(ten * 10, _place(Decimal(ten) / 10, low, high, _BOTTOM, _TOP)) for ten in tens],
        "words": _words(terms, ltv),
    }


def _price(prices: Sequence[tuple[str, Decimal | None]]) -> str:
    if len(prices) != 1 or prices[0][1] is None:
        return ""
    return f"{prices[0][0]} at {plain(prices[0][1], 'USD')} USD"


@register.inclusion_tag("components/gauge_bar.html")
def gauge_bar(terms: LadderTerms, ltv: Decimal | None = None) -> dict[str, Any]:
    """Draw the same lying down and small, for a card or a row: zones, lines, and where LTV stands."""
    low, high = _scale(terms, ltv)
    return {
        "zones": _zones(terms, low, high, 0, 1000),
        "here": None if ltv is None else _place(ltv, low, high, 0, 1000),
        "terms": terms,
        "words": _words(terms, ltv),
    }
