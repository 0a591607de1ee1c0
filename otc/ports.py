"""
The dealers as this app sees them.

What keeps the core sound, and must hold for every adapter:

- The client makes the id. A dealer that gives out its own ids only can not be made exactly-once and is refused here.
- One client order id means one quote and at most one acceptance, however often a message arrives.
- `query` tells the truth: an acceptance it does not show, after `withdraw` returned, can never take effect.
- Fill ids are the dealer's own and never used twice; a fill, once reported, never changes.
- An outcome that is not known raises UnableToTell, and only that: the caller queries before it sends anything again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string


class UnableToTell(Exception):
    """The dealer was asked and no answer came: what was asked may or may not have happened."""


class UnableToTrust(Exception):
    """A dealer without client-made ids can not be made exactly-once; route it through a person."""


class Status(StrEnum):
    """Where an order of ours stands at a dealer."""

    QUOTED = "quoted"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


@dataclass(frozen=True)
class QuoteRequest:
    """An offer to sell; at is platform time."""

    client_order_id: str
    asset: str
    quantity: Decimal
    at: datetime


@dataclass(frozen=True)
class ReportedFill:
    """An execution of our order as the dealer reports it; price in USD per unit."""

    client_order_id: str
    fill_id: str
    quantity: Decimal
    price: Decimal
    executed_at: datetime


@dataclass(frozen=True)
class Answer:
    """Everything a dealer says about one client order id; done means that no more fills will come."""

    client_order_id: str
    status: Status
    quote_id: str = ""
    price: Decimal | None = None
    quantity: Decimal | None = None
    expires_at: datetime | None = None
    fills: tuple[ReportedFill, ...] = ()
    done: bool = False
    reason: str = ""


class Dealer(Protocol):
    """A counterparty that quotes by client-made ids; see the module's assumptions."""

    code: str
    client_made_ids: bool
    settlement_lag_s: int

    def request_quote(self, request: QuoteRequest) -> Answer:
        """Ask for a bid; asking again under the same id returns the same answer."""

    def accept(self, client_order_id: str, *, at: datetime) -> Answer:
        """Sell at the quoted price; accepting again returns the order as it stands."""

    def withdraw(self, client_order_id: str, *, at: datetime) -> Answer:
        """Make sure that an order that was not accepted never will be, and return it as it stands."""

    def query(self, client_order_id: str, *, at: datetime) -> Answer | None:
        """Return what the dealer knows of an id, None when it never heard of it."""


_installed: list[Mapping[str, Dealer]] = []


def dealers() -> Mapping[str, Dealer]:
    """Return the dealers that settings name, by code."""
    return _installed[-1] if _installed else _from_settings()


@contextlib.contextmanager
def using(chosen: Mapping[str, Dealer]) -> Iterator[None]:
    """Have this process deal with the given dealers instead: a replay brings its own."""
    _installed.append({code: trusted(dealer) for code, dealer in chosen.items()})
    try:
        yield
    finally:
        _installed.pop()


def trusted(dealer: Dealer) -> Dealer:
    """Return the dealer if the core may rely on it."""
    if not dealer.client_made_ids:
        raise UnableToTrust(f"{dealer.code} takes no client-made ids")
    return dealer


@cache
def _from_settings() -> Mapping[str, Dealer]:
    chosen = [
        trusted(import_string(entry["adapter"])(entry["name"], url=settings.OTC_DEALERS_URL))
        for entry in settings.OTC_DEALERS
    ]
    return {dealer.code: dealer for dealer in chosen}
