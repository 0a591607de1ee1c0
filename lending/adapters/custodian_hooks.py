"""
The paper custodian's webhooks: each change told once as the Standard Webhooks shape wants it, tried again until taken.

As with a real sender some come twice, some late and so out of order, some never; a share of each, or on demand.
"""

import hashlib
import heapq
import itertools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from lending.adapters.mischief import HOOK_FATES
from lending.adapters.paper_custodian import PaperCustodian
from lending.adapters.paper_records import Incoming, Outgoing, UnableToRecord
from lending.engine import signatures

logger = logging.getLogger(__name__)

LATE_S = 3.0
TRIES = 6
_FIRST_PAUSE_S = 0.5
_TIMEOUT_S = 2.0


@dataclass(order=True, slots=True)
class _Letter:
    due_s: float
    number: int
    message_id: str = field(compare=False)
    body: bytes = field(compare=False)
    tries: int = field(compare=False, default=0)


class Teller:
    """Watches a custodian and tells a listener what changed, in a thread of its own."""

    def __init__(self, custodian: PaperCustodian, *, url: str, secret: str, seed: int) -> None:
        self._custodian = custodian
        self._key = signatures.secret_of(secret)
        self._http = httpx.Client(timeout=_TIMEOUT_S)
        self._url, self._seed = url, seed
        # What had ended before this process began was told by the one before it.
        began_at = max((_since(item) for item in custodian.log), default=datetime.min.replace(tzinfo=UTC))
        self._read = len(custodian.log)
        self._restless = {_ref(item): item for item in custodian.log if not item.at_rest(began_at)}
        self._told: dict[str, str] = {}
        self._next: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._letters: list[_Letter] = []
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def fate(self, name: str) -> None:
        """Have the next webhook meet a fate."""
        if name not in HOOK_FATES:
            raise UnableToRecord(f"{name} is no fate of a webhook; those are {', '.join(HOOK_FATES)}")
        self._next[name] += 1

    def look(self, at: datetime, needed: Mapping[str, int]) -> None:
        """Write a letter for each change up to an instant; the caller has the custodian for itself."""
        for item in self._custodian.log[self._read :]:
            self._restless[_ref(item)] = item
        self._read = len(self._custodian.log)
        for ref, item in list(self._restless.items()):
            kind, rests = _standing(item, at, needed)
            if kind and kind != self._told.get(ref):
                self._told[ref] = kind
                self._write(ref, kind, item, at)
            if rests:
                del self._restless[ref]

    def close(self) -> None:
        """Tell nothing more."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()
        self._http.close()

    def _write(self, ref: str, kind: str, item: Incoming | Outgoing, at: datetime) -> None:
        fates = {name for name in HOOK_FATES if self._meets(name, ref, kind)}
        said: dict[str, Any] = {
            "type": kind,
            "timestamp": at.isoformat(),
            "data": {"ref": ref, "asset": item.asset, "quantity": f"{item.quantity:f}"},
        }
        drops = len(item.drops) if isinstance(item, Incoming) else 0  # the same change keeps its id over a restart
        message_id = "msg_" + hashlib.sha256(f"{self._seed}/{ref}/{kind}/{drops}".encode()).hexdigest()[:32]
        if "hook_lost" in fates:
            return
        due_s = time.monotonic() + (LATE_S if "hook_late" in fates else 0.0)
        body = json.dumps(said).encode()
        with self._changed:
            for _ in range(2 if "hook_twice" in fates else 1):
                heapq.heappush(self._letters, _Letter(due_s, next(self._numbers), message_id, body))
            self._changed.notify()

    def _meets(self, name: str, ref: str, kind: str) -> bool:
        if self._next[name]:
            self._next[name] -= 1
            return True
        drawn = hashlib.sha256(f"{self._seed}/{name}/{ref}/{kind}".encode()).hexdigest()
        return int(drawn[:12], 16) / 16**12 < getattr(self._custodian.temper, name)

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._over and not (self._letters and self._letters[0].due_s <= time.monotonic()):
                    self._changed.wait(self._letters[0].due_s - time.monotonic() if self._letters else None)
                if self._over:
                    return
                letter = heapq.heappop(self._letters)
            if not self._send(letter) and letter.tries < TRIES:
                letter.due_s = time.monotonic() + _FIRST_PAUSE_S * 2**letter.tries
                letter.tries += 1
                with self._changed:
                    heapq.heappush(self._letters, letter)

    def _send(self, letter: _Letter) -> bool:
        sent_at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": letter.message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signatures.sign(self._key, letter.message_id, sent_at, letter.body),
        }
        try:
            return self._http.post(self._url, content=letter.body, headers=headers).is_success
        except httpx.HTTPError as error:
            logger.info("webhook %s: %s", letter.message_id, error)
            return False


def _since(item: Incoming | Outgoing) -> datetime:
    return item.sent_at if isinstance(item, Incoming) else item.accepted_at


def _ref(item: Incoming | Outgoing) -> str:
    return item.ref if isinstance(item, Incoming) else item.client_id


def _standing(item: Incoming | Outgoing, at: datetime, needed: Mapping[str, int]) -> tuple[str, bool]:
    """Return what is to be told of a transfer at an instant, "" for nothing, and whether that is the last of it."""
    if isinstance(item, Outgoing):
        if not item.at_rest(at):
            return "", False
        return ("withdrawal.failed" if item.refused else "withdrawal.executed"), True
    if at < item.visible_at:
        return "", False
    enough = needed.get(item.asset, 1)
    report = item.report(at, enough)
    rests = item.at_rest(at, enough)
    if report.reorged:
        return "deposit.reorged", rests
    return ("deposit.confirmed" if report.confirmed_at else "deposit.seen"), rests
