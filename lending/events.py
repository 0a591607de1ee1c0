"""
Events that screens and clients follow, numbered without gaps.

Identity keys commit out of order, so `id > last` would lose events. The one relay numbers what is committed, under
the locks of the streams' rows, and wakes the listeners of each once per transaction.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from lending.models import Event, EventStream

CHANNEL = "plimsoll_events"
_BATCH = 2000

_WAITING = """
    SELECT DISTINCT e.stream, s.name IS NOT NULL
      FROM lending_event e LEFT JOIN lending_eventstream s ON s.name = e.stream
     WHERE e.seq IS NULL ORDER BY e.stream
"""
# Numbers what waits in streams whose rows are locked, and wakes the listeners of each as it commits.
_NUMBER = """
    WITH waiting AS (
        SELECT id, stream, row_number() OVER (PARTITION BY stream ORDER BY id) AS place
          FROM lending_event WHERE seq IS NULL AND stream = ANY(%(streams)s)
    ), numbered AS (
        UPDATE lending_event e SET seq = s.last_seq + w.place
          FROM waiting w JOIN lending_eventstream s ON s.name = w.stream
         WHERE e.id = w.id AND w.place <= %(limit)s
        RETURNING e.stream, e.seq
    ), newest AS (
        UPDATE lending_eventstream s SET last_seq = n.seq
          FROM (SELECT stream, max(seq) AS seq, count(*) AS count FROM numbered GROUP BY stream) n
         WHERE s.name = n.stream
        RETURNING s.name, n.seq, n.count
    )
    SELECT count, pg_notify(%(channel)s, name || ':' || seq) FROM newest
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
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        known = dict(cursor.fetchall())
    if not all(known.values()):
        # Before any lock is held: two relays that each lock what the other is about to create would never end.
        EventStream.objects.bulk_create([EventStream(name=name) for name in known], ignore_conflicts=True)
    return _number(list(known)) if known else 0


@transaction.atomic
def _number(streams: list[str]) -> int:
    """Number what waits in some streams under the locks of their rows, which are taken in order of their names."""
    list(EventStream.objects.select_for_update().filter(name__in=streams).order_by("name"))
    # A statement of its own: it must see what another relay committed while this one waited for the locks.
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER, {"streams": streams, "limit": _BATCH, "channel": CHANNEL})
        return sum(count for count, _notified in cursor.fetchall())


def read(stream: str, after_seq: int, limit: int = 500) -> list[Event]:
    """Return the numbered events of a stream after a number, in order."""
    return list(Event.objects.filter(stream=stream, seq__gt=after_seq).order_by("seq")[:limit])


def newest(stream: str, limit: int) -> list[Event]:
    """Return the newest numbered events of a stream, the newest first."""
    return list(Event.objects.filter(stream=stream, seq__isnull=False).order_by("-seq")[:limit])


def last_seq(stream: str) -> int:
    """Return the number of a stream's newest event, 0 while it has none."""
    return EventStream.objects.filter(name=stream).values_list("last_seq", flat=True).first() or 0
