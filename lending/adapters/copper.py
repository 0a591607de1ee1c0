"""
Copper as a custodian: orders, deposit targets and wallets of one portfolio, in the shape of its published platform API.

Sources: developer.copper.co, Authentication (X-Signature is the hex HMAC-SHA256 of timestamp, method, path and body),
Orders, Deposit Targets, Wallets. Instants are milliseconds since 1970, amounts texts.

Choices where the API leaves them open: an order's `externalOrderId` is our id; a deposit is final once its order is
executed, whatever its confirmations; a network fee is taken out of the amount sent, so that both books move alike.
"""

import hmac
import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

import httpx
from django.conf import settings
from django.db.models import Max

from lending.engine import money
from lending.models import Asset
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport, TransferReport, WithdrawalReport

NAME = "copper"
PAGE = 500
_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_PLACES = 2**20  # positions within a millisecond
# An order can become visible after one that was created later; what is read again is known by its id.
_OVERLAP = timedelta(minutes=10)
_DONE = frozenset({"executed", "settled"})
_REFUSED = frozenset({"canceled", "rejected", "declined", "error", "suspended", "blocked"})
_GONE = frozenset({"canceled", "rejected", "declined", "error"})  # of a deposit; a blocked one is held, not gone
_ON_THE_WAY = (
    "new,waiting-funds,queued,validating-funds,working,processing,waiting-approve,waiting-accept-deposit,accepting,"
    "manual-resolving,action-required"
)
_OUT = ("withdraw", "multi-withdraw", "cross-chain-withdraw", "sell", "buy")
_EXCHANGES = frozenset({"sell", "buy"})
_MAIN = {"BTC": "BTC", "ETH": "ETH", "LINK": "ETH", "USDC": "ETH", "USDT": "ETH", "USD": "USD", "EUR": "EUR"}
Order = dict[str, Any]


class CopperCustodian:
    """Speaks to one portfolio; what is not a clear answer raises CustodianUnavailable."""

    name = NAME

    def __init__(self, *, url: str, key: str, secret: str, portfolio: str, page: int = PAGE) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT)
        self._key, self._secret, self._portfolio, self._page = key, secret.encode(), portfolio, page

    # --- addresses ----------------------------------------------------------------------------------------------------

    def deposit_address(self, reference: str, asset: str) -> str:
        """Return the address of the deposit target under our reference, made when it is not there yet."""
        return self._target(f"{reference}:{asset}", asset)

    def watch(self, address: str, *, asset: str, reference: str, at: datetime) -> None:
        """Have an address of our own watched, as a deposit target of an external wallet."""
        watched = self._target(f"{reference}:{asset}", asset, address=address)
        if watched != address:
            raise CustodianRefused(f"the target {reference}:{asset} is at {watched}, not at {address}")

    def treasury_address(self, asset: str) -> str:
        """Return the address at which the desk's own capital arrives."""
        return self.deposit_address("treasury", asset)

    def _target(self, external_id: str, asset: str, *, address: str = "") -> str:
        known = self._ask("GET", "/deposit-targets", {"portfolioId": self._portfolio, "externalId": external_id})
        targets = known["depositTargets"]
        if not targets:
            wanted = {
                "externalId": external_id, "portfolioId": self._portfolio, "currency": asset,
                "mainCurrency": _main(asset), "name": external_id, **({"address": address} if address else {}),
            }  # fmt: skip
            targets = [self._ask("POST", "/deposit-targets", body=wanted)]
        target = targets[0]
        if target["status"] != "enabled" or not target.get("address"):
            raise CustodianUnavailable(f"the deposit target {external_id} is {target['status']}")
        return str(target["address"])

    # --- transfers in -------------------------------------------------------------------------------------------------

    def deposits(
        self, *, after: int, refs: Sequence[str], needed: Mapping[str, int], at: datetime
    ) -> list[DepositReport]:
        """Return the deposits created after a position, some from just before it again, and those named."""
        since = max(after // _PLACES - _OVERLAP // timedelta(milliseconds=1), 0)
        found = {row["orderId"]: row for row in self._orders(orderTypes="deposit", createdSince=str(since))}
        for ref in refs:
            if ref not in found:
                found[ref] = self._ask("GET", f"/orders/{ref}")
        reports = [_deposit(row, needed.get(row["baseCurrency"], 1)) for row in found.values()]
        return sorted(reports, key=lambda report: report.position)

    # --- transfers out ------------------------------------------------------------------------------------------------

    def withdraw(
        self, client_id: str, *, asset: str, quantity: Decimal, destination: str, at: datetime
    ) -> WithdrawalReport:
        """Order a withdrawal under our id."""
        wanted = {
            "externalOrderId": client_id, "orderType": "withdraw", "portfolioId": self._portfolio,
            "baseCurrency": asset, "mainCurrency": _main(asset), "amount": money.text(quantity),
            "toAddress": destination, "includeFeeInWithdraw": True,
        }  # fmt: skip
        return self._order(wanted, quantity, destination)

    def withdrawal(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of an order under our id."""
        order = self._by_our_id(client_id)
        return None if order is None else _outcome(order)

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
        """Order an exchange with a counterparty of the network: payment versus payment, or free where nothing comes."""
        wanted = {
            "externalOrderId": client_id, "orderType": "sell", "limitType": "otc", "portfolioId": self._portfolio,
            "baseCurrency": deliver_asset, "mainCurrency": _main(deliver_asset), "amount": money.text(deliver_quantity),
            "quoteCurrency": receive_asset, "quoteMainCurrency": _main(receive_asset),
            "quoteAmount": money.text(receive_quantity), "toCounterpartyId": counterparty,
            "deliveryType": "payment-vs-payment" if receive_quantity else "free-of-payment",
        }  # fmt: skip
        return self._order(wanted, deliver_quantity, counterparty)

    def settlement(self, client_id: str, *, at: datetime) -> WithdrawalReport | None:
        """Return what became of an exchange."""
        return self.withdrawal(client_id, at=at)

    def _order(self, wanted: Order, quantity: Decimal, destination: str) -> WithdrawalReport:
        try:
            order = self._ask("POST", "/orders", body=wanted)
        except CustodianRefused:
            # A conflict is also what the same id a second time gets: the first order answers for it.
            known = self._by_our_id(wanted["externalOrderId"])
            if known is None:
                raise
            order = known
        extra = order.get("extra", {})
        first = (
            order["baseCurrency"],
            _number(order["amount"]),
            extra.get("toAddress") or extra.get("toCounterpartyId"),
        )
        if first != (wanted["baseCurrency"], quantity, destination):
            raise CustodianRefused(f"the id {wanted['externalOrderId']} was used for another transfer")
        report = _outcome(order)
        if report.refused:
            raise CustodianRefused(report.refused)
        return report

    def _by_our_id(self, client_id: str) -> Order | None:
        return next(iter(self._orders(externalOrderId=client_id)), None)

    # --- both books ---------------------------------------------------------------------------------------------------

    def transfers(self, *, since: datetime, at: datetime) -> list[TransferReport]:
        """Return the orders that moved something out since an instant, whoever placed them."""
        rows = self._orders(orderTypes=",".join(_OUT), updatedSince=str(_ms(since)))
        reports = [_transfer(row) for row in rows]
        return [row for row in reports if row.executed_at is None or row.executed_at >= since]

    def balances(self, *, at: datetime) -> dict[str, Decimal]:
        """Return what is held: what the wallets have, and what has come into a block and is not in them yet."""
        held: dict[str, Decimal] = {}
        wallets = self._pages("/wallets", "wallets", {"portfolioId": self._portfolio})
        needed = Asset.objects.annotate(needed=Max("networks__confirmations")).values_list("code", "needed")
        wanted = {code: count or 1 for code, count in needed}
        rows = self._orders(orderTypes="deposit", statuses=_ON_THE_WAY)
        coming = [_deposit(row, wanted.get(row["baseCurrency"], 1)) for row in rows]
        with money.exact():
            for row in wallets:
                held[row["currency"]] = held.get(row["currency"], money.ZERO) + _number(row["totalBalance"])
            for report in coming:
                if report.confirmations:
                    held[report.asset] = held.get(report.asset, money.ZERO) + report.quantity
        return held

    # --- the line -----------------------------------------------------------------------------------------------------

    def _orders(self, **wanted: str) -> Iterator[Order]:
        return self._pages("/orders", "orders", {"portfolioIds": self._portfolio, **wanted})

    def _pages(self, path: str, name: str, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield every row of a list, page after page."""
        offset = 0
        while True:
            rows = self._ask("GET", path, {**wanted, "limit": str(self._page), "offset": str(offset)})[name]
            yield from rows
            if len(rows) < self._page:
                return
            offset += len(rows)

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Order | None = None
    ) -> dict[str, Any]:
        """Send one signed request; 400 and 409 to what was to be changed are a definite no, all else is unknown."""
        asked = f"/platform{path}" + (f"?{urlencode(query)}" if query else "")
        content = json.dumps(body, separators=(",", ":")) if body is not None else ""
        at = str(int(time.time() * 1000))
        headers = {
            "Authorization": f"ApiKey {self._key}",
            "X-Timestamp": at,
            "X-Signature": hmac.digest(self._secret, f"{at}{method}{asked}{content}".encode(), "sha256").hex(),
            "Content-Type": "application/json",
        }
        try:
            response = self._http.request(method, asked, content=content or None, headers=headers)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CustodianUnavailable(f"{path}: {type(error).__name__}: {error}") from error
        if response.status_code == httpx.codes.OK and isinstance(answer, dict):
            return answer
        said = f"{answer.get('error', '')}: {answer.get('message', '')}" if isinstance(answer, dict) else ""
        if method == "POST" and response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.CONFLICT):
            raise CustodianRefused(said.strip(": ") or f"status {response.status_code}")
        raise CustodianUnavailable(f"{path}: status {response.status_code} {said}".strip())


def build() -> CopperCustodian:
    """Return the custodian of the portfolio that the settings name."""
    return CopperCustodian(**settings.LENDING_COPPER)


def _deposit(row: Order, needed: int) -> DepositReport:
    extra, done = row.get("extra", {}), row["status"] in _DONE
    confirmations = int(extra.get("confirmations") or 0)
    gone = row["status"] in _GONE
    created = int(row["createdAt"])
    return DepositReport(
        ref=row["orderId"],
        position=created * _PLACES + zlib.crc32(row["orderId"].encode()) % _PLACES,
        address=extra.get("toAddress", ""),
        asset=row["baseCurrency"],
        quantity=_number(row["amount"]),
        seen_at=_instant(row["createdAt"]),
        # Until it is executed the last confirmation is missing, however many there are.
        confirmations=0 if gone else max(confirmations, needed) if done else min(confirmations, max(needed - 1, 0)),
        confirmed_at=_instant(row["terminatedAt"]) if done else None,
        reorged=gone,
        screened=done,
    )


def _outcome(row: Order) -> WithdrawalReport:
    refused = ""
    if row["status"] in _REFUSED:
        refused = f"{row['status']}: {row.get('extra', {}).get('description') or 'no reason was given'}"
    return WithdrawalReport(
        client_id=row["externalOrderId"],
        ref=row["orderId"],
        executed_at=_instant(row["terminatedAt"]) if row["status"] in _DONE else None,
        refused=refused,
    )


def _transfer(row: Order) -> TransferReport:
    told, quantity = _outcome(row), _number(row["amount"])
    deltas = [(row["baseCurrency"], quantity.copy_negate())]
    exchange = row["orderType"] in _EXCHANGES
    if exchange and row.get("quoteCurrency"):
        deltas.append((row["quoteCurrency"], _number(row.get("extra", {}).get("totalQuoteAmount") or "0")))
    if row["orderType"] == "buy":
        deltas = [(asset, delta.copy_negate()) for asset, delta in deltas]
    return TransferReport(
        client_id=told.client_id,
        kind="exchange" if exchange else "withdrawal",
        asset=row["baseCurrency"],
        quantity=quantity,
        deltas=tuple(deltas),
        accepted_at=_instant(row["createdAt"]),
        executed_at=told.executed_at,
        refused=told.refused,
    )


def _main(asset: str) -> str:
    """Return the network of an asset, as the API names it."""
    if asset not in _MAIN:
        raise CustodianRefused(f"{asset} has no network at {NAME}; known are {', '.join(sorted(_MAIN))}")
    return _MAIN[asset]


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError):
        number = Decimal("NaN")
    if not number.is_finite():
        raise CustodianUnavailable(f"{text!r} is no amount that can be trusted")
    return number


def _ms(at: datetime) -> int:
    return int((at - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1))


def _instant(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text))
    except (ValueError, TypeError, OverflowError) as error:
        raise CustodianUnavailable(f"{text!r} is no instant that can be trusted") from error
