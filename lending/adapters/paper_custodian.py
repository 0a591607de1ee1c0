"""
The paper custodian: holds nothing and behaves like somebody who does.

Everything is a function of the seed, the records and the instant asked for: confirmations grow with platform time,
some withdrawals are slow, some answers get lost after the request was accepted. The records are an append-only list,
so that a journal brings it back exactly.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lending.adapters import mischief
from lending.adapters.mischief import CALM, Fate, Temper
from lending.adapters.paper_records import (
    NAME,
    WIRED,
    Incoming,
    Outgoing,
    Record,
    UnableToRecord,
    amount_of,
    block,
    content_of,
    deltas_of,
)
from lending.engine import money
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport, TransferReport, WithdrawalReport

SLOW_S = 180
LATE_S = 1200
_Item = Incoming | Outgoing


class PaperCustodian:
    """A custodian that only keeps records; `journal` receives each record before it counts."""

    name = NAME

    def __init__(
        self, seed: int, *, journal: Callable[[Record], None] = lambda record: None, temper: Temper = CALM
    ) -> None:
        self.temper = temper
        self.log: list[_Item] = []  # every transfer, again whenever its block is dropped or put back
        self.watched: dict[str, str] = {}  # the reference of each address that is not its own
        self._seed = seed
        self._journal = journal
        self._next: Counter[Fate] = Counter()
        self._deposits: dict[str, Incoming] = {}
        self._listed: list[Incoming] = []
        self._outgoing: dict[str, Outgoing] = {}
        # Running balances, so that asking again costs only what has not settled yet.
        self._settled: dict[str, Decimal] = {}
        self._settled_at: datetime | None = None
        self._unsettled: list[_Item] = []

    # --- what the platform asks ------------------------------------------------------------------------------------

    def deposit_address(self, reference: str, asset: str) -> str:
        """Return the address of a reference, derived and never stored."""
        return f"{asset.lower()}-{self._digest('address', reference, asset)[:32]}"

    def watch(self, address: str, *, asset: str, reference: str, at: datetime) -> None:
        """Watch an address that was derived from the account's key."""
        if not address or not reference:
            raise UnableToRecord("an address to watch needs a reference")
        if known := self.watched.get(address):
            if known != reference:
                raise CustodianRefused(f"{address} is watched for another reference")
            return
        self._keep({"kind": "watch", "address": address, "reference": reference, "asset": asset, "at": at.isoformat()})

    def treasury_address(self, asset: str) -> str:
        """Return the address of the desk's own capital."""
        return self.deposit_address("treasury", asset)

    def deposits(
        self, *, after: int, refs: Sequence[str], needed: Mapping[str, int], at: datetime
    ) -> list[DepositReport]:
        """Return the deposits after a position, up to the first that is not visible yet, and those named."""
        named = (self._deposits[ref] for ref in refs if ref in self._deposits)
        found = [deposit for deposit in named if deposit.position <= after]
        found += itertools.takewhile(lambda deposit: deposit.visible_at <= at, self._listed[after:])
        found.sort(key=lambda deposit: deposit.position)
        return [deposit.report(at, needed.get(deposit.asset, 1)) for deposit in found]

    def withdraw(
        self, client_id: str, *, asset: str, quantity: Decimal, destination: str, at: datetime
    ) -> WithdrawalReport:
        """Accept a transfer out; now and then the answer is lost, always for the same ids."""
        self._accept(
            {
                "kind": "withdraw",
                "id": client_id,
                "asset": asset,
                "quantity": f"{amount_of(quantity):f}",
                "destination": destination,
                "at": at.isoformat(),
            },
            at,
        )
        return self._answer(client_id, at)

    def withdrawal(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a transfer out."""
        known = self._outgoing.get(client_id)
        return known.outcome(at) if known else None

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
                "quantity": f"{amount_of(deliver_quantity):f}",
                "receive_asset": receive_asset,
                "receive_quantity": f"{amount_of(receive_quantity, zero=True):f}",
                "destination": counterparty,
                "at": at.isoformat(),
            },
            at,
        )
        return self._answer(client_id, at)

    def settlement(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a delivery versus payment."""
        return self.withdrawal(client_id, at=at)

    def transfers(self, *, since: datetime, at: datetime) -> list[TransferReport]:
        """Return what left or was exchanged since an instant, or is still on its way, whoever asked for it."""
        every = (item.transfer(at) for item in self._outgoing.values() if item.accepted_at <= at)
        return [told for told in every if (told.executed_at or at) >= since]

    def balances(self, *, at: datetime) -> dict[str, Decimal]:
        """Return what is held at an instant."""
        if self._settled_at is None or at < self._settled_at:
            self._unsettle()
        self._settled_at = at
        waiting = [item for item in self._unsettled if not item.at_rest(at)]
        with money.exact():
            _add(self._settled, (item for item in self._unsettled if item.at_rest(at)), at)
            self._unsettled = waiting
            held = dict(self._settled)
            _add(held, waiting, at)
        return held

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
        self._keep({"kind": "reorg", "ref": self._known(ref), "at": at.isoformat()})

    def simulate_return(self, ref: str, *, at: datetime) -> None:
        """Have a deposit that was taken back come again in another block, where it is confirmed anew."""
        if not self._deposits[self._known(ref)].report(at, 1).reorged:
            raise UnableToRecord(f"{ref} is in the chain: it can not come back")
        self._keep({"kind": "return", "ref": ref, "at": at.isoformat()})

    def simulate_fate(self, fate: str) -> None:
        """Have the next transfer that can meet a fate meet it."""
        if fate not in (*mischief.OUT, *mischief.IN):
            known = ", ".join((*mischief.OUT, *mischief.IN))
            raise UnableToRecord(f"{fate} is no fate of a transfer; those are {known}")
        self._next[Fate(fate)] += 1

    def replay(self, record: Mapping[str, Any]) -> None:
        """Apply a record of the journal."""
        at = datetime.fromisoformat(record["at"])
        if record["kind"] == "deposit":
            deposit = self._incoming_of(record, at)
            self._deposits[deposit.ref] = deposit
            self._listed.append(deposit)
            self._note(deposit)
        elif record["kind"] == "watch":
            self.watched[record["address"]] = record["reference"]
        elif record["kind"] in ("reorg", "return"):
            deposit = self._deposits[record["ref"]]
            if record["kind"] == "reorg":
                deposit.drop(at)
            else:
                deposit.put_back(at)
            self.log.append(deposit)
            self._unsettle()
        else:
            self._outgoing[record["id"]] = self._outgoing_of(record, at)
            self._note(self._outgoing[record["id"]])

    # --- inside -----------------------------------------------------------------------------------------------------

    def _note(self, item: _Item) -> None:
        self.log.append(item)
        self._unsettled.append(item)

    def _known(self, ref: str) -> str:
        if ref not in self._deposits:
            raise UnableToRecord(f"no deposit has the ref {ref}")
        return ref

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
        amount = amount_of(quantity)
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
                "fates": [] if final else self._fates(mischief.IN, ref, asset),
                "at": at.isoformat(),
            }
        )

    def _incoming_of(self, record: Mapping[str, Any], at: datetime) -> Incoming:
        fates, pace = record.get("fates", ()), block(record["asset"])
        seen_at = at + timedelta(seconds=LATE_S if Fate.LATE in fates else 0)
        deposit = Incoming(
            ref=record["ref"],
            position=len(self._listed) + 1,
            address=record["address"],
            asset=record["asset"],
            quantity=Decimal(record["quantity"]),
            sent_at=at,
            seen_at=seen_at,
            visible_at=max(seen_at, self._listed[-1].visible_at) if self._listed else seen_at,
            final=record["final"],
            screened=record.get("screened", True),
        )
        if Fate.GONE in fates or Fate.MOVED in fates:
            gone_at = at + 1.5 * pace
            deposit.drops.append((gone_at, gone_at + 2 * pace if Fate.MOVED in fates else None))
        return deposit

    def _accept(self, record: Record, at: datetime) -> None:
        if not record["id"] or not record["destination"]:
            raise UnableToRecord("a transfer out needs an id and a destination")
        if first := self._outgoing.get(record["id"]):
            if first.content != content_of(record):
                raise CustodianRefused(f"the id {record['id']} was used for another transfer")
            return
        held = self.balances(at=at).get(record["asset"], money.ZERO) - self._promised(record["asset"])
        refused = ""
        if Decimal(record["quantity"]) > held:
            refused = f"{held:f} {record['asset']} are held, not {record['quantity']}"
        fates = [] if refused else self._fates(mischief.OUT, record["id"], record["asset"], kind=record["kind"])
        self._keep({**record, "refused": refused, "fates": fates})

    def _answer(self, client_id: str, at: datetime) -> WithdrawalReport:
        outgoing = self._outgoing[client_id]
        report = outgoing.outcome(at)
        if report.refused:
            raise CustodianRefused(report.refused)
        if outgoing.answer_lost:
            raise CustodianUnavailable("no answer in time")
        return report

    def _outgoing_of(self, record: Mapping[str, Any], at: datetime) -> Outgoing:
        fates = record.get("fates")
        if fates is None:  # of a journal from before they were kept
            fates = self._drawn(mischief.OUT, record["id"], CALM, kind=record["kind"])
        refused = record["refused"]
        waits = not refused and (Fate.SLOW in fates or Fate.FAILED in fates)
        if Fate.FAILED in fates and not refused:
            refused = "the network did not take it: given up"
        return Outgoing(
            kind=record["kind"],
            client_id=record["id"],
            content=content_of(record),
            asset=record["asset"],
            quantity=Decimal(record["quantity"]),
            deltas_done=deltas_of(record),
            accepted_at=at,
            ends_at=at + timedelta(seconds=SLOW_S if waits else 0),
            refused=refused,
            ref=f"{NAME}-{self._digest('out', record['id'])[:16]}",
            answer_lost=Fate.LOST in fates,
        )

    def _fates(self, possible: Sequence[Fate], key: str, asset: str, *, kind: str = "") -> list[str]:
        """Return what a new transfer meets: what was asked for, or else what the seed draws."""
        possible = [fate for fate in possible if not (asset in WIRED and fate in (Fate.GONE, Fate.MOVED))]
        asked = [fate for fate in possible if self._next[fate] and _can_meet(kind, fate)]
        self._next.subtract(asked)
        return list(map(str, asked or self._drawn(possible, key, self.temper, kind=kind)))

    def _drawn(self, possible: Sequence[Fate], key: str, temper: Temper, *, kind: str) -> list[Fate]:
        return [fate for fate in possible if _can_meet(kind, fate) and self._share(fate, key) < getattr(temper, fate)]

    def _promised(self, asset: str) -> Decimal:
        """Return what accepted transfers will take that are not executed yet; the caller has just asked balances."""
        waiting = [item for item in self._unsettled if isinstance(item, Outgoing)]
        with money.exact():
            return sum((-delta for out in waiting for code, delta in out.deltas_done if code == asset), money.ZERO)

    def _unsettle(self) -> None:
        self._settled, self._settled_at = {}, None
        self._unsettled = [*self._listed, *self._outgoing.values()]

    def _keep(self, record: Record) -> None:
        self._journal(record)
        self.replay(record)

    def _digest(self, *parts: object) -> str:
        return hashlib.sha256("/".join(map(str, (self._seed, *parts))).encode()).hexdigest()

    def _share(self, *parts: object) -> float:
        return int(self._digest(*parts)[:12], 16) / 16**12


def _can_meet(kind: str, fate: Fate) -> bool:
    """Return whether a kind of transfer can meet a fate: an exchange happens at once or not at all."""
    return not (kind == "settle" and fate in (Fate.SLOW, Fate.FAILED))


def _add(held: dict[str, Decimal], items: Iterable[_Item], at: datetime) -> None:
    for item in items:
        for asset, delta in item.deltas(at):
            held[asset] = held.get(asset, money.ZERO) + delta
