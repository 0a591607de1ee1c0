"""
The paper custodian as a process: JSON over HTTP, its records in a journal that is on disk before anything is answered.

A journal whose last line was cut by a kill loses that line only, which was never answered.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lending.adapters import custodian_inprocess
from lending.adapters.custodian_hooks import Teller
from lending.adapters.mischief import CALM, HOOK_FATES, Temper
from lending.adapters.paper_custodian import PaperCustodian
from lending.adapters.paper_records import UnableToRecord
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport, TransferReport, WithdrawalReport

MAX_BODY = 1024 * 1024
LOST_ANSWER_S = 3.0  # longer than the client waits
Body = dict[str, Any]


class CustodianServer(ThreadingHTTPServer):
    """Serves one paper custodian; requests take turns."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        *,
        seed: int,
        journal: Path,
        temper: Temper = CALM,
        hooks: str = "",
        secret: str = "",
    ) -> None:
        self.custodian = custodian_inprocess.journaled(journal, seed=seed, temper=temper)
        self.teller = Teller(self.custodian, url=hooks, secret=secret, seed=seed) if hooks else None
        self.needed: dict[str, int] = {}  # confirmations, as whoever asks counts them
        self.turn = threading.Lock()
        super().__init__(address, _Handler)

    def answer(self, path: str, body: Body) -> Body:
        """Answer a request when it is its turn, and tell what changed up to its instant."""
        with self.turn:
            if path == "/simulate/fate" and body.get("fate") in HOOK_FATES:
                return self._fate_of_webhook(str(body["fate"]))
            try:
                return _ROUTES[path](self.custodian, body)
            finally:
                self._tell(body)

    def server_close(self) -> None:
        """Tell nothing more, and close the door."""
        if self.teller:
            self.teller.close()
        super().server_close()

    def _tell(self, body: Body) -> None:
        """Tell what changed; what is asked without an instant changes nothing."""
        if isinstance(body.get("needed"), dict):
            self.needed = body["needed"]
        with contextlib.suppress(UnableToRecord, KeyError, ValueError, TypeError):
            if self.teller:
                self.teller.look(_at(body), self.needed)

    def _fate_of_webhook(self, fate: str) -> Body:
        if not self.teller:
            raise UnableToRecord("no webhooks are sent: their address was not given")
        self.teller.fate(fate)
        return {"status": "ok"}


class _Handler(BaseHTTPRequestHandler):
    server: CustodianServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave as one: else the second waits 40 ms for the first to be acknowledged

    def do_GET(self) -> None:
        """Answer whether the process is up."""
        if self.path == "/health":
            self._send(HTTPStatus.OK, {"status": "ok"})
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": f"no such address: {self.path}"})

    def do_POST(self) -> None:
        """Answer a request."""
        if self.path not in _ROUTES:
            self._send(HTTPStatus.NOT_FOUND, {"error": f"no such address: {self.path}"})
            return
        if self.headers.get_content_type() != "application/json":
            # A page in a browser can send a form here without asking; JSON it can not.
            self.close_connection = True
            self._send(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "Content-Type application/json is needed"})
            return
        try:
            body = self._body()
            result = self.server.answer(self.path, body)
        except (UnableToRecord, KeyError, TypeError, ValueError, ArithmeticError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            self._send(HTTPStatus.BAD_REQUEST, {"error": missing or type(error).__name__})
        except CustodianRefused as error:
            self._send(HTTPStatus.CONFLICT, {"error": str(error)})
        except CustodianUnavailable:
            # What was asked is done, and the asker does not learn it: as a real network loses an answer.
            time.sleep(LOST_ANSWER_S)
            self.close_connection = True
        else:
            self._send(HTTPStatus.OK, result)

    def _body(self) -> Body:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY:
            self.close_connection = True
            raise UnableToRecord(f"a body of 1 to {MAX_BODY} bytes of JSON is needed, not of {length}")
        body = json.loads(self.rfile.read(length))
        if not isinstance(body, dict):
            raise UnableToRecord("the body must be a JSON object")
        return body

    def _send(self, status: HTTPStatus, body: Body) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: one request is not news."""


def _at(body: Body, name: str = "at") -> datetime:
    value = datetime.fromisoformat(_text(body, name))
    if value.tzinfo is None:
        raise UnableToRecord(f"{name} has no time zone")
    return value


def _text(body: Body, name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or not value:
        raise UnableToRecord(f"{name} must be a text that is not empty")
    return value


def _quantity(body: Body, name: str = "quantity") -> Decimal:
    try:
        return Decimal(_text(body, name))
    except ArithmeticError:
        raise UnableToRecord(f"{name} must be a number in a text, not {body[name]!r}") from None


def _address(custodian: PaperCustodian, body: Body) -> Body:
    return {"address": custodian.deposit_address(_text(body, "reference"), _text(body, "asset"))}


def _watch(custodian: PaperCustodian, body: Body) -> Body:
    custodian.watch(
        _text(body, "address"), asset=_text(body, "asset"), reference=_text(body, "reference"), at=_at(body)
    )
    return {"status": "ok"}


def _treasury(custodian: PaperCustodian, body: Body) -> Body:
    return {"address": custodian.treasury_address(_text(body, "asset"))}


def _deposits(custodian: PaperCustodian, body: Body) -> Body:
    after, refs = body["after"], body["refs"]
    if not isinstance(after, int) or after < 0 or not isinstance(refs, list):
        raise UnableToRecord("after must be a position, refs a list of texts")
    needed = body["needed"]
    if not isinstance(needed, dict) or not all(isinstance(count, int) and count > 0 for count in needed.values()):
        raise UnableToRecord("needed must give a count of confirmations above zero for each asset")
    reports = custodian.deposits(after=after, refs=[str(ref) for ref in refs], needed=needed, at=_at(body))
    return {"deposits": [_deposit_body(report) for report in reports]}


def _withdraw(custodian: PaperCustodian, body: Body) -> Body:
    report = custodian.withdraw(
        _text(body, "client_id"),
        asset=_text(body, "asset"),
        quantity=_quantity(body),
        destination=_text(body, "destination"),
        at=_at(body),
    )
    return _report_body(report)


def _withdrawal(custodian: PaperCustodian, body: Body) -> Body:
    report = custodian.withdrawal(_text(body, "client_id"), at=_at(body))
    return {"known": False} if report is None else {"known": True, **_report_body(report)}


def _settle(custodian: PaperCustodian, body: Body) -> Body:
    report = custodian.settle(
        _text(body, "client_id"),
        deliver_asset=_text(body, "deliver_asset"),
        deliver_quantity=_quantity(body, "deliver_quantity"),
        receive_asset=_text(body, "receive_asset"),
        receive_quantity=_quantity(body, "receive_quantity"),
        counterparty=_text(body, "counterparty"),
        at=_at(body),
    )
    return _report_body(report)


def _balances(custodian: PaperCustodian, body: Body) -> Body:
    return {"balances": {asset: f"{amount:f}" for asset, amount in custodian.balances(at=_at(body)).items()}}


def _simulate_deposit(custodian: PaperCustodian, body: Body) -> Body:
    custodian.simulate_deposit(
        _text(body, "ref"),
        address=_text(body, "address"),
        asset=_text(body, "asset"),
        quantity=_quantity(body),
        at=_at(body),
        screened=body.get("screened", True) is True,
    )
    return {"status": "ok"}


def _simulate_opening(custodian: PaperCustodian, body: Body) -> Body:
    custodian.simulate_opening(_text(body, "ref"), asset=_text(body, "asset"), quantity=_quantity(body), at=_at(body))
    return {"status": "ok"}


def _simulate_reorg(custodian: PaperCustodian, body: Body) -> Body:
    custodian.simulate_reorg(_text(body, "ref"), at=_at(body))
    return {"status": "ok"}


def _simulate_return(custodian: PaperCustodian, body: Body) -> Body:
    custodian.simulate_return(_text(body, "ref"), at=_at(body))
    return {"status": "ok"}


def _simulate_fate(custodian: PaperCustodian, body: Body) -> Body:
    custodian.simulate_fate(_text(body, "fate"))
    return {"status": "ok"}


def _transfers(custodian: PaperCustodian, body: Body) -> Body:
    return {"transfers": [_transfer_body(row) for row in custodian.transfers(since=_at(body, "since"), at=_at(body))]}


def _transfer_body(row: TransferReport) -> Body:
    return {
        "client_id": row.client_id,
        "kind": row.kind,
        "asset": row.asset,
        "quantity": f"{row.quantity:f}",
        "deltas": [[asset, f"{delta:f}"] for asset, delta in row.deltas],
        "accepted_at": row.accepted_at.isoformat(),
        "executed_at": row.executed_at.isoformat() if row.executed_at else "",
        "refused": row.refused,
    }


def _deposit_body(report: DepositReport) -> Body:
    return {
        "ref": report.ref,
        "position": report.position,
        "address": report.address,
        "asset": report.asset,
        "quantity": f"{report.quantity:f}",
        "seen_at": report.seen_at.isoformat(),
        "confirmations": report.confirmations,
        "confirmed_at": report.confirmed_at.isoformat() if report.confirmed_at else "",
        "reorged": report.reorged,
        "screened": report.screened,
    }


def _report_body(report: WithdrawalReport) -> Body:
    return {
        "client_id": report.client_id,
        "ref": report.ref,
        "executed_at": report.executed_at.isoformat() if report.executed_at else "",
        "refused": report.refused,
    }


_ROUTES: dict[str, Callable[[PaperCustodian, Body], Body]] = {
    "/addresses": _address,
    "/addresses/watch": _watch,
    "/addresses/treasury": _treasury,
    "/deposits/query": _deposits,
    "/withdrawals": _withdraw,
    "/withdrawals/query": _withdrawal,
    "/settlements": _settle,
    "/transfers/query": _transfers,
    "/balances": _balances,
    "/simulate/deposit": _simulate_deposit,
    "/simulate/opening": _simulate_opening,
    "/simulate/reorg": _simulate_reorg,
    "/simulate/return": _simulate_return,
    "/simulate/fate": _simulate_fate,
}
