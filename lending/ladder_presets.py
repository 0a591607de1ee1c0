"""
Ladder presets: the ladders that a product can stand on, offered, and offered no more, by two persons.

The figures of one never change, because loans stand on them: another ladder is another preset, to which a product then
changes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from lending import access, approvals, audit, margin_accounts, reasons
from lending.engine import money, terms
from lending.models import Approval, LadderTerms, Product, User
from lending.products import MAKERS

KIND, END = "ladder_preset", "end_ladder_preset"
SHORTEST_S, LONGEST_S = 60, 366 * 86_400


class UnableToOffer(Exception):
    """A ladder can not be offered, or offered no more; the message says why."""


def waiting(*, now: datetime) -> list[Approval]:
    """Return the ladders to be offered, and to be offered no more, that wait for a second person."""
    return approvals.waiting(KIND, END, now=now)


def ask(name: str, figures: Mapping[str, Any], *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to offer a ladder to products.

    Parameters
    ----------
    figures : mapping
        Every term of a sheet's part `ladder` by name: ratios (0.65 is 65 %), whole seconds, USD.

    Raises
    ------
    UnableToOffer
        If the figures make no ladder, it has no name of its own, one of that name waits already, or no reason is said.
    lending.access.UnableToAccess
        If the maker is neither of risk nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    said = reasons.kept(reason, UnableToOffer, missing="say why: the second person reads it")
    called = name.strip()
    try:
        written = terms.written("ladder", figures)
    except terms.UnableToWrite as refusal:
        raise UnableToOffer(str(refusal)) from refusal
    _check(LadderTerms(name=called, is_preset=True, **figures))
    if called in {asked.payload["ladder"] for asked in waiting(now=now)}:
        raise UnableToOffer(f"a request about a ladder called {called} waits for a second person already")
    payload = {"ladder": called, "figures": written, "reason": said}
    return approvals.request(KIND, payload, maker=maker, now=now)


def ask_end(preset: LadderTerms, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to offer a ladder no more; what stands on it goes on.

    Raises
    ------
    UnableToOffer
        If it is not offered, products stand on it, a request about it waits already, or no reason is said.
    lending.access.UnableToAccess
        If the maker is neither of risk nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    said = reasons.kept(reason, UnableToOffer, missing="say why: the second person reads it")
    _check_end(preset)
    if preset.name in {asked.payload["ladder"] for asked in waiting(now=now)}:
        raise UnableToOffer("a request about it waits for a second person already")
    payload = {"ladder": preset.name, "preset": preset.pk, "reason": said}
    return approvals.request(END, payload, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> LadderTerms:
    """
    Offer a ladder as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If another is called that by now.
    """
    asked = approval.payload
    row = LadderTerms(name=asked["ladder"], is_preset=True, **figures_of(asked))
    try:
        _check(row)
    except UnableToOffer as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row.save(force_insert=True)
    _write("ladder_offered", approval, row, after=asked["figures"], now=now)
    return row


@transaction.atomic
def carry_out_end(approval: Approval, *, now: datetime) -> LadderTerms:
    """
    Offer a ladder no more, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If a product stands on it by now, or it is offered no more already.
    """
    row = LadderTerms.objects.select_for_update().get(pk=approval.payload["preset"])
    try:
        _check_end(row)
    except UnableToOffer as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row.is_preset = False
    row.save(update_fields=["is_preset"])
    _write("ladder_not_offered", approval, row, after={}, now=now)
    return row


def figures_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a ladder that was asked for, by name, as they were before they were written."""
    return terms.read_part({"ladder": payload["figures"]}, "ladder")


def _check(row: LadderTerms) -> None:
    if wrong := margin_accounts.unfit(row):
        raise UnableToOffer(wrong)
    for name in ("cure_to", "liquidate_to", "clear_ltv", "initial_ltv"):
        if not money.is_positive(getattr(row, name)):
            raise UnableToOffer(f"{_label(name)} is above 0: no debt has an LTV of nothing")
    for name in ("release_trigger", "release_to", "liquidation_fee", "gap_limit"):
        if not 0 <= getattr(row, name) < 1:
            raise UnableToOffer(f"{_label(name)} is at least 0 and less than 100 %")
    if not SHORTEST_S <= row.accelerated_cure_period_s <= row.cure_period_s:
        raise UnableToOffer("an accelerated call leaves a minute at least, and no more time than a call does")
    for name in ("cure_period_s", "clear_hold_s", "reopen_window_s", "final_wait_s"):
        if getattr(row, name) > LONGEST_S:
            raise UnableToOffer(f"{_label(name)} is a year at most")


def _check_end(preset: LadderTerms) -> None:
    if not preset.is_preset:
        raise UnableToOffer("it is not offered")
    on_it = Product.objects.filter(terms=preset).order_by("code").values_list("code", flat=True)
    if on_it:
        raise UnableToOffer(f"{', '.join(on_it)} stands on it: give it another ladder first")


def _label(name: str) -> str:
    return next(term.label for term in terms.of_part("ladder") if term.name == name)


def _write(action: str, approval: Approval, row: LadderTerms, *, after: Mapping[str, Any], now: datetime) -> None:
    facts = {"ladder": row.name, **after, "maker": approval.maker.email}
    audit.write(action, actor=approval.checker, obj=row, after=facts, reason=approval.payload["reason"], now=now)
