"""The live line misses nothing and says nothing twice: over reconnects, lost wake-ups and a killed listener."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test import AsyncClient

from lending import events, live
from tests.cast import NOW, assemble

PATIENCE_S = 90.0


def say(*words: str, relay: bool = True) -> None:
    """Emit events, and number them unless they are to wait."""
    try:
        for word in words:
            events.emit("console", word, {"summary": word}, now=NOW)
        if relay:
            events.relay(now=NOW)
    finally:
        connection.close()


def deaf() -> int:
    """End the session of every listener, and return how many there were."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN %%'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


class Reader:
    """A page that follows the console's stream, noting numbers as they come."""

    def __init__(self, after: int = 0, *, heartbeat_s: float = 60.0) -> None:
        self.heard: list[int] = []
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(self._read(after, heartbeat_s))

    async def _read(self, after: int, heartbeat_s: float) -> None:
        async for event in live.follow("console", after, heartbeat_s=heartbeat_s):
            if event is not None:
                async with self._came:
                    self.heard.append(int(event.seq or 0))
                    self._came.notify_all()

    async def until(self, count: int) -> list[int]:
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: len(self.heard) >= count)
        return self.heard

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Tell a story, and close what the views' own thread has open: its database is dropped afterwards."""

    async def told() -> None:
        await story()
        await sync_to_async(connections.close_all)()

    asyncio.run(told())


def test_what_was_said_before_and_after_comes_in_order(real_db: str) -> None:
    async def story() -> None:
        await asyncio.to_thread(say, "one", "two")
        reader = Reader()
        assert await reader.until(2) == [1, 2]
        await asyncio.to_thread(say, "three")
        await asyncio.to_thread(say, "four", "five")
        assert await reader.until(5) == [1, 2, 3, 4, 5]
        await reader.leave()

    run(story)


def test_a_page_that_comes_back_gets_what_it_missed_and_no_more(real_db: str) -> None:
    async def story() -> None:
        first = Reader()
        await asyncio.to_thread(say, "one", "two", "three")
        assert await first.until(3) == [1, 2, 3]
        await first.leave()
        await asyncio.to_thread(say, "four", "five")
        second = Reader(after=3)
        assert await second.until(2) == [4, 5]
        await asyncio.to_thread(say, "six")
        assert await second.until(3) == [4, 5, 6]
        await second.leave()

    run(story)


def test_events_said_while_pages_connect_come_once(real_db: str) -> None:
    async def story() -> None:
        talking = asyncio.gather(*(asyncio.to_thread(say, f"word {number}") for number in range(40)))
        readers = []
        for _ in range(8):
            readers.append(Reader())
            await asyncio.sleep(0.01)
        await talking
        await asyncio.to_thread(say, "last")
        for reader in readers:
            assert await reader.until(41) == list(range(1, 42))
            await reader.leave()

    run(story)


def test_a_page_that_leaves_as_an_event_comes_is_gone(real_db: str) -> None:
    async def story() -> None:
        await asyncio.to_thread(say, "one")
        reader = Reader()
        await reader.until(1)
        hub = live._hubs[asyncio.get_running_loop()]
        (inbox,) = hub._inboxes["console"]
        while not inbox._getters:  # until the page has read what there was and waits for more
            await asyncio.sleep(0.01)
        inbox.put_nowait(None)
        await asyncio.sleep(0)  # it is told to leave before it has taken this
        async with asyncio.timeout(PATIENCE_S):
            await reader.leave()

    run(story)


def test_a_killed_listener_is_replaced_and_nothing_is_lost(real_db: str) -> None:
    async def story() -> None:
        reader = Reader()
        await asyncio.to_thread(say, "one")
        await reader.until(1)
        assert await asyncio.to_thread(deaf) == 1
        await asyncio.to_thread(say, "two")  # nobody hears this wake-up
        await asyncio.to_thread(say, "three")
        assert await reader.until(3) == [1, 2, 3]
        await reader.leave()

    run(story)


def test_a_lost_wake_up_costs_one_heartbeat(real_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(live.Hub, "_heard", _hears_nothing)
        reader = Reader(heartbeat_s=0.2)
        await asyncio.to_thread(say, "one", "two")
        assert await reader.until(2) == [1, 2]
        await reader.leave()

    run(story)


async def _hears_nothing(hub: live.Hub, payload: str) -> None:
    return


def test_a_page_that_reads_too_slowly_is_told_to_look_again(real_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_INBOX", 3)

    async def story() -> None:
        reader = Reader()
        await asyncio.to_thread(say, "one")
        await reader.until(1)
        for burst in range(5):
            await asyncio.to_thread(say, *(f"{burst}.{number}" for number in range(20)))
        assert await reader.until(101) == list(range(1, 102))
        await reader.leave()

    run(story)


def test_an_event_is_not_told_before_it_is_numbered(real_db: str) -> None:
    async def story() -> None:
        await asyncio.to_thread(say, "waiting", relay=False)
        reader = Reader(heartbeat_s=0.1)
        await asyncio.sleep(0.5)
        assert reader.heard == []
        await asyncio.to_thread(say)
        assert await reader.until(1) == [1]
        await reader.leave()

    run(story)


def test_the_last_page_to_leave_ends_the_listening(real_db: str) -> None:
    async def story() -> None:
        reader = Reader()
        await asyncio.to_thread(say, "one")
        await reader.until(1)
        await reader.leave()
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(deaf) == 0

    run(story)


@pytest.mark.parametrize(
    ("header", "query", "number"),
    [
        ("7", None, 7),
        (None, "3", 3),
        ("7", "3", 7),
        ("x", "3", 3),
        ("-1", None, 0),
        (None, "9" * 30, 0),
        ("٣", None, 0),
    ],
)
def test_a_page_says_what_it_has(header: str | None, query: str | None, number: int) -> None:
    assert live.last_seen(header, query) == number


async def _first_lines(browser: AsyncClient, events_wanted: int, **headers: str) -> str:
    response = await browser.get("/console/stream/", headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    text = ""
    async with asyncio.timeout(PATIENCE_S):
        async for part in response.streaming_content:
            text += part.decode()
            if text.count("\nevent: console\n") >= events_wanted:
                break
    await response.streaming_content.aclose()
    return text


def test_over_http_the_line_goes_on_after_the_last_event_id(real_db: str) -> None:
    async def story() -> None:
        cast = await asyncio.to_thread(_assembled)
        await asyncio.to_thread(say, "one", "two", "three")
        browser = AsyncClient()
        await browser.aforce_login(cast.rhea)
        whole = await _first_lines(browser, 3)
        assert [line for line in whole.splitlines() if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
        rest = await _first_lines(browser, 1, **{"Last-Event-ID": "2"})
        assert [line for line in rest.splitlines() if line.startswith("id:")] == ["id: 3"]
        assert "Three" in rest
        assert "One" not in rest

    run(story)


def _assembled():
    try:
        return assemble()
    finally:
        connection.close()


def test_the_line_ends_in_time_so_that_roles_are_looked_at_again(real_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIFETIME_S", 0.0)

    async def story() -> None:
        cast = await asyncio.to_thread(_assembled)
        await asyncio.to_thread(say, "one")
        browser = AsyncClient()
        await browser.aforce_login(cast.rhea)
        response = await browser.get("/console/stream/")
        async with asyncio.timeout(PATIENCE_S):
            parts = [part async for part in response.streaming_content]
        assert len(parts) == 2  # how long to wait before coming back, and the one event

    run(story)
