"""Dealers reached over HTTP; see dealers_server.py for the messages."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from otc.adapters import messages
from otc.engine.dealer import CHARACTERS
from otc.ports import Answer, QuoteRequest, UnableToTell

CONNECT_S = 2.0
ANSWER_S = 3.0


class HttpDealer:
    """One dealer behind a URL; whatever is not a clear answer is UnableToTell."""

    client_made_ids = True

    def __init__(self, name: str, *, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.code = name
        self.settlement_lag_s = CHARACTERS[name].settlement_lag_s if name in CHARACTERS else 600
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/{name}",
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    def request_quote(self, request: QuoteRequest) -> Answer:
        """Ask for a bid under the client's id."""
        return self._answer("POST", "/quotes", json=messages.request_to_json(request))

    def accept(self, client_order_id: str, *, at: datetime) -> Answer:
        """Accept the bid that was made under an id."""
        return self._answer("POST", f"/orders/{quote(client_order_id, safe='')}/accept", json={"at": at.isoformat()})

    def withdraw(self, client_order_id: str, *, at: datetime) -> Answer:
        """Void what was not accepted under an id."""
        return self._answer("POST", f"/orders/{quote(client_order_id, safe='')}/withdraw", json={"at": at.isoformat()})

    def query(self, client_order_id: str, *, at: datetime) -> Answer | None:
        """Return the order as the dealer knows it, None when it does not."""
        response = self._send("GET", f"/orders/{quote(client_order_id, safe='')}", params={"at": at.isoformat()})
        return None if response.status_code == httpx.codes.NOT_FOUND else self._read(response)

    def _answer(self, method: str, path: str, **arguments: Any) -> Answer:
        return self._read(self._send(method, path, **arguments))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise UnableToTell(f"{self.code}: {type(error).__name__}") from error

    def _read(self, response: httpx.Response) -> Answer:
        if response.status_code != httpx.codes.OK:
            raise UnableToTell(f"{self.code} answered {response.status_code}: {response.text[:120]}")
        try:
            return messages.answer_from_json(response.json())
        except ValueError as error:
            raise UnableToTell(f"{self.code} sent what can not be read: {error}") from error
