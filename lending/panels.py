"""
Panels that higher apps add to the pages of lower ones.

`settings.PANELS` names, for each place on a page, functions by dotted path: `(request, subject, *, now) -> str`, safe
HTML or nothing. So the loan page shows LTV without lending ever importing risk. Panels of a place that a page repeats
take all of its subjects at once and return one piece of HTML for each: they read what they need once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString

from lending.interest import Debt
from lending.models import Client, LadderTerms, Loan, MarginAccount
from lending.term_sheets import Drawn


@dataclass(frozen=True, slots=True)
class Indebted:
    """
    A client, or one loan of theirs, as the subject of a panel: with all debts that the page has read already.

    `awaited` are the loans that wait for a step of the client: offers to decide, collateral to send.
    """

    client: Client
    debts: Sequence[Debt]
    loan: Loan | None = None
    awaited: Sequence[Loan] = ()


@dataclass(frozen=True, slots=True)
class OtherLadder:
    """A margin account and the ladder that is wanted for it, as the subject of a panel."""

    account: MarginAccount
    wanted: LadderTerms


def render(place: str, request: HttpRequest, subject: Any, *, now: datetime) -> SafeString:
    """Return the HTML of all panels at a place, in the order of the settings."""
    return format_html_join("\n", "{}", ((panel(request, subject, now=now),) for panel in _at(place)))


def ladders(request: HttpRequest, loan: Loan, drawn: Drawn, *, now: datetime) -> SafeString:
    """Return the HTML of what higher apps say of a ladder that a sheet changes; nothing where it changes none."""
    if not drawn.amends["before"]["ladder"]:
        return SafeString("")
    return render("amendment.ladder", request, OtherLadder(loan.margin_account, LadderTerms(**drawn.ladder)), now=now)


def render_each(place: str, request: HttpRequest, subjects: Sequence[Any], *, now: datetime) -> list[SafeString]:
    """Return the HTML of all panels at a place that a page repeats, for each subject."""
    shown = [panel(request, subjects, now=now) for panel in _at(place)]
    return [format_html_join("\n", "{}", ((parts[index],) for parts in shown)) for index in range(len(subjects))]


@cache
def _at(place: str) -> tuple[Callable[..., Any], ...]:
    return tuple(import_string(path) for path in settings.PANELS.get(place, ()))
