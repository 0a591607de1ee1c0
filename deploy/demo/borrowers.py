"""
Scripted borrowers: what each does about a margin call is a function of the seed and the call, never of chance.

A few have their answer written down beforehand; the calls of clients whom a visitor plays are left to the visitor.
They act through the outside world only: a transfer to the deposit address of their margin account, an acknowledgement
in the portal. Whether it cures the call is the platform's business.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from deploy.demo import outside
from lending.engine import money
from lending.models import ClientUser, DepositAddress, Role, User
from risk import disputes, margin_calls
from risk.models import CallState, Dispute, MarginCall

Answer = Literal["cash", "collateral", "partial", "late", "acknowledge", "dispute", "ignore", "visitor"]

_WAITING = (CallState.NOTIFIED, CallState.ACKNOWLEDGED, CallState.PARTIALLY_CURED)

# Early in the cure period where the answer is written down: a crash leaves little time, and bitcoin takes half an hour.
_AFTER: dict[Answer, float] = {
    "cash": 0.08,
    "collateral": 0.06,
    "partial": 0.25,
    "late": 1.02,
    "acknowledge": 0.10,
    "dispute": 0.05,
    "ignore": 0.0,
    "visitor": 0.0,
}


@dataclass(frozen=True)
class Plan:
    """What a borrower will do about one call, and after which part of the cure period."""

    answer: Answer
    after: float


def plan(seed: int, call_id: object) -> Plan:
    """Return a borrower's answer to a call: one in three pays nothing, some pay too late or too little."""
    draw = hashlib.sha256(f"{seed}/{call_id}".encode()).digest()
    share, delay = draw[0] / 256, draw[1] / 256
    if share < 0.30:
        return Plan("cash", 0.05 + 0.85 * delay)
    if share < 0.60:
        return Plan("collateral", 0.05 + 0.75 * delay)
    if share < 0.67:
        return Plan("partial", 0.05 + 0.75 * delay)
    if share < 0.70:
        return Plan("late", 1.02)
    return Plan("ignore", 0.0)


class Borrowers:
    """Remembers what it has sent, so that a call is answered once per process; the custodian drops repeats anyway."""

    def __init__(self, *, seed: int, scripts: Mapping[UUID, Answer] | None = None) -> None:
        self._seed = seed
        self._scripts = scripts or {}
        self._done: set[int] = set()

    def act_due(self, *, now: datetime) -> int:
        """Send what is due by now for every open call and return how many transfers were sent."""
        waiting = MarginCall.objects.filter(state__in=_WAITING, cure_due_at__isnull=False).exclude(pk__in=self._done)
        sent = 0
        for call in waiting.select_related("cure_asset", "margin_account").order_by("public_id"):
            answer = self._plan(call)
            if answer.answer in {"ignore", "visitor"}:
                self._done.add(call.pk)
            elif call.received_at and now >= call.received_at + timedelta(seconds=answer.after * call.cure_period_s):
                self._done.add(call.pk)
                self._acknowledge(call, now=now)
                if answer.answer == "dispute":
                    self._dispute(call, now=now)
                elif answer.answer != "acknowledge":
                    sent += self._send(call, answer.answer, now=now)
        return sent

    def _plan(self, call: MarginCall) -> Plan:
        written = self._scripts.get(call.margin_account.public_id)
        return plan(self._seed, call.public_id) if written is None else Plan(written, _AFTER[written])

    def _acknowledge(self, call: MarginCall, *, now: datetime) -> None:
        if call.state == CallState.NOTIFIED:
            with contextlib.suppress(margin_calls.UnableToAcknowledge):  # the market was quicker
                margin_calls.acknowledge(call, user=self._signer(call), now=now)

    def _signer(self, call: MarginCall) -> User:
        return (
            ClientUser.objects.select_related("user")
            .filter(client=call.client_id, role=Role.BORROWER_ADMIN)
            .order_by("pk")[0]
            .user
        )

    def _dispute(self, call: MarginCall, *, now: datetime) -> None:
        """Claim that the collateral was worth a twentieth more than the call says; risk has to answer."""
        figure = next(found for found in disputes.inputs(call) if found.part == Dispute.Part.PRICE)
        with money.exact():
            claimed = figure.ours * Decimal("1.05")
        with contextlib.suppress(disputes.UnableToDispute):  # the fall was quicker than the letter
            disputes.open_against(
                call,
                part=figure.part,
                asset=figure.asset,
                claimed=claimed,
                statement="Our own feeds showed a price about five per cent higher at that minute.",
                by=self._signer(call),
                now=now,
            )

    def _send(self, call: MarginCall, answer: Answer, *, now: datetime) -> int:
        share = Decimal("0.4") if answer == "partial" else Decimal(1)
        if answer == "collateral":
            cure = call.collateral_cures.select_related("asset").order_by("asset__code").first()
            if cure is None:
                return 0
            asset, purpose, quantity = cure.asset, DepositAddress.Purpose.COLLATERAL, cure.quantity
        else:
            asset, purpose, quantity = call.cure_asset, DepositAddress.Purpose.REPAYMENT, call.cash_cure
        with money.exact():
            quantity = money.quantize_up(quantity * share, asset.decimals)
        address = DepositAddress.objects.get(margin_account=call.margin_account_id, asset=asset, purpose=purpose)
        ref = f"cure:{call.public_id}"
        outside.bank().simulate_deposit(ref, address=address.address, asset=asset.code, quantity=quantity, at=now)
        return 1
