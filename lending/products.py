"""
Products: what a relationship manager can offer, changed by two persons.

A change is for offers from then on. What a loan runs by stands in its term sheet, and no product reaches back to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from lending import access, approvals, audit, reasons
from lending.engine import money
from lending.models import (
    Approval,
    Asset,
    Benchmark,
    Book,
    LadderTerms,
    PledgeTerms,
    Product,
    ProductHaircut,
    Role,
    User,
)

KIND = "product"
MAKERS = frozenset({Role.RISK, Role.RISK_HEAD, Role.DESK_HEAD})

# What a loan takes over from its product, under the same name.
TERMS = (
    "day_count",
    "origination_fee",
    "tenor",
    "notice_days",
    "unused_fee",
    "benchmark",
    "spread",
    "rate_floor",
    "rate_cap",
    "reset_months",
    "fixing_lag_days",
    "schedule_kind",
    "frequency_months",
    "calendar",
    "grace_days",
    "late_fee",
    "prepayment",
    "prepayment_rate",
)
_CHANGED = ("name", "terms", "pledge_terms", *TERMS)
_OFF = "haircut of "


class UnableToChange(Exception):
    """A product can not be changed like that; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a product is to offer: its columns by name, the ladder preset among them, and haircuts by asset code."""

    code: str
    columns: Mapping[str, Any]
    haircuts: Mapping[str, Decimal] = field(default_factory=dict)
    asset: Asset | None = None  # of a product that is new
    book: Book | None = None


def haircuts(product: Product) -> dict[str, Decimal]:
    """Return what a product takes off the value of each asset, by code; of an asset without a word, nothing."""
    rows = product.haircuts.all()
    return {row.asset.code: row.haircut for row in rows}


def taken() -> list[Asset]:
    """Return the assets that can secure a loan."""
    return list(Asset.objects.exclude(kind=Asset.Kind.FIAT).order_by("code"))


def waiting(code: str, *, now: datetime) -> Approval | None:
    """Return the change of a product that nobody has decided yet."""
    found = Approval.objects.filter(kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    return found.filter(payload__product=code).select_related("maker").first()


def ask(wanted: Wanted, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to have a product offer something else, or to take a new one on.

    Raises
    ------
    UnableToChange
        If nothing would change, no reason is given, a value is none that the product can have, or a change of it
        waits already.
    lending.access.UnableToAccess
        If the maker is neither of risk nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    said = reasons.kept(reason, UnableToChange, missing="say why: the second person reads it")
    if waiting(wanted.code, now=now) is not None:
        raise UnableToChange(f"a change of {wanted.code} waits for a second person already")
    standing = Product.objects.filter(code=wanted.code).select_related("asset", "book", "terms", "pledge_terms").first()
    before = _facts(standing)
    after = _asked(wanted, standing)
    changed = {name: value for name, value in after.items() if before.get(name, "") != value}
    if not changed:
        raise UnableToChange("it offers that already: nothing would change")
    _check(wanted, standing)
    instead = {name: before[name] for name in changed if name in before}
    payload = {"product": wanted.code, **changed, "instead_of": instead, "reason": said}
    return approvals.request(KIND, payload, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Product:
    """
    Change a product, or take it on, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was changed meanwhile, so that the second person has read what is no longer so; or its ladder is
        offered no more.
    """
    asked = dict(approval.payload)
    code, instead, reason = asked.pop("product"), asked.pop("instead_of"), asked.pop("reason")
    standing = Product.objects.select_for_update(of=("self",)).filter(code=code).first()
    before = _facts(standing)
    if {name: before[name] for name in asked if name in before} != instead:
        raise approvals.UnableToApprove(f"{code} was changed meanwhile: ask again")
    product = standing or Product(code=code)
    for name in (*_CHANGED, "asset", "book"):
        if name in asked:
            setattr(product, name, _read(name, asked[name]))
    product.save()
    for name, value in asked.items():
        if name.startswith(_OFF):
            asset = Asset.objects.get(code=name.removeprefix(_OFF))
            product.haircuts.update_or_create(asset=asset, defaults={"haircut": Decimal(value)})
    facts = {**asked, "maker": approval.maker.email}
    audit.write(
        "product_changed", actor=approval.checker, obj=product, before=instead, after=facts, reason=reason, now=now
    )
    return product


def _facts(product: Product | None) -> dict[str, str]:
    """Return what a product offers as text, by the names that a request uses."""
    if product is None:
        return {}
    columns = {name: _text(getattr(product, name)) for name in (*_CHANGED, "asset", "book")}
    return columns | {f"{_OFF}{code}": money.text(value) for code, value in haircuts(product).items()}


def _asked(wanted: Wanted, standing: Product | None) -> dict[str, str]:
    named = dict(wanted.columns)
    if standing is None:
        named |= {"asset": wanted.asset, "book": wanted.book}
    off = {f"{_OFF}{code}": money.text(value) for code, value in wanted.haircuts.items()}
    known = _facts(standing)
    return {name: _text(value) for name, value in named.items()} | {
        name: value for name, value in off.items() if name in known or Decimal(value)
    }


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, (Asset, Book)):
        return value.code
    return value.name if isinstance(value, (LadderTerms, PledgeTerms)) else str(value)


def _read(name: str, text: str) -> Any:
    """Return the value that a text stands for, in the column of a name."""
    if name == "asset":
        return Asset.objects.get(code=text)
    if name == "book":
        return Book.objects.get(code=text)
    if name == "terms":
        if (ladder := LadderTerms.objects.filter(name=text, is_preset=True).first()) is None:
            raise approvals.UnableToApprove(f"the ladder {text} is offered no more: ask again")
        return ladder
    if name == "pledge_terms":
        return PledgeTerms.objects.get(name=text)
    column: Any = Product._meta.get_field(name)
    return column.to_python(text)


def _check(wanted: Wanted, standing: Product | None) -> None:
    row = standing or Product(code=wanted.code, asset=wanted.asset, book=wanted.book)
    for name, value in wanted.columns.items():
        setattr(row, name, value)
    trials = [row, *(ProductHaircut(haircut=value) for value in wanted.haircuts.values())]
    try:
        for trial in trials:
            trial.clean_fields(exclude=("product", "asset") if isinstance(trial, ProductHaircut) else ())
        row.validate_constraints()
    except ValidationError as refused:
        raise UnableToChange("; ".join(words.rstrip(".") for words in refused.messages)) from refused
    if row.benchmark and not Benchmark.objects.filter(code=row.benchmark).exists():
        raise UnableToChange(f"no benchmark is called {row.benchmark}: record its first fixing")
    if not 0 <= row.origination_fee < 1:
        raise UnableToChange("an origination fee is at least 0 and less than all of the loan")
    for code, value in wanted.haircuts.items():
        if not 0 <= value < 1:
            raise UnableToChange(f"a haircut of {code} is at least 0 and less than 1")
