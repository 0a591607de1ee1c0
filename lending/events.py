"""
Events that screens and clients follow, numbered without gaps.

Identity keys commit out of order, so `id > last` would lose events. The one relay numbers what is committed, under
the lock of the stream's row, and wakes listeners once per transaction.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from lending.models import Event, EventStream

CHANNEL = "plimsoll_events"
_BATCH = 2000

_NUMBER = """
    WITH waiting AS (
        SELECT id, row_number() OVER (ORDER BY id) AS place
        FROM (SELECT id FROM lending_event WHERE seq IS NULL AND stream = %(stream)s ORDER BY id LIMIT %(limit)s) w
    )
    UPDATE lending_event e SET seq = %(last)s + waiting.place FROM waiting WHERE e.id = waiting.id
"""


def emit(stream: str, kind: str, payload: Mapping[str, Any], *, now: datetime, client_id: int | None = None) -> Event:
    """Write down that something happened, in the transaction in which it happened; the relay numbers it later."""
    event = new(stream, kind, payload, now=now, client_id=client_id)
    event.save(force_insert=True)
    return event


def new(stream: str, kind: str, payload: Mapping[str, Any], *, now: datetime, client_id: int | None = None) -> Event:
    """Return an event that is not saved yet, for those who write many at once."""
    return Event(stream=stream, kind=kind, payload=dict(payload), client_id=client_id, happened_at=now)


def relay(*, now: datetime) -> int:
    """Number the committed events of every stream, wake the listeners, and return how many were numbered."""
    streams = Event.objects.filter(seq=None).order_by("stream").values_list("stream", flat=True).distinct()
    return sum(_relay_stream(name) for name in list(streams))


def read(stream: str, after_seq: int, limit: int = 500) -> list[Event]:
    """Return the numbered events of a stream after a number, in order."""
    return list(Event.objects.filter(stream=stream, seq__gt=after_seq).order_by("seq")[:limit])


def newest(stream: str, limit: int) -> list[Event]:
    """Return the newest numbered events of a stream, the newest first."""
    return list(Event.objects.filter(stream=stream, seq__isnull=False).order_by("-seq")[:limit])


def last_seq(stream: str) -> int:
    """Return the number of a stream's newest event, 0 while it has none."""
    return EventStream.objects.filter(name=stream).values_list("last_seq", flat=True).first() or 0


@transaction.atomic
def _relay_stream(name: str) -> int:
    EventStream.objects.get_or_create(name=name)
    stream = EventStream.objects.select_for_update().get(name=name)
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER, {"stream": name, "limit": _BATCH, "last": stream.last_seq})
        count = cursor.rowcount
        if count:
            stream.last_seq += count
            stream.save(update_fields=["last_seq"])
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{name}:{stream.last_seq}"])
    return count
