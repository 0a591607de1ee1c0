"""What the paper custodian keeps of each transfer, and what that amounts to at an instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from lending.ports import DepositReport, TransferReport, WithdrawalReport

NAME = "paper"
BLOCK_S = {"BTC": 600, "ETH": 12, "LINK": 12, "USDC": 12, "USDT": 12, "USD": 60}
WIRED = frozenset({"USD", "EUR", "GBP", "CHF"})  # cash comes by wire, which knows no blocks to drop
_OTHER_BLOCK_S = 30
_FINAL = 1_000

Record = dict[str, Any]
Deltas = tuple[tuple[str, Decimal], ...]


class UnableToRecord(ValueError):
    """A request is malformed; the message says which part."""


def block(asset: str) -> timedelta:
    """Return how long a confirmation of an asset takes."""
    return timedelta(seconds=BLOCK_S.get(asset, _OTHER_BLOCK_S))


@dataclass(slots=True)
class Incoming:
    """
    A transfer in.

    `visible_at` is when it is listed, never before the one listed before it. `drops` are the times from which, and
    until which, its block is not in the chain; None while it has not come back.
    """

    ref: str
    position: int
    address: str
    asset: str
    quantity: Decimal
    sent_at: datetime
    seen_at: datetime
    visible_at: datetime
    final: bool
    screened: bool
    drops: list[tuple[datetime, datetime | None]] = field(default_factory=list)

    def report(self, at: datetime, needed: int) -> DepositReport:
        """Return what the custodian says of it at an instant, to somebody for whom so many confirmations count."""
        mined_at, dropped = self._block_of(at)
        pace = block(self.asset)
        confirmations = 0
        if not dropped:
            confirmations = _FINAL if self.final and at >= self.sent_at else max((at - mined_at) // pace, 0)
        confirmed_at = self.sent_at if self.final else max(mined_at + needed * pace, self.seen_at)
        return DepositReport(
            ref=self.ref,
            position=self.position,
            address=self.address,
            asset=self.asset,
            quantity=self.quantity,
            seen_at=self.seen_at,
            confirmations=confirmations,
            confirmed_at=confirmed_at if confirmations >= needed else None,
            reorged=dropped,
            screened=self.screened,
        )

    def deltas(self, at: datetime) -> Deltas:
        """Return what it changes in the balances."""
        counts = self.visible_at <= at and self.report(at, 1).confirmations >= 1
        return ((self.asset, self.quantity),) if counts else ()

    def at_rest(self, at: datetime, needed: int = 1) -> bool:
        """Return whether nothing changes any more by itself."""
        if at < self.visible_at or any(gone > at or (back is not None and back > at) for gone, back in self.drops):
            return False
        told = self.report(at, needed)
        return told.reorged or told.confirmations >= needed

    def drop(self, at: datetime) -> None:
        """Take its block out of the chain, unless it is out already."""
        if not self._block_of(at)[1]:
            self.drops = [drop for drop in self.drops if drop[0] < at]
            self.drops.append((at, None))

    def put_back(self, at: datetime) -> None:
        """Put it into another block."""
        if not self._block_of(at)[1]:
            raise UnableToRecord(f"{self.ref} is in the chain: it can not come back")
        self.drops[-1] = (self.drops[-1][0], at)

    def _block_of(self, at: datetime) -> tuple[datetime, bool]:
        """Return since when it is in the chain, and whether it is out of it."""
        since = self.sent_at
        for gone_at, back_at in self.drops:
            if at < gone_at:
                break
            if back_at is None or at < back_at:
                return since, True
            since = back_at
        return since, False


@dataclass(slots=True)
class Outgoing:
    """A transfer out, or an exchange; `refused` says why it came to nothing at `ends_at`."""

    kind: str
    client_id: str
    content: tuple[str, ...]
    asset: str
    quantity: Decimal
    deltas_done: Deltas
    accepted_at: datetime
    ends_at: datetime
    refused: str
    ref: str
    answer_lost: bool

    def outcome(self, at: datetime) -> WithdrawalReport:
        """Return what became of it by an instant."""
        over = at >= self.ends_at
        return WithdrawalReport(
            client_id=self.client_id,
            ref=self.ref,
            executed_at=self.ends_at if over and not self.refused else None,
            refused=self.refused if over else "",
        )

    def transfer(self, at: datetime) -> TransferReport:
        """Return its line in the list of what left."""
        told = self.outcome(at)
        return TransferReport(
            client_id=self.client_id,
            kind="exchange" if self.kind == "settle" else "withdrawal",
            asset=self.asset,
            quantity=self.quantity,
            deltas=self.deltas_done,
            accepted_at=self.accepted_at,
            executed_at=told.executed_at,
            refused=told.refused,
        )

    def deltas(self, at: datetime) -> Deltas:
        """Return what it changes in the balances."""
        return self.deltas_done if at >= self.ends_at and not self.refused else ()

    def at_rest(self, at: datetime) -> bool:
        """Return whether nothing changes any more by itself."""
        return at >= self.ends_at


def content_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what makes one transfer out another than the first under its id."""
    names = ("kind", "asset", "quantity", "destination", "receive_asset", "receive_quantity")
    return tuple(str(record.get(name, "")) for name in names)


def deltas_of(record: Mapping[str, Any]) -> Deltas:
    """Return what a transfer out changes once it is executed."""
    deltas = [(record["asset"], Decimal(record["quantity"]).copy_negate())]
    if record["kind"] == "settle":
        deltas.append((record["receive_asset"], Decimal(record["receive_quantity"])))
    return tuple(deltas)


def amount_of(value: Decimal | str, *, zero: bool = False) -> Decimal:
    """Return an amount above zero, or zero where that is one too."""
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise UnableToRecord(f"{value!r} is not a number") from None
    if not amount.is_finite() or amount < 0 or not (amount or zero):
        raise UnableToRecord(f"{value} is not an amount above zero")
    return amount
