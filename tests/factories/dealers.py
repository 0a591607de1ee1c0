"""Dealers for tests: the simulated ones on a flat market, and one that follows a script."""

import datetime as dt
from dataclasses import dataclass, field, replace
from decimal import Decimal

from otc.adapters.dealers_simulated import SimulatedDealer
from otc.engine.dealer import CHARACTERS, Character
from otc.ports import Answer, QuoteRequest, ReportedFill, Status, UnableToTell

ALWAYS_PLAIN = {
    "partial_chance": Decimal(0),
    "lost_answer_chance": Decimal(0),
    "stale_chance": Decimal(0),
    "crossed_chance": Decimal(0),
    "latency_ms": 0,
}


@dataclass
class FlatMarket:
    """A scenario whose prices stand still until a test moves them."""

    prices: dict[str, Decimal]
    start_at: dt.datetime = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
    end_at: dt.datetime = dt.datetime(2021, 5, 21, tzinfo=dt.UTC)

    def mid(self, asset: str, at: dt.datetime) -> Decimal:
        assert self.start_at <= at <= self.end_at
        return self.prices[asset]


def character(name: str = "harbour", **changes: object) -> Character:
    return replace(CHARACTERS[name], **{**ALWAYS_PLAIN, **changes})


def simulated(market: FlatMarket, name: str = "harbour", **changes: object) -> SimulatedDealer:
    return SimulatedDealer(character(name, **changes), market, seed=7)


@dataclass
class ScriptedDealer:
    """Answers as it is told: a price or a refusal, and what happens on acceptance."""

    code: str
    price: Decimal | None = Decimal(39_900)
    on_accept: str = "accept"  # accept | reject | lose (acts, does not answer) | drop (neither acts nor answers)
    deaf: bool = False  # answers nothing at all
    parts: tuple[Decimal, ...] = ()  # fractions of the quantity that are filled; () fills it whole
    finish: bool = True
    client_made_ids: bool = True
    settlement_lag_s: int = 300
    orders: dict[str, Answer] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)

    def request_quote(self, request: QuoteRequest) -> Answer:
        self._hear("request_quote", request.client_order_id)
        answer = Answer(request.client_order_id, Status.REFUSED, reason="no bid", done=True)
        if self.price is not None:
            answer = Answer(
                request.client_order_id,
                Status.QUOTED,
                quote_id=f"{self.code}-{request.client_order_id}",
                price=self.price,
                quantity=request.quantity,
                expires_at=request.at + dt.timedelta(seconds=60),
            )
        return self.orders.setdefault(request.client_order_id, answer)

    def accept(self, client_order_id: str, *, at: dt.datetime) -> Answer:
        self._hear("accept", client_order_id)
        order = self.orders[client_order_id]
        if self.on_accept == "drop":
            raise UnableToTell(self.code)
        if order.status == Status.QUOTED:
            rejected = self.on_accept == "reject"
            order = replace(
                order,
                status=Status.REJECTED if rejected else Status.ACCEPTED,
                reason="last look" if rejected else "",
                fills=() if rejected else self._fills(order, at),
                done=rejected or self.finish,
            )
            self.orders[client_order_id] = order
        if self.on_accept == "lose":
            raise UnableToTell(self.code)
        return order

    def withdraw(self, client_order_id: str, *, at: dt.datetime) -> Answer:
        self._hear("withdraw", client_order_id)
        order = self.orders[client_order_id]
        if order.status == Status.QUOTED:
            order = self.orders[client_order_id] = replace(order, status=Status.WITHDRAWN, done=True)
        return order

    def query(self, client_order_id: str, *, at: dt.datetime) -> Answer | None:
        self._hear("query", client_order_id)
        return self.orders.get(client_order_id)

    def _fills(self, order: Answer, at: dt.datetime) -> tuple[ReportedFill, ...]:
        assert order.quantity is not None
        assert order.price is not None
        quantities = [order.quantity * part for part in self.parts] or [order.quantity]
        return tuple(
            ReportedFill(order.client_order_id, f"{order.client_order_id}-{n}", quantity, order.price, at)
            for n, quantity in enumerate(quantities, start=1)
        )

    def _hear(self, verb: str, client_order_id: str) -> None:
        self.heard.append((verb, client_order_id))
        if self.deaf:
            raise UnableToTell(self.code)
