"""Simulated dealers with an order book each: in-process for a replay, behind HTTP for the platform."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from otc.engine import dealer as core
from otc.ports import Answer, QuoteRequest, ReportedFill, Status, UnableToTell


class UnableToServe(ValueError):
    """The message makes no sense to a dealer; the text says what is wrong with it."""


class Scenario(Protocol):
    """The outside world's prices: what the dealers see of them."""

    @property
    def start_at(self) -> datetime:
        """Return the first instant."""

    @property
    def end_at(self) -> datetime:
        """Return the last instant."""

    def mid(self, asset: str, at: datetime) -> Decimal:
        """Return USD per unit at an instant."""


@dataclass(frozen=True)
class Depth:
    """What simulated dealers know of an asset's market besides its price; rough figures of 2021."""

    daily_volatility: Decimal
    daily_volume_usd: Decimal
    lot: Decimal


DEPTHS = {
    "BTC": Depth(Decimal("0.05"), Decimal(8_000_000_000), Decimal("0.0001")),
    "ETH": Depth(Decimal("0.065"), Decimal(5_000_000_000), Decimal("0.001")),
    "LINK": Depth(Decimal("0.09"), Decimal(400_000_000), Decimal("0.01")),
    "USDC": Depth(Decimal("0.001"), Decimal(1_000_000_000), Decimal("0.01")),
    "USDT": Depth(Decimal("0.001"), Decimal(10_000_000_000), Decimal("0.01")),
}


@dataclass(frozen=True)
class Order:
    """One client order id in a dealer's book."""

    client_order_id: str
    asset: str
    quantity: Decimal
    asked_at: datetime
    status: Status
    mid: Decimal
    offer: core.Offer | None = None
    accepted_at: datetime | None = None
    reason: str = ""


class Journal:
    """An append-only file of order states: what was acknowledged survives a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._end_torn_line()

    def write(self, order: Order) -> None:
        """Put an order's new state on disk before anybody hears of it."""
        line = json.dumps(_to_json(order)).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def orders(self) -> dict[str, Order]:
        """Return the newest state of every order; a line cut off by a kill was never acknowledged."""
        found: dict[str, Order] = {}
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    order = _from_json(json.loads(line))
                except (ValueError, KeyError, TypeError, ArithmeticError):
                    continue
                found[order.client_order_id] = order
        return found

    def _end_torn_line(self) -> None:
        """Close a line that a kill cut off, so that the next one is not glued to it."""
        if self._path.exists():
            content = self._path.read_bytes()
            if content and not content.endswith(b"\n"):
                with self._path.open("ab") as file:
                    file.write(b"\n")


class SimulatedDealer:
    """A dealer whose answers are a function of seed, client order id and the scenario's prices."""

    client_made_ids = True

    def __init__(
        self, character: core.Character, scenario: Scenario, *, seed: int, journal: Journal | None = None
    ) -> None:
        self.code = character.name
        self.settlement_lag_s = character.settlement_lag_s
        self.character = character
        self._scenario = scenario
        self._seed = seed
        self._journal = journal
        self._orders = journal.orders() if journal else {}
        self._lock = threading.Lock()

    def request_quote(self, request: QuoteRequest) -> Answer:
        """Return a bid or a refusal; the same id always gets the same answer."""
        if request.asset not in DEPTHS:
            raise UnableToServe(f"no market is made in {request.asset!r}")
        if not request.quantity.is_finite() or request.quantity <= 0:
            raise UnableToServe(f"a quantity above zero is needed, not {request.quantity}")
        with self._lock:
            known = self._orders.get(request.client_order_id)
            if known is None:
                known = self._keep(self._quoted(request))
            elif (known.asset, known.quantity) != (request.asset, request.quantity):
                raise UnableToServe(f"{request.client_order_id} was used for {known.quantity} {known.asset}")
            return self._answer(known, request.at)

    def accept(self, client_order_id: str, *, at: datetime) -> Answer:
        """Buy at the quoted price unless the quote is over or the last look says no; sometimes the answer is lost."""
        with self._lock:
            order = self._known(client_order_id)
            if order.status == Status.QUOTED:
                order = self._keep(self._decided(order, at))
                if core.answer_is_lost(self.character, self._seed, client_order_id):
                    raise UnableToTell(f"{self.code} did not answer the acceptance of {client_order_id}")
            return self._answer(order, at)

    def withdraw(self, client_order_id: str, *, at: datetime) -> Answer:
        """Void an order that was not accepted."""
        with self._lock:
            order = self._known(client_order_id)
            if order.status == Status.QUOTED:
                order = self._keep(replace(order, status=Status.WITHDRAWN, reason="withdrawn by the client"))
            return self._answer(order, at)

    def query(self, client_order_id: str, *, at: datetime) -> Answer | None:
        """Return the order as it stands, None when it is not known here."""
        with self._lock:
            order = self._orders.get(client_order_id)
            return self._answer(order, at) if order else None

    def _quoted(self, request: QuoteRequest) -> Order:
        market = self._market(request.asset, request.at)
        made = core.offer(self.character, self._seed, request.client_order_id, request.quantity, market, at=request.at)
        refused = isinstance(made, str)
        return Order(
            client_order_id=request.client_order_id,
            asset=request.asset,
            quantity=request.quantity,
            asked_at=request.at,
            status=Status.REFUSED if refused else Status.QUOTED,
            mid=market.mid,
            offer=None if isinstance(made, str) else made,
            reason=made if isinstance(made, str) else "",
        )

    def _decided(self, order: Order, at: datetime) -> Order:
        if order.offer is None or at > order.offer.expires_at:
            return replace(order, status=Status.EXPIRED, reason="the quote had ended")
        market = self._market(order.asset, at)
        objection = core.last_look(self.character, order.mid, order.offer.price, market)
        if objection:
            return replace(order, status=Status.REJECTED, reason=objection)
        return replace(order, status=Status.ACCEPTED, accepted_at=at)

    def _known(self, client_order_id: str) -> Order:
        if client_order_id not in self._orders:
            raise UnableToServe(f"no order {client_order_id!r} is known here")
        return self._orders[client_order_id]

    def _keep(self, order: Order) -> Order:
        if self._journal:
            self._journal.write(order)
        self._orders[order.client_order_id] = order
        return order

    def _market(self, asset: str, at: datetime) -> core.Market:
        def mid(seconds_ago: int) -> Decimal:
            then = at - timedelta(seconds=seconds_ago)
            return self._scenario.mid(asset, min(max(then, self._scenario.start_at), self._scenario.end_at))

        depth = DEPTHS[asset]
        return core.Market(mid(0), mid(60), mid(900), depth.daily_volatility, depth.daily_volume_usd)

    def _answer(self, order: Order, at: datetime) -> Answer:
        fills: tuple[core.Execution, ...] = ()
        if order.offer and order.accepted_at:
            fills = core.executions(
                self.character,
                self._seed,
                order.client_order_id,
                order.offer,
                lot=DEPTHS[order.asset].lot,
                at=order.accepted_at,
            )
        seen = tuple(
            ReportedFill(order.client_order_id, fill.fill_id, fill.quantity, fill.price, fill.executed_at)
            for fill in fills
            if fill.executed_at <= at
        )
        return Answer(
            client_order_id=order.client_order_id,
            status=order.status,
            quote_id=f"{self.code}:{order.client_order_id}" if order.offer else "",
            price=order.offer.price if order.offer else None,
            quantity=order.offer.quantity if order.offer else None,
            expires_at=order.offer.expires_at if order.offer else None,
            fills=seen,
            done=order.status != Status.QUOTED and len(seen) == len(fills),
            reason=order.reason,
        )


def dealers(scenario: Scenario, *, seed: int, data_dir: Path | None = None) -> Mapping[str, "SimulatedDealer"]:
    """Return the three simulated dealers, with a journal each when there is a folder for it."""
    return {
        name: SimulatedDealer(
            character,
            scenario,
            seed=seed,
            journal=Journal(data_dir / f"{name}.jsonl") if data_dir else None,
        )
        for name, character in core.CHARACTERS.items()
    }


def _to_json(order: Order) -> dict[str, Any]:
    made = order.offer
    return {
        "id": order.client_order_id,
        "asset": order.asset,
        "quantity": str(order.quantity),
        "asked_at": order.asked_at.isoformat(),
        "status": order.status.value,
        "mid": str(order.mid),
        "offer": [str(made.price), str(made.quantity), made.expires_at.isoformat()] if made else None,
        "accepted_at": order.accepted_at.isoformat() if order.accepted_at else None,
        "reason": order.reason,
    }


def _from_json(row: dict[str, Any]) -> Order:
    made, accepted_at = row["offer"], row["accepted_at"]
    return Order(
        client_order_id=row["id"],
        asset=row["asset"],
        quantity=Decimal(row["quantity"]),
        asked_at=datetime.fromisoformat(row["asked_at"]),
        status=Status(row["status"]),
        mid=Decimal(row["mid"]),
        offer=core.Offer(Decimal(made[0]), Decimal(made[1]), datetime.fromisoformat(made[2])) if made else None,
        accepted_at=datetime.fromisoformat(accepted_at) if accepted_at else None,
        reason=row["reason"],
    )
