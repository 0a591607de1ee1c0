"""The simulated dealers' messages: JSON with amounts as text and instants in ISO 8601, checked on both sides."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from otc.ports import Answer, QuoteRequest, ReportedFill, Status


class UnableToRead(ValueError):
    """The message lacks something or holds nonsense; the text says which field."""


def request_to_json(request: QuoteRequest) -> dict[str, Any]:
    """Return a request for quote as a message."""
    return {
        "client_order_id": request.client_order_id,
        "asset": request.asset,
        "side": "sell",
        "quantity": f"{request.quantity:f}",
        "at": request.at.isoformat(),
    }


def request_from_json(message: object) -> QuoteRequest:
    """Return the request that a message holds."""
    fields = _object(message)
    if fields.get("side") != "sell":
        raise UnableToRead("side: only 'sell' is served")
    return QuoteRequest(
        client_order_id=_text(fields, "client_order_id", longest=80),
        asset=_text(fields, "asset", longest=12),
        quantity=_amount(fields, "quantity"),
        at=instant(fields, "at"),
    )


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return a dealer's answer as a message."""
    return {
        "client_order_id": answer.client_order_id,
        "status": answer.status.value,
        "quote_id": answer.quote_id,
        "price": None if answer.price is None else f"{answer.price:f}",
        "quantity": None if answer.quantity is None else f"{answer.quantity:f}",
        "expires_at": answer.expires_at.isoformat() if answer.expires_at else None,
        "fills": [
            {
                "fill_id": fill.fill_id,
                "quantity": f"{fill.quantity:f}",
                "price": f"{fill.price:f}",
                "executed_at": fill.executed_at.isoformat(),
            }
            for fill in answer.fills
        ],
        "done": answer.done,
        "reason": answer.reason,
    }


def answer_from_json(message: object) -> Answer:
    """Return the answer that a message holds."""
    fields = _object(message)
    try:
        status = Status(fields.get("status", ""))
    except ValueError:
        raise UnableToRead(f"status: {fields.get('status')!r} is not known") from None
    fills = fields.get("fills", [])
    if not isinstance(fills, list):
        raise UnableToRead("fills: a list is needed")
    quoted = fields.get("price") is not None
    order_id = _text(fields, "client_order_id", longest=80)
    return Answer(
        client_order_id=order_id,
        status=status,
        quote_id=str(fields.get("quote_id", ""))[:80],
        price=_amount(fields, "price") if quoted else None,
        quantity=_amount(fields, "quantity") if quoted else None,
        expires_at=instant(fields, "expires_at") if quoted else None,
        fills=tuple(_fill(order_id, _object(fill)) for fill in fills),
        done=fields.get("done") is True,
        reason=str(fields.get("reason", ""))[:200],
    )


def instant(fields: Mapping[str, Any], name: str) -> datetime:
    """Return an instant with its zone."""
    try:
        value = datetime.fromisoformat(str(fields.get(name)))
    except ValueError:
        raise UnableToRead(f"{name}: an ISO 8601 instant is needed, not {fields.get(name)!r}") from None
    if value.tzinfo is None:
        raise UnableToRead(f"{name}: the time zone is missing")
    return value


def _fill(order_id: str, fields: Mapping[str, Any]) -> ReportedFill:
    return ReportedFill(
        client_order_id=order_id,
        fill_id=_text(fields, "fill_id", longest=80),
        quantity=_amount(fields, "quantity"),
        price=_amount(fields, "price"),
        executed_at=instant(fields, "executed_at"),
    )


def _object(message: object) -> Mapping[str, Any]:
    if not isinstance(message, dict):
        raise UnableToRead("a JSON object is needed")
    return message


def _text(fields: Mapping[str, Any], name: str, *, longest: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise UnableToRead(f"{name}: text of 1 to {longest} characters is needed, not {value!r}")
    return value


def _amount(fields: Mapping[str, Any], name: str) -> Decimal:
    value = fields.get(name)
    try:
        amount = Decimal(value) if isinstance(value, str) and len(value) <= 60 else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 < amount < Decimal(10) ** 20:
        raise UnableToRead(f"{name}: a decimal number above zero, as text, is needed, not {value!r}")
    return amount
