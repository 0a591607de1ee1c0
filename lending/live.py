"""
The live line: numbered events pushed to pages as they are relayed.

One LISTEN connection per web process hears the relay's wake-ups, reads each new event once and fans it out to the open
pages. Rows stay the truth: a page that was away reads what it missed by number, and a wake-up that was lost is made
up for within one heartbeat. So nothing is missed, and nothing comes twice.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse

from lending import events
from lending.models import Event

logger = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
LIFETIME_S = 600.0  # then the browser connects again, and its session and role are looked at again
_BATCH = 500
_INBOX = 1000
_RETRY_S = 1.0
_FOR_DJANGO = {"cursor_factory", "context", "prepare_threshold"}

Inbox = asyncio.Queue[Event | None]  # None: look at the rows again


class Hub:
    """The one listener of an event loop, and the inboxes of the pages that it feeds."""

    def __init__(self) -> None:
        self._inboxes: defaultdict[str, set[Inbox]] = defaultdict(set)
        self._told: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def inbox(self, stream: str) -> Any:
        """Give an inbox that fills from now on; the last page to leave ends the listening."""
        mine: Inbox = asyncio.Queue(_INBOX)
        self._inboxes[stream].add(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen())
        try:
            yield mine
        finally:
            self._inboxes[stream].discard(mine)
            if not any(self._inboxes.values()):
                self._task.cancel()
                self._told.clear()

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**_address(), autocommit=True) as listener:
                    await listener.execute(f"LISTEN {events.CHANNEL}")
                    self._look_again()  # whatever was said before we listened
                    async for note in listener.notifies():
                        await self._heard(note.payload)
            except (psycopg.Error, OSError) as problem:
                logger.warning("live line: %s; listening again", problem)
            await asyncio.sleep(_RETRY_S)

    async def _heard(self, payload: str) -> None:
        stream, _, number = payload.rpartition(":")
        if not self._inboxes.get(stream):
            self._told.pop(stream, None)
            return
        told = self._told.get(stream)
        self._told[stream] = int(number)
        if told is None:
            self._look_again(stream)
            return
        for event in await read(stream, told):
            for inbox in self._inboxes[stream]:
                _put(inbox, event)

    def _look_again(self, stream: str | None = None) -> None:
        for name, inboxes in self._inboxes.items():
            if stream in {None, name}:
                for inbox in inboxes:
                    _put(inbox, None)


def _put(inbox: Inbox, event: Event | None) -> None:
    """Fill an inbox; one that nobody empties is thrown away for a single word to look at the rows."""
    if inbox.full():
        while not inbox.empty():
            inbox.get_nowait()
        event = None
    inbox.put_nowait(event)


def _address() -> dict[str, Any]:
    return {key: value for key, value in connection.get_connection_params().items() if key not in _FOR_DJANGO}


def _read(stream: str, after: int) -> list[Event]:
    try:
        return events.read(stream, after, _BATCH)
    finally:
        connection.close()  # this thread may not come back for hours


async def read(stream: str, after: int) -> list[Event]:
    """Return the next events of a stream, without holding up the loop."""
    return await sync_to_async(_read, thread_sensitive=False)(stream, after)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


async def follow(stream: str, after: int, *, heartbeat_s: float = HEARTBEAT_S) -> AsyncGenerator[Event | None]:
    """
    Give every event of a stream numbered above `after`, in order and once, then each new one; None as a heartbeat.

    The inbox opens before the rows are read, so nothing falls between the two; an event that came both ways is known
    by its number.
    """
    hub = _hubs.setdefault(asyncio.get_running_loop(), Hub())
    with hub.inbox(stream) as inbox:
        while True:
            while batch := await read(stream, after):
                for event in batch:
                    after = event.seq or after
                    yield event
            async for event in _in_step(inbox, after, heartbeat_s):
                after = event.seq or after
                yield event
            yield None


async def _in_step(inbox: Inbox, after: int, heartbeat_s: float) -> AsyncIterator[Event]:
    """Give what the inbox brings while its numbers follow on; end when the rows must be looked at again."""
    while True:
        try:
            async with asyncio.timeout(heartbeat_s):  # wait_for loses a cancellation that meets an event (3.11)
                event = await inbox.get()
        except TimeoutError:
            return
        if event is None or event.seq is None or event.seq > after + 1:
            return
        if event.seq == after + 1:
            after = event.seq
            yield event


def response(stream: str, after: int, render: Callable[[Event], str]) -> StreamingHttpResponse:
    """Return a stream of server-sent events: each with its number as id, rendered for the page."""

    async def lines() -> AsyncIterator[str]:
        ends_at = time.monotonic() + LIFETIME_S
        # Where the line begins: a reader that asked for what is new needs a number to come back with.
        yield f"retry: 1000\nevent: from\ndata: {after}\n\n"
        async with contextlib.aclosing(follow(stream, after)) as following:
            async for event in following:
                if event is None:
                    yield ": still here\n\n"
                else:
                    data = "\n".join(f"data: {line}" for line in render(event).splitlines() if line.strip())
                    yield f"id: {event.seq}\nevent: {stream}\n{data}\n\n"
                if time.monotonic() > ends_at:
                    return

    return StreamingHttpResponse(
        lines(),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def last_seen(header: str | None, query: str | None) -> int:
    """Return the number after which a page wants events: what its browser repeats wins over the page's address."""
    for text in (header, query):
        if text and text.isascii() and text.isdigit() and len(text) < 19:
            return int(text)
    return 0
