"""For how long a call's clock stood still, as a sceptic adds it up: from the rows of what stopped it, span by span."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

_OUTAGES = """
SELECT a.code, o.start_at, o.end_at FROM risk_assetoutage o JOIN lending_asset a ON a.id = o.asset_id
"""
_FREEZES = "SELECT margin_account_id, frozen_at, lifted_at FROM lending_freeze"
_DISPUTES = "SELECT call_id, opened_at, answered_at, answer_due_at, undisputed FROM risk_dispute"
# Somebody of risk spoke with the client: receipt, as two channels are.
_SPOKEN = """
SELECT c.id, min(e.happened_at) FROM risk_callevent e JOIN risk_margincall c ON c.id = e.call_id
WHERE e.kind = 'spoken' AND e.happened_at >= c.issued_at GROUP BY c.id
"""

# Outages and freezes together; a dispute has a limit of its own, the instant by which it is to be answered.
MOST = timedelta(hours=6)
NONE = timedelta(0)
Span = tuple[datetime, datetime]


class RawStops:
    """Outages by asset, freezes by account and disputes by call."""

    def __init__(self, cursor: Any) -> None:
        cursor.execute(_OUTAGES)
        self._outages = list(cursor.fetchall())
        cursor.execute(_FREEZES)
        self._freezes = list(cursor.fetchall())
        cursor.execute(_DISPUTES)
        self._disputes = list(cursor.fetchall())
        cursor.execute(_SPOKEN)
        self._spoken = dict(cursor.fetchall())

    def received_at(self, call: int, delivered_at: datetime | None, channels: int) -> datetime | None:
        """Return when a call was received: on its second channel, or by voice, whichever came first."""
        found = {self._spoken.get(call), delivered_at if channels > 1 else None} - {None}
        return min(found) if found else None  # type: ignore[type-var]

    def undisputed(self, call: int) -> Decimal:
        """Return which part of a call its dispute leaves due; 1 when it was not disputed."""
        return next((part for owner, _at, _answered, _due, part in self._disputes if owner == call), Decimal(1))

    def between(self, account: int, assets: set[str], start: datetime, end: datetime, *, call: int = 0) -> timedelta:
        """
        Return for how long a clock stood still between two instants, no second twice.

        A dispute counts where its call is named: the caller knows whether what it left due was paid.
        """
        hard = [(from_at, to_at or end) for code, from_at, to_at in self._outages if code in assets]
        hard += [(from_at, to_at or end) for owner, from_at, to_at in self._freezes if owner == account]
        soft = [
            (from_at, min(answered_at or due_at, due_at))
            for owner, from_at, answered_at, due_at, _part in self._disputes
            if owner == call
        ]
        cuts = sorted({start, end, *(at for span in (*hard, *soft) for at in span if start < at < end)})
        stood, disputed = NONE, NONE
        for first, last in pairwise(cuts):
            if _covered(first, last, hard):
                stood += last - first
            elif _covered(first, last, soft):
                disputed += last - first
        return min(stood, MOST) + disputed


def _covered(first: datetime, last: datetime, spans: list[Span]) -> bool:
    return any(start <= first and last <= end for start, end in spans)
