"""The custodian over HTTP."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
from django.conf import settings

from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport, TransferReport, WithdrawalReport

_TIMEOUT = httpx.Timeout(2.0, connect=1.0)


class HttpCustodian:
    """Speaks to a custodian process; what is not a clear answer raises CustodianUnavailable."""

    name = "paper"

    def __init__(self, url: str = "") -> None:
        self._http = httpx.Client(base_url=url or settings.LENDING_CUSTODIAN_URL, timeout=_TIMEOUT)

    def deposit_address(self, reference: str, asset: str) -> str:
        """Return the address that belongs to a reference of ours."""
        return str(self._ask("POST", "/addresses", {"reference": reference, "asset": asset})["address"])

    def watch(self, address: str, *, asset: str, reference: str, at: datetime) -> None:
        """Have an address watched that was derived from the account's key."""
        body = {"address": address, "asset": asset, "reference": reference, "at": at.isoformat()}
        self._ask("POST", "/addresses/watch", body)

    def treasury_address(self, asset: str) -> str:
        """Return the address at which the desk's own capital arrives."""
        return str(self._ask("POST", "/addresses/treasury", {"asset": asset})["address"])

    def deposits(
        self, *, after: int, refs: Sequence[str], needed: Mapping[str, int], at: datetime
    ) -> list[DepositReport]:
        """Return the deposits after a position, and those named."""
        body = {"after": after, "refs": list(refs), "needed": dict(needed), "at": at.isoformat()}
        answer = self._ask("POST", "/deposits/query", body)
        return [
            DepositReport(
                ref=row["ref"],
                position=int(row["position"]),
                address=row["address"],
                asset=row["asset"],
                quantity=Decimal(row["quantity"]),
                seen_at=_instant(row["seen_at"]),
                confirmations=int(row["confirmations"]),
                confirmed_at=_instant(row["confirmed_at"]) if row["confirmed_at"] else None,
                reorged=bool(row["reorged"]),
                screened=row.get("screened") is True,
            )
            for row in answer["deposits"]
        ]

    def withdraw(
        self, client_id: str, *, asset: str, quantity: Decimal, destination: str, at: datetime
    ) -> WithdrawalReport:
        """Ask for a transfer out."""
        body = {
            "client_id": client_id,
            "asset": asset,
            "quantity": f"{quantity:f}",
            "destination": destination,
            "at": at.isoformat(),
        }
        return _report(self._ask("POST", "/withdrawals", body))

    def withdrawal(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a transfer out."""
        answer = self._ask("POST", "/withdrawals/query", {"client_id": client_id, "at": at.isoformat()})
        return _report(answer) if answer["known"] else None

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
        """Ask for a delivery versus payment."""
        body = {
            "client_id": client_id,
            "deliver_asset": deliver_asset,
            "deliver_quantity": f"{deliver_quantity:f}",
            "receive_asset": receive_asset,
            "receive_quantity": f"{receive_quantity:f}",
            "counterparty": counterparty,
            "at": at.isoformat(),
        }
        return _report(self._ask("POST", "/settlements", body))

    def settlement(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of a delivery versus payment."""
        return self.withdrawal(client_id, at=at)

    def transfers(self, *, since: datetime, at: datetime) -> list[TransferReport]:
        """Return what left or was exchanged since an instant, or is on its way."""
        answer = self._ask("POST", "/transfers/query", {"since": since.isoformat(), "at": at.isoformat()})
        return [
            TransferReport(
                client_id=row["client_id"],
                kind=row["kind"],
                asset=row["asset"],
                quantity=Decimal(row["quantity"]),
                deltas=tuple((asset, Decimal(delta)) for asset, delta in row["deltas"]),
                accepted_at=_instant(row["accepted_at"]),
                executed_at=_instant(row["executed_at"]) if row["executed_at"] else None,
                refused=row["refused"],
            )
            for row in answer["transfers"]
        ]

    def balances(self, *, at: datetime) -> dict[str, Decimal]:
        """Return what is held, by asset."""
        answer = self._ask("POST", "/balances", {"at": at.isoformat()})
        return {asset: Decimal(amount) for asset, amount in answer["balances"].items()}

    def simulate_deposit(
        self, ref: str, *, address: str, asset: str, quantity: Decimal, at: datetime, screened: bool = True
    ) -> None:
        """Have somebody send something to an address: the paper custodian only."""
        sent = {"ref": ref, "address": address, "asset": asset, "quantity": f"{quantity:f}", "at": at.isoformat()}
        self._ask("POST", "/simulate/deposit", {**sent, "screened": screened})

    def simulate_opening(self, ref: str, *, asset: str, quantity: Decimal, at: datetime) -> None:
        """Have the desk's owners pay capital in: the paper custodian only."""
        body = {"ref": ref, "asset": asset, "quantity": f"{quantity:f}", "at": at.isoformat()}
        self._ask("POST", "/simulate/opening", body)

    def simulate_reorg(self, ref: str, *, at: datetime) -> None:
        """Take a deposit back: the paper custodian only."""
        self._ask("POST", "/simulate/reorg", {"ref": ref, "at": at.isoformat()})

    def simulate_return(self, ref: str, *, at: datetime) -> None:
        """Have a deposit that was taken back come in another block: the paper custodian only."""
        self._ask("POST", "/simulate/return", {"ref": ref, "at": at.isoformat()})

    def simulate_fate(self, fate: str) -> None:
        """Have the next transfer, or webhook, that can meet a fate meet it: the paper custodian only."""
        self._ask("POST", "/simulate/fate", {"fate": fate})

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=body)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CustodianUnavailable(f"{path}: {type(error).__name__}: {error}") from error
        if response.status_code == httpx.codes.OK and isinstance(answer, dict):
            return answer
        reason = str(answer.get("error", "")) if isinstance(answer, dict) else ""
        if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.CONFLICT) and reason:
            raise CustodianRefused(reason)
        raise CustodianUnavailable(f"{path}: status {response.status_code}")


def _report(row: dict[str, Any]) -> WithdrawalReport:
    executed_at = row["executed_at"]
    return WithdrawalReport(
        client_id=row["client_id"],
        ref=row["ref"],
        executed_at=_instant(executed_at) if executed_at else None,
        refused=row["refused"],
    )


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise CustodianUnavailable(f"an instant without a time zone can not be trusted: {text}")
    return at
