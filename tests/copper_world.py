"""A server that answers in the shape of Copper's platform API, strict about signatures, for tests."""

import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY, SECRET, PORTFOLIO = "key-1", "a secret", "portfolio-1"


class CopperServer(ThreadingHTTPServer):
    """Keeps orders, deposit targets and wallets; `broken` is what the next request is answered with instead."""

    daemon_threads = True

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.targets: list[dict[str, Any]] = []
        self.wallets: list[dict[str, str]] = []
        self.target_status = "enabled"
        self.broken: list[tuple[int, Any]] = []
        self.after_order: list[tuple[int, Any]] = []  # the same, once the order was taken
        self.pages: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def order(self, kind: str, order_id: str, asset: str, amount: str, status: str, **more: Any) -> dict[str, Any]:
        """Put an order there that the platform did not place."""
        row = {
            "orderId": order_id, "externalOrderId": more.pop("ours", f"x-{order_id}"), "orderType": kind,
            "status": status, "portfolioId": PORTFOLIO, "portfolioType": "custody", "amount": amount,
            "baseCurrency": asset, "createdAt": more.pop("created", "1621411200000"), "extra": more.pop("extra", {}),
            **more,
        }  # fmt: skip
        self.orders.append(row)
        return row


@contextmanager
def serving() -> Iterator[CopperServer]:
    server = CopperServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: CopperServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave as one: else the second waits 40 ms for the first to be acknowledged

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def _answer(self, body: str) -> None:
        at = self.headers.get("X-Timestamp", "")
        signed = hmac.digest(SECRET.encode(), f"{at}{self.command}{self.path}{body}".encode(), "sha256").hex()
        if self.headers.get("Authorization") != f"ApiKey {KEY}" or self.headers.get("X-Signature") != signed:
            return self._send(401, {"error": "unauthorized", "message": "the signature does not fit"})
        if self.server.broken:
            return self._send(*self.server.broken.pop(0))
        url = urlsplit(self.path)
        wanted = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/platform")
        if self.command == "POST":
            return self._made(path, json.loads(body))
        if path.startswith("/orders/"):
            found = [row for row in self.server.orders if row["orderId"] == path.split("/")[2]]
            return (
                self._send(200, found[0]) if found else self._send(404, {"error": "not-found", "message": "no order"})
            )
        self.server.pages.append(self.path)
        rows = {"/orders": self._orders, "/deposit-targets": self._targets, "/wallets": self._wallets}[path](wanted)
        first, count = int(wanted.get("offset", 0)), int(wanted.get("limit", 1000))
        name = {"/orders": "orders", "/deposit-targets": "depositTargets", "/wallets": "wallets"}[path]
        return self._send(200, {name: rows[first : first + count]})

    def _orders(self, wanted: dict[str, str]) -> list[dict[str, Any]]:
        rows = [row for row in self.server.orders if row["portfolioId"] == wanted["portfolioIds"]]
        if ours := wanted.get("externalOrderId"):
            rows = [row for row in rows if row["externalOrderId"] == ours]
        if kinds := wanted.get("orderTypes"):
            rows = [row for row in rows if row["orderType"] in kinds.split(",")]
        if statuses := wanted.get("statuses"):
            rows = [row for row in rows if row["status"] in statuses.split(",")]
        if since := wanted.get("createdSince"):
            rows = [row for row in rows if int(row["createdAt"]) >= int(since)]
        if since := wanted.get("updatedSince"):
            rows = [row for row in rows if int(row.get("updatedAt", row["createdAt"])) >= int(since)]
        return rows

    def _targets(self, wanted: dict[str, str]) -> list[dict[str, Any]]:
        return [row for row in self.server.targets if row["externalId"] == wanted["externalId"]]

    def _wallets(self, wanted: dict[str, str]) -> list[dict[str, str]]:
        return self.server.wallets

    def _made(self, path: str, body: dict[str, Any]) -> None:
        if path == "/deposit-targets":
            address = body.get("address") or f"copper-{len(self.server.targets)}"
            row = {**body, "depositTargetId": "t", "address": address, "status": self.server.target_status}
            self.server.targets.append(row)
            return self._send(200, row)
        if any(row["externalOrderId"] == body["externalOrderId"] for row in self.server.orders):
            return self._send(409, {"error": "conflict", "message": "externalOrderId was used"})
        if Decimal(body["amount"]) > 100:
            return self._send(400, {"error": "insufficient-funds", "message": "not enough funds"})
        to = {"toAddress": body["toAddress"]} if "toAddress" in body else {"toCounterpartyId": body["toCounterpartyId"]}
        extra = {**to, "totalQuoteAmount": body.get("quoteAmount", ""), "deliveryType": body.get("deliveryType", "")}
        row = self.server.order(
            body["orderType"], f"o{len(self.server.orders)}", body["baseCurrency"], body["amount"], "working",
            ours=body["externalOrderId"], extra=extra, quoteCurrency=body.get("quoteCurrency", ""),
        )  # fmt: skip
        return self._send(*self.server.after_order.pop(0)) if self.server.after_order else self._send(200, row)

    def _send(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
