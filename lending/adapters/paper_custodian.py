"""
The paper custodian: holds nothing and behaves like somebody who does.

Everything is a function of the seed, the records and the instant asked for: confirmations grow with platform time,
some withdrawals are slow, some answers get lost after the request was accepted. The records are an append-only list,
so that a journal brings it back exactly.
"""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from lending.engine import money
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport, WithdrawalReport

NAME = "paper"
BLOCK_S = {"BTC": 600, "ETH": 12, "LINK": 12, "USDC": 12, "USDT": 12, "USD": 60}
_OTHER_BLOCK_S = 30
SLOW_S = 180
_SLOW_SHARE = 0.10
_LOST_SHARE = 0.05
_FINAL = 1_000

Record = dict[str, Any]


class UnableToRecord(ValueError):
    """A request is malformed; the message says which part."""


@dataclass(slots=True)
class _Deposit:
    ref: str
    position: int
    address: str
    asset: str
    quantity: Decimal
    sent_at: datetime
    final: bool
    screened: bool
    reorged_at: datetime | None = None


@dataclass(slots=True)
class _Outgoing:
    content: tuple[str, ...]
    deltas: tuple[tuple[str, Decimal], ...]
    executed_at: datetime
    refused: str


class PaperCustodian:
    """A custodian that only keeps records; `journal` receives each record before it counts."""

    name = NAME

    def __init__(self, seed: int, *, journal: Callable[[Record], None] = lambda record: None) -> None:
        self._seed = seed
        self._journal = journal
        self._deposits: dict[str, _Deposit] = {}
        self._listed: list[_Deposit] = []
        self._outgoing: dict[str, _Outgoing] = {}
        # Running balances, so that asking again costs only what has not settled yet.
        self._settled: dict[str, Decimal] = {}
        self._settled_at: datetime | None = None
        self._unsettled: list[_Deposit | _Outgoing] = []

    # --- what the platform asks ------------------------------------------------------------------------------------

    def deposit_address(self, reference: str, asset: str) -> str:
        """Return the address of a reference, derived and never stored."""
        return f"{asset.lower()}-{self._digest('address', reference, asset)[:32]}"

    def treasury_address(self, asset: str) -> str:
        """Return the address of the desk's own capital."""
        return self.deposit_address("treasury", asset)

    def deposits(
        self, *, after: int, refs: Sequence[str], needed: Mapping[str, int], at: datetime
    ) -> list[DepositReport]:
        """Return the deposits after a position, up to the first that is not visible yet, and those named."""
        named = (self._deposits[ref] for ref in refs if ref in self._deposits)
        found = [deposit for deposit in named if deposit.position <= after]
        found += itertools.takewhile(lambda deposit: deposit.sent_at <= at, self._listed[after:])
        found.sort(key=lambda deposit: deposit.position)
        return [self._report(deposit, at, needed.get(deposit.asset, 1)) for deposit in found]

    def withdraw(
        self, client_id: str, *, asset: str, quantity: Decimal, destination: str, at: datetime
    ) -> WithdrawalReport:
        """Accept a transfer out; now and then the answer is lost, always for the same ids."""
        self._accept(
            {
                "kind": "withdraw",
                "id": client_id,
                "asset": asset,
                "quantity": f"{_amount(quantity):f}",
                "destination": destination,
                "at": at.isoformat(),
            },
            at,
        )
        return self._answer(client_id, at)

    def withdrawal(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a transfer out."""
        return self._outcome(client_id, at) if client_id in self._outgoing else None

    def settle(
        self,
        client_id: str,
        *,
        deliver_asset: str,
        deliver_quantity: Decimal,
        receive_asset: str,
        receive_quantity: Decimal,
        counterparty: str,
        at: datetime,
    ) -> WithdrawalReport:
        """Deliver one asset against another, both or neither; against nothing where dust is worth nothing."""
        self._accept(
            {
                "kind": "settle",
                "id": client_id,
                "asset": deliver_asset,
                "quantity": f"{_amount(deliver_quantity):f}",
                "receive_asset": receive_asset,
                "receive_quantity": f"{_amount(receive_quantity, zero=True):f}",
                "destination": counterparty,
                "at": at.isoformat(),
            },
            at,
        )
        return self._answer(client_id, at)

    def settlement(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a delivery versus payment."""
        return self.withdrawal(client_id, at=at)

    def balances(self, *, at: datetime) -> dict[str, Decimal]:
        """Return what is held at an instant."""
        if self._settled_at is None or at < self._settled_at:
            self._unsettle()
        self._settled_at = at
        waiting: list[_Deposit | _Outgoing] = []
        with money.exact():
            for item in self._unsettled:
                deltas = self._settled_deltas(item, at)
                if deltas is None:
                    waiting.append(item)
                for asset, delta in deltas or ():
                    self._settled[asset] = self._settled.get(asset, money.ZERO) + delta
        self._unsettled = waiting
        return dict(self._settled)

    # --- what the simulated world does ------------------------------------------------------------------------------

    def simulate_deposit(
        self, ref: str, *, address: str, asset: str, quantity: Decimal, at: datetime, screened: bool = True
    ) -> None:
        """Have somebody, whose coins screening has nothing against or not, send to an address; the same ref once."""
        if not address:
            raise UnableToRecord("a deposit needs an address")
        self._incoming(ref, address, asset, quantity, at, screened=screened)

    def simulate_opening(self, ref: str, *, asset: str, quantity: Decimal, at: datetime) -> None:
        """Have the desk's owners pay capital in: it arrives at the treasury address and is final at once."""
        self._incoming(ref, self.treasury_address(asset), asset, quantity, at, final=True)

    def simulate_reorg(self, ref: str, *, at: datetime) -> None:
        """Take a deposit back, as a chain does that dropped its block."""
        if ref not in self._deposits:
            raise UnableToRecord(f"no deposit has the ref {ref}")
        self._keep({"kind": "reorg", "ref": ref, "at": at.isoformat()})

    def replay(self, record: Mapping[str, Any]) -> None:
        """Apply a record of the journal."""
        at = datetime.fromisoformat(record["at"])
        if record["kind"] == "deposit":
            deposit = _Deposit(
                ref=record["ref"],
                position=len(self._listed) + 1,
                address=record["address"],
                asset=record["asset"],
                quantity=Decimal(record["quantity"]),
                sent_at=at,
                final=record["final"],
                screened=record.get("screened", True),
            )
            self._deposits[deposit.ref] = deposit
            self._listed.append(deposit)
            self._unsettled.append(deposit)
        elif record["kind"] == "reorg":
            self._deposits[record["ref"]].reorged_at = at
            self._unsettle()
        else:
            self._outgoing[record["id"]] = self._outgoing_of(record, at)
            self._unsettled.append(self._outgoing[record["id"]])

    # --- inside -----------------------------------------------------------------------------------------------------

    def _incoming(
        self,
        ref: str,
        address: str,
        asset: str,
        quantity: Decimal,
        at: datetime,
        *,
        final: bool = False,
        screened: bool = True,
    ) -> None:
        if not ref or not asset:
            raise UnableToRecord("a deposit needs a ref and an asset")
        amount = _amount(quantity)
        if first := self._deposits.get(ref):
            if (first.address, first.asset, first.quantity) != (address, asset, amount):
                raise UnableToRecord(f"the ref {ref} was used for another deposit")
            return
        self._keep(
            {
                "kind": "deposit",
                "ref": ref,
                "address": address,
                "asset": asset,
                "quantity": f"{amount:f}",
                "final": final,
                "screened": screened,
                "at": at.isoformat(),
            }
        )

    def _accept(self, record: Record, at: datetime) -> None:
        if not record["id"] or not record["destination"]:
            raise UnableToRecord("a transfer out needs an id and a destination")
        if first := self._outgoing.get(record["id"]):
            if first.content != _content(record):
                raise CustodianRefused(f"the id {record['id']} was used for another transfer")
            return
        held = self.balances(at=at).get(record["asset"], money.ZERO) - self._promised(record["asset"])
        refused = ""
        if Decimal(record["quantity"]) > held:
            refused = f"{held:f} {record['asset']} are held, not {record['quantity']}"
        self._keep({**record, "refused": refused})

    def _answer(self, client_id: str, at: datetime) -> WithdrawalReport:
        report = self._outcome(client_id, at)
        if report.refused:
            raise CustodianRefused(report.refused)
        if self._share("lost", client_id) < _LOST_SHARE:
            raise CustodianUnavailable("no answer in time")
        return report

    def _outcome(self, client_id: str, at: datetime) -> WithdrawalReport:
        outgoing = self._outgoing[client_id]
        return WithdrawalReport(
            client_id=client_id,
            ref=f"{NAME}-{self._digest('out', client_id)[:16]}",
            executed_at=outgoing.executed_at if outgoing.executed_at <= at and not outgoing.refused else None,
            refused=outgoing.refused,
        )

    def _outgoing_of(self, record: Mapping[str, Any], at: datetime) -> _Outgoing:
        deltas = [(record["asset"], Decimal(record["quantity"]).copy_negate())]
        if record["kind"] == "settle":
            deltas.append((record["receive_asset"], Decimal(record["receive_quantity"])))
        slow = record["kind"] == "withdraw" and self._share("slow", record["id"]) < _SLOW_SHARE
        executed_at = at + timedelta(seconds=SLOW_S if slow else 0)
        return _Outgoing(_content(record), tuple(deltas), executed_at, record["refused"])

    def _promised(self, asset: str) -> Decimal:
        """Return what accepted transfers will take that are not executed yet; the caller has just asked balances."""
        waiting = [item for item in self._unsettled if isinstance(item, _Outgoing) and not item.refused]
        with money.exact():
            return sum((-delta for out in waiting for code, delta in out.deltas if code == asset), money.ZERO)

    def _settled_deltas(self, item: _Deposit | _Outgoing, at: datetime) -> tuple[tuple[str, Decimal], ...] | None:
        """Return what an item changes in the balances, or None while that is open."""
        if isinstance(item, _Outgoing):
            if item.refused:
                return ()
            return item.deltas if item.executed_at <= at else None
        report = self._report(item, at, 1)
        if report.reorged:
            return ()
        return ((item.asset, item.quantity),) if report.confirmed_at else None

    def _unsettle(self) -> None:
        self._settled, self._settled_at = {}, None
        self._unsettled = [*self._listed, *self._outgoing.values()]

    def _report(self, deposit: _Deposit, at: datetime, needed: int) -> DepositReport:
        block = timedelta(seconds=BLOCK_S.get(deposit.asset, _OTHER_BLOCK_S))
        reorged = deposit.reorged_at is not None and deposit.reorged_at <= at
        confirmations = _FINAL if deposit.final and at >= deposit.sent_at else max((at - deposit.sent_at) // block, 0)
        if reorged:
            confirmations = 0
        confirmed_at = deposit.sent_at if deposit.final else deposit.sent_at + needed * block
        return DepositReport(
            ref=deposit.ref,
            position=deposit.position,
            address=deposit.address,
            asset=deposit.asset,
            quantity=deposit.quantity,
            seen_at=deposit.sent_at,
            confirmations=confirmations,
            confirmed_at=confirmed_at if confirmations >= needed else None,
            reorged=reorged,
            screened=deposit.screened,
        )

    def _keep(self, record: Record) -> None:
        self._journal(record)
        self.replay(record)

    def _digest(self, *parts: object) -> str:
        return hashlib.sha256("/".join(map(str, (self._seed, *parts))).encode()).hexdigest()

    def _share(self, *parts: object) -> float:
        return int(self._digest(*parts)[:12], 16) / 16**12


def _content(record: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("kind", "asset", "quantity", "destination", "receive_asset", "receive_quantity")
    return tuple(str(record.get(name, "")) for name in names)


def _amount(value: Decimal | str, *, zero: bool = False) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise UnableToRecord(f"{value!r} is not a number") from None
    if not amount.is_finite() or amount < 0 or not (amount or zero):
        raise UnableToRecord(f"{value} is not an amount above zero")
    return amount
