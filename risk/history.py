"""How a mark and an account's LTV moved, minute by minute, for charts: floats, and nothing is decided on them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.db.models import BigIntegerField, F
from django.db.models.functions import Cast, Extract, Mod

from lending.debts import owed_over
from lending.models import Asset, Loan, MarginAccount, Pledge, PledgeMovement
from risk.engine.marks import USD
from risk.models import MarkMinute, Quality
from risk.prices import Marks

POINTS = 300
_IN = (PledgeMovement.Kind.PLEDGE, PledgeMovement.Kind.TOP_UP)
_OUT = (PledgeMovement.Kind.RELEASE, PledgeMovement.Kind.SALE, PledgeMovement.Kind.CLOSE_OUT)
_WORST = (Quality.GOOD, Quality.DEGRADED, Quality.STALE, Quality.HALTED)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the marks of an asset had one quality, from its first minute to the next span's."""

    quality: Quality
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True, slots=True)
class MarkHistory:
    """The marks of one asset in USD at some instants; one that could not be used stands at its last GOOD price."""

    at: tuple[datetime, ...]
    price: tuple[float, ...]
    quality: tuple[Quality, ...]


@dataclass(frozen=True, slots=True)
class LtvHistory:
    """
    The LTV of one margin account at some instants, and the prices in USD that it rests on, by asset.

    `ltv` is None where nothing was owed, nothing was pledged, or a price is missing. `quality` is the worst of the
    marks of what the account holds and owes.
    """

    at: tuple[datetime, ...]
    ltv: tuple[float | None, ...]
    quality: tuple[Quality, ...]
    price: Mapping[str, tuple[float | None, ...]]


def of_mark(asset: Asset, marks: Marks, *, start_at: datetime, now: datetime) -> MarkHistory:
    """Return how an asset's mark moved from an instant to now, in about POINTS steps at most, in one query."""
    rows = _minutes([asset.code], start_at, now)
    latest = marks.price(asset.code) or marks.last_good(asset.code)
    if latest is not None:
        rows.append((asset.code, now, float(latest), Quality(marks.quality(asset.code))))
    return MarkHistory(
        at=tuple(at for _code, at, _price, _quality in rows),
        price=tuple(price for _code, _at, price, _quality in rows),
        quality=tuple(quality for _code, _at, _price, quality in rows),
    )


def spans(asset: Asset, *, start_at: datetime, end_at: datetime) -> list[Span]:
    """Return the spans of one quality that an asset's marks had in [start_at, end_at), the newest first."""
    minutes = MarkMinute.objects.filter(asset=asset, at__gte=start_at, at__lt=end_at).order_by("at")
    runs = [
        (quality, next(run)[1]) for quality, run in groupby(minutes.values_list("quality", "at"), lambda row: row[0])
    ]
    ends = [at for _quality, at in runs[1:]] + [end_at]
    found = [Span(Quality(quality), at, end) for (quality, at), end in zip(runs, ends, strict=True)]
    return found[::-1]


def of_account(account: MarginAccount, marks: Marks, *, start_at: datetime, now: datetime) -> LtvHistory:
    """
    Return how an account's LTV moved from an instant to now, in at most about POINTS steps and four queries.

    At each step what was pledged then, what was owed then, and the marks of that minute; the last one is now, at
    `marks`.
    """
    loans = list(Loan.objects.filter(margin_account=account).select_related("asset").order_by("pk"))
    pledges = list(Pledge.objects.filter(margin_account=account).select_related("asset").order_by("asset__code"))
    codes = sorted({loan.asset.code for loan in loans} | {pledge.asset.code for pledge in pledges})
    known: defaultdict[datetime, dict[str, tuple[float, Quality]]] = defaultdict(dict)
    for code, at, price, quality in _minutes(codes, start_at, now):
        known[at][code] = (price, quality)
    for code in codes:
        latest = marks.price(code) or marks.last_good(code)
        if latest is not None:
            known[now][code] = (float(latest), Quality(marks.quality(code)))
    times = tuple(sorted(known))
    held = _held(account, pledges, times)
    owed = owed_over(loans, times)
    ltv: list[float | None] = []
    worst: list[Quality] = []
    for place, at in enumerate(times):
        priced = {USD: (1.0, Quality.GOOD), **known[at]}
        value = {code: units[place] for code, units in held.items() if units[place]}
        debts = [(loan.asset.code, float(owed[loan.pk][place])) for loan in loans if owed[loan.pk][place]]
        needed = value.keys() | {code for code, _amount in debts}
        worst.append(max((priced[code][1] for code in needed & priced.keys()), key=_WORST.index, default=Quality.GOOD))
        if not value or not debts or needed - priced.keys():
            ltv.append(None)
            continue
        collateral = sum(units * priced[code][0] for code, units in value.items())
        ltv.append(sum(amount * priced[code][0] for code, amount in debts) / collateral)
    prices = {
        code: tuple(known[at][code][0] if code in known[at] else None for at in times) for code in codes if code != USD
    }
    return LtvHistory(times, tuple(ltv), tuple(worst), prices)


def _held(account: MarginAccount, pledges: Sequence[Pledge], times: Sequence[datetime]) -> dict[str, list[float]]:
    """Return the weighted quantity that was pledged of each asset at some instants, going back from what is now."""
    moved = PledgeMovement.objects.filter(margin_account=account, kind__in=_IN + _OUT).order_by("-effective_at", "-pk")
    back: defaultdict[int, list[tuple[datetime, float]]] = defaultdict(list)
    for asset, kind, quantity, at in moved.values_list("asset", "kind", "quantity", "effective_at"):
        back[asset].append((at, float(quantity) if kind in _IN else -float(quantity)))
    found = {}
    for pledge in pledges:
        weight, units = 1.0 - float(pledge.haircut), float(pledge.quantity + pledge.held_quantity)
        later = iter(back[pledge.asset_id])
        held: list[float] = []
        change = next(later, None)
        for at in reversed(times):
            while change is not None and change[0] > at:
                units -= change[1]
                change = next(later, None)
            held.append(max(units, 0.0) * weight)
        found[pledge.asset.code] = held[::-1]
    return found


def _minutes(codes: Sequence[str], start_at: datetime, end_at: datetime) -> list[tuple[str, datetime, float, Quality]]:
    """Return the marks of some assets at every so many minutes, by time, so that about POINTS instants come out."""
    step = max(-(-int((end_at - start_at) / timedelta(minutes=1)) // POINTS), 1) * 60
    rows = MarkMinute.objects.filter(asset__code__in=codes, at__gte=start_at, at__lt=end_at)
    rows = rows.alias(second=Cast(Extract(F("at"), "epoch"), BigIntegerField())).alias(rest=Mod(F("second"), step))
    found = rows.filter(rest=0).order_by("at", "asset__code").values_list("asset__code", "at", "price", "quality")
    return [(code, at.astimezone(UTC), float(price), Quality(quality)) for code, at, price, quality in found]
