"""The outside world of the books: who holds coins and cash."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string


class CustodianUnavailable(Exception):
    """No answer, or none that can be trusted: what was asked may or may not have happened. Query before a resend."""


class CustodianRefused(Exception):
    """A definite no: what was asked has not happened and will not."""


@dataclass(frozen=True, slots=True)
class DepositReport:
    """
    A transfer in, as the custodian sees it at one instant.

    `confirmed_at` is when the confirmation came that was asked for, None while it is missing: what arrived is dated by
    it, however late we hear of it. `screened` says that its sender was looked at and nothing was found; while it does
    not, the transfer is kept apart.
    """

    ref: str
    position: int
    address: str
    asset: str
    quantity: Decimal
    seen_at: datetime
    confirmations: int
    confirmed_at: datetime | None = None
    reorged: bool = False
    screened: bool = False


@dataclass(frozen=True, slots=True)
class WithdrawalReport:
    """A transfer out under our id; executed_at is None while it is accepted and not yet on its way."""

    client_id: str
    ref: str
    executed_at: datetime | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class TransferReport:
    """
    A transfer out ("withdrawal") or an exchange with a counterparty ("exchange"), in the custodian's own list.

    `client_id` is whatever id it was asked for under, ours or not; `deltas` what it changes in the balances once it is
    executed, by asset.
    """

    client_id: str
    kind: str
    asset: str
    quantity: Decimal
    deltas: tuple[tuple[str, Decimal], ...]
    accepted_at: datetime
    executed_at: datetime | None
    refused: str = ""


class Custodian(Protocol):
    """
    A custodian of coins, with a bank rail for cash. The books are sound as long as these assumptions hold.

    - A deposit's `ref` never changes and never names two deposits; address, asset and quantity of a ref are fixed.
    - A deposit's `position` is 1, 2, ... in the order in which deposits become visible; none appears before another.
    - `deposits` also reports the named refs, one that was reorged included.
    - A deposit's `confirmed_at` is the instant of the confirmation asked for, never of the answer: it is the same in
      every answer, between the deposit's `seen_at` and the first `at` at which that many confirmations are reported,
      unless its block was dropped meanwhile. A deposit that comes back in another block keeps its ref and position.
    - A client id names at most one withdrawal or settlement, for ever: the same id with the same content repeats the
      first answer, with other content is refused.
    - `withdrawal` and `settlement` return None only when the id was never accepted, so that sending again is safe.
    - CustodianRefused is final. Any other failure is CustodianUnavailable and says nothing about what happened.
    - `balances` counts a deposit once it has one confirmation, and a withdrawal once it is executed.
    - `transfers` names everything that left, whoever asked for it: what it does not name has not left.
    - `at` is platform time; answers for one `at` do not contradict each other.
    """

    name: str

    def deposit_address(self, reference: str, asset: str) -> str:
        """Return the address that belongs to a reference of ours; the same reference gives the same address."""

    def watch(self, address: str, *, asset: str, reference: str, at: datetime) -> None:
        """Report what arrives at an address that was derived from the account's key; again changes nothing."""

    def treasury_address(self, asset: str) -> str:
        """Return the address at which the desk's own capital arrives."""

    def deposits(
        self, *, after: int, refs: Sequence[str], needed: Mapping[str, int], at: datetime
    ) -> list[DepositReport]:
        """
        Return the deposits after a position, and those named, in the order of their positions.

        `needed` says, by asset, with how many confirmations a deposit counts; an asset it does not name needs one.
        """

    def withdraw(
        self, client_id: str, *, asset: str, quantity: Decimal, destination: str, at: datetime
    ) -> WithdrawalReport:
        """Accept a transfer out."""

    def withdrawal(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a transfer out, or None when its id was never accepted."""

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
        """Deliver one asset against another with a counterparty of the custodian's network, both or neither."""

    def settlement(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a delivery versus payment, or None when its id was never accepted."""

    def transfers(self, *, since: datetime, at: datetime) -> list[TransferReport]:
        """Return the transfers out and exchanges that ended since an instant, or have not ended yet."""

    def balances(self, *, at: datetime) -> dict[str, Decimal]:
        """Return what is held, by asset."""


@cache
def custodian() -> Custodian:
    """Return the custodian that the settings name; `custodian.cache_clear()` lets another take its place."""
    build: Callable[[], Custodian] = import_string(settings.LENDING_CUSTODIAN)
    return build()


@dataclass(frozen=True, slots=True)
class Marked:
    """What an asset was marked at: USD a unit, the quality of the mark, and its instant."""

    price: Decimal
    quality: str
    at: datetime


class Valuer(Protocol):
    """Whoever knows prices; the books do not. Asked twice about the same instant it answers the same."""

    def __call__(self, codes: Iterable[str], *, at: datetime) -> Mapping[str, Marked]:
        """Return the mark of each asset as it stood at an instant; an asset without one is left out."""


@cache
def valuer() -> Valuer:
    """Return the valuer that the settings name."""
    found: Valuer = import_string(settings.LENDING_VALUER)
    return found
