"""How amounts, ratios, ages and countdowns are written, everywhere the same."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lending.engine.figures import CASH

register = template.Library()

_DASH = SafeString('<span class="muted">–</span>')
_WORDS = {"fx": "FX", "kyc_case": "KYC case", "w-9": "W-9"}
_NO_BREAK = "\N{NO-BREAK SPACE}"
_CASH_DECIMALS = 2
_COIN_DECIMALS = 8
_CHEAP, _CHEAP_DECIMALS = 10, 6


def plain(amount: Decimal, asset: str) -> str:
    """Return an amount with thousands separators: cents for money, up to eight places for coins."""
    if asset in CASH:
        return f"{amount:,.{_CASH_DECIMALS}f}"
    whole = f"{amount:,.{_COIN_DECIMALS}f}".rstrip("0").rstrip(".")
    return whole if Decimal(whole.replace(",", "")) or not amount else f"{amount.normalize():f}"


@register.simple_tag
def amount(value: Decimal | str | None, asset: Any, bare: bool = False) -> SafeString:
    """Write an amount beside its asset, or `bare` where the asset follows; a dash where there is none."""
    if value is None or value == "":  # a variable that a template does not know is an empty text
        return _DASH
    if bare:
        return format_html('<span class="amount">{}</span>', plain(Decimal(value), str(asset)))
    return format_html(
        '<span class="amount">{} <abbr class="asset">{}</abbr></span>', plain(Decimal(value), str(asset)), asset
    )


@register.simple_tag
def price(value: Decimal | None) -> SafeString:
    """Write a price in USD: with cents, below 10 with the six places that a coin tied to the dollar moves in."""
    if value is None:
        return _DASH
    places = _CASH_DECIMALS if value >= _CHEAP else _CHEAP_DECIMALS
    return format_html('<span class="amount">{} <abbr class="asset">USD</abbr></span>', f"{value:,.{places}f}")


@register.filter
def percent(value: Decimal | None, places: int = 2) -> str:
    """
    Write a ratio as a percentage, which no line breaks in two.

    A dash where it is not known, ∞ where there is debt without collateral.
    """
    if value is None or value.is_nan():
        return "–"
    if value.is_infinite() or value >= Decimal(999999):
        return "∞"
    return f"{value * 100:.{places}f}{_NO_BREAK}%"


@register.filter
def utc(value: datetime | None) -> SafeString:
    """Write an instant in UTC, with the reader's own time as a hint that the page's script adds."""
    if value is None:
        return _DASH
    return format_html(
        '<time datetime="{}" data-local>{} UTC</time>', value.isoformat(), value.strftime("%d %b %Y %H:%M:%S")
    )


@register.filter
def utc_and_local(value: datetime | None) -> SafeString:
    """Write an instant in UTC, and have the page's script write the reader's own time beside it."""
    if value is None:
        return _DASH
    return format_html(
        '<time datetime="{}" data-local="beside">{} UTC</time>', value.isoformat(), value.strftime("%d %b %Y %H:%M:%S")
    )


@register.simple_tag
def since(at: datetime | None, now: datetime) -> SafeString:
    """Write an instant of the past shortly in UTC: its time, and its day unless that is today."""
    if at is None:
        return _DASH
    text = at.strftime("%H:%M" if at.date() == now.date() else "%d %b %H:%M")
    return format_html('<time datetime="{}" class="nowrap" data-local>{} UTC</time>', at.isoformat(), text)


@register.filter
def span(seconds: Any) -> str:
    """Write a length of time: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    total = int(seconds)
    if total < 60:
        return f"{total} s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60:02d} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


@register.simple_tag
def countdown(due_at: datetime | None, now: datetime) -> SafeString:
    """Write how long is left on the platform's clock; the page's script counts on from it."""
    if due_at is None:
        return SafeString('<span class="muted">not running yet</span>')
    left = max(int((due_at - now).total_seconds()), 0)
    text = f"{left // 3600}:{left % 3600 // 60:02d}:{left % 60:02d}"
    return format_html('<time class="countdown" datetime="{}" data-due>{}</time>', due_at.isoformat(), text)


@register.simple_tag
def age(at: datetime | None, now: datetime) -> SafeString:
    """Write how old something is in platform time."""
    if at is None:
        return SafeString('<span class="muted">never</span>')
    seconds = max((now - at).total_seconds(), 0)
    return format_html('<time datetime="{}" data-age>{} ago</time>', at.isoformat(), span(seconds))


_TONES = {
    "good": {"healthy", "good", "cured", "active", "credited", "settled", "filled", "done", "repaid", "closed",
             "met", "in_force"},
    "warn": {"warning", "degraded", "acknowledged", "notified", "issued", "partially_cured", "pending", "confirmed",
             "call", "requested", "collateral_pending", "cured_by_market", "working", "recalled", "matured", "noticed",
             "due", "proposed"},
    "bad": {"accelerated", "liquidate", "expired", "liquidating", "liquidated", "stale", "halted", "unknown", "failed",
            "defaulted", "true_match", "workout", "written_off", "reorged", "unmatched", "held", "rejected",
            "booked_out", "late"},
}  # fmt: skip


@register.simple_tag
def badge(state: Any, label: str = "") -> SafeString:
    """Write a state as a badge: its word carries the meaning, its colour repeats it."""
    text = str(state)
    tone = next((name for name, states in _TONES.items() if text.lower() in states), "plain")
    return format_html('<span class="badge {} {}">{}</span>', tone, text, label or text.replace("_", " "))


_WAITS_FOR = {"held": "a person looks at it before it counts", "unmatched": "waits for a person to match it"}


@register.filter
def waits_for(state: str) -> str:
    """Write for its client what becomes of a transfer that has arrived and waits for a person; nothing of others."""
    return _WAITS_FOR.get(str(state), "")


@register.filter
def words(name: str) -> str:
    """Write the name of a kind as words: cure_due_at, call_issued."""
    said = _WORDS.get(str(name)) or str(name).replace("_", " ").replace("-", " ")
    return said[:1].upper() + said[1:]


@register.filter
def short(public_id: Any) -> str:
    """Write the beginning of a public id: enough to tell a person's own things apart."""
    return str(public_id)[:8]


@register.filter
def fingerprint(digest: bytes) -> str:
    """Write a hash in full, in groups that an eye can compare."""
    text = bytes(digest).hex()
    return " ".join(text[at : at + 8] for at in range(0, len(text), 8))


@register.simple_tag
def figure(value: Decimal | None, unit: str, change: bool = False) -> SafeString:
    """Write a key figure in its unit, with its sign where it is a change; a dash where it is not known."""
    if value is None:
        return _DASH
    sign = "+" if change and value > 0 else ""
    if unit == "ratio":
        return format_html("{}{}", sign, f"{value * 100:.2f} points" if change else percent(value))
    if unit == "seconds":
        return format_html("{}{}", "−" if value < 0 else sign, span(abs(value)))
    if unit == "count":
        return format_html("{}{}", sign, f"{value:,.0f}")
    if unit == "bps":
        return format_html('{}{} <abbr class="asset">bps</abbr>', sign, f"{value:.1f}")
    return format_html("{}{}", sign, amount(value, unit))


@register.filter
def item(mapping: dict[str, Any], key: Any) -> Any:
    """Return what a mapping holds under a key that is itself a variable."""
    return mapping.get(str(key))


@register.filter
def number(value: Any) -> Decimal | None:
    """Return a figure that was stored as text, as JSON keeps exact amounts."""
    return None if value in {None, ""} else Decimal(str(value))


@register.filter
def columns(sources: Any) -> list[str]:
    """Return what is known about the sources of a mark, what a reader looks for first."""
    known = {name for row in _rows(sources).values() for name in row} - {"source"}
    return [*(name for name in _FIRST if name in known), *sorted(known - set(_FIRST))]


@register.filter
def table(sources: Any) -> list[tuple[str, list[str]]]:
    """Return the sources of a mark as rows of text under those columns; one that is left out weighs nothing in it."""
    names = columns(sources)
    rows = {source: row | _left_out(row) for source, row in sorted(_rows(sources).items())}
    return [(source, [fact(row.get(name)) for name in names]) for source, row in rows.items()]


_FIRST = ("quote", "price", "used", "weight", "reason", "excluded", "clamped", "at", "age_s", "synthetic")


def _left_out(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be said of a source whose price the mark does not use: its weight is that of its feed."""
    return {"used": "left out", "weight": None} if "used" in row and row["used"] is None else {}


def _rows(sources: Any) -> dict[str, dict[str, Any]]:
    if isinstance(sources, list):
        return {str(row.get("source", place)): row for place, row in enumerate(sources, start=1)}
    return {str(name): row if isinstance(row, dict) else {"price": row} for name, row in sources.items()}


@register.filter
def sentence(words: str) -> str:
    """End what somebody wrote with a full stop, unless it ends already."""
    text = words.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


@register.filter
def fact(value: Any) -> str:
    """Write a value that was stored as JSON: instants, figures and small tables as a person reads them."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {fact_of(inner, name)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(fact, value))
    return _stored(str(value))


@register.filter
def fact_of(value: Any, name: str) -> str:
    """Write a stored value by what its name says it is: a ratio as a percentage, seconds as a length of time."""
    with contextlib.suppress(InvalidOperation, TypeError, ValueError):
        if name.endswith("_s"):
            return span(value)
        if (
            "ltv" in name
            or "haircut" in name
            or name.endswith("_fee")
            or (name in ("cured_fraction", "level") and not isinstance(value, bool))
        ):
            return percent(Decimal(str(value)))
    return "margin call" if (name, value) == ("level", "call") else fact(value)


def _stored(text: str) -> str:
    with contextlib.suppress(ValueError):
        if "T" in text:
            return f"{datetime.fromisoformat(text).astimezone(UTC):%d %b %Y %H:%M:%S} UTC"
    try:
        figure = Decimal(text)
    except InvalidOperation:
        return text
    if not figure.is_finite():
        return text
    short = f"{figure:,.6f}".rstrip("0").rstrip(".")
    return short if Decimal(short.replace(",", "")) or not figure else f"{figure:f}"
