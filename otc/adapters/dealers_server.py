"""
The simulated dealers as one HTTP process.

POST /<dealer>/quotes                    {client_order_id, asset, side: "sell", quantity, at}
POST /<dealer>/orders/<id>/accept        {at}
POST /<dealer>/orders/<id>/withdraw      {at}
GET  /<dealer>/orders/<id>?at=...
GET  /health

Amounts are text, instants ISO 8601 with a zone, `at` is platform time. Nonsense is answered with 400 and words, what
is not known with 404. When a dealer's answer to an acceptance is lost, the connection is closed without a response.
"""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from otc.adapters import messages
from otc.adapters.dealers_simulated import SimulatedDealer, UnableToServe
from otc.ports import Answer, UnableToTell

LONGEST_BODY = 10_000


class UnableToFind(LookupError):
    """There is no such dealer, order or page."""


class DealerServer(ThreadingHTTPServer):
    """Serves a handful of dealers; every request runs in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], dealers: Mapping[str, SimulatedDealer]) -> None:
        self.dealers = dealers
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection to the dealers."""

    server: DealerServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave as one: else the second waits 40 ms for the first to be acknowledged
    timeout = 30  # an idle connection is let go

    def do_GET(self) -> None:
        """Answer a query or a health check."""
        self._respond(b"")

    def do_POST(self) -> None:
        """Answer a request for quote, an acceptance or a withdrawal."""
        if self.headers.get_content_type() != "application/json":
            # A page in a browser can send a form here without asking; JSON it can not.
            self.close_connection = True
            self._send(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "Content-Type application/json is needed"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, {"error": f"a body of at most {LONGEST_BODY} bytes is needed"})
            return
        self._respond(self.rfile.read(int(length)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        """Say nothing: every order is in the journal."""

    def _respond(self, body: bytes) -> None:
        try:
            status, message = HTTPStatus.OK, self._route(body)
        except UnableToFind as error:
            status, message = HTTPStatus.NOT_FOUND, {"error": str(error)}
        except (UnableToServe, messages.UnableToRead) as error:
            status, message = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except UnableToTell:
            self.close_connection = True
            return
        self._send(status, message)

    def _route(self, body: bytes) -> Mapping[str, object]:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts == ["health"]:
            return {"dealers": sorted(self.server.dealers)}
        if parts[0] not in self.server.dealers:
            raise UnableToFind(f"there is no dealer {parts[0]!r}")
        dealer = self.server.dealers[parts[0]]
        time.sleep(dealer.character.latency_ms / 1000)
        answer = self._ask(dealer, parts[1:], url.query, body)
        return messages.answer_to_json(answer)

    def _ask(self, dealer: SimulatedDealer, parts: list[str], query: str, body: bytes) -> Answer:
        if self.command == "POST" and parts == ["quotes"]:
            return dealer.request_quote(messages.request_from_json(_json(body)))
        if len(parts) < 2 or parts[0] != "orders":
            raise UnableToFind("there is no such page")
        fields = _json(body) if self.command == "POST" else {name: last[-1] for name, last in parse_qs(query).items()}
        at = messages.instant(fields if isinstance(fields, dict) else {}, "at")
        known = dealer.query(parts[1], at=at)
        if known is None:
            raise UnableToFind(f"no order {parts[1]!r} is known here")
        if self.command == "GET" and len(parts) == 2:
            return known
        if self.command == "POST" and parts[2:] == ["accept"]:
            return dealer.accept(parts[1], at=at)
        if self.command == "POST" and parts[2:] == ["withdraw"]:
            return dealer.withdraw(parts[1], at=at)
        raise UnableToFind("there is no such page")

    def _send(self, status: HTTPStatus, message: Mapping[str, object]) -> None:
        content = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        raise messages.UnableToRead("the body is not JSON") from None
