"""One by one: what goes wrong about a loan is kept for a person to see, and holds back no other loan."""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from django.db import InterfaceError, OperationalError

from lending.models import Loan, Overdue

log = logging.getLogger(__name__)

UNFORESEEN = "something went wrong that nobody foresaw: the worker's log says what"
_REASON_LENGTH = 400


def work(kind: Overdue.Kind, due: Iterable[tuple[Loan, Callable[[], int]]], *, now: datetime) -> int:
    """
    Do what is due of some loans, each in a transaction of its own, and return how much was done.

    What fails is kept as overdue since it failed first, and tried again at the next call; what fails no more is over,
    but for what another call, which began later, has seen fail meanwhile.
    """
    done, failed = 0, set[int]()
    for loan, act in due:
        try:
            done += act()
        except Exception as wrong:
            log.exception("loan %s: %s failed", loan.public_id, kind.label)
            since = Overdue.objects.filter(loan=loan, kind=kind, done_at=None).values_list("at", flat=True).first()
            keep(loan, kind, [since or now], f"{UNFORESEEN} ({type(wrong).__name__})", now)
            failed.add(loan.pk)
    known = Overdue.objects.filter(kind=kind, done_at=None, since__lte=now)
    known.exclude(loan__in=failed).update(done_at=now)
    return done


def halved(keys: list[int], act: Callable[[list[int]], int]) -> tuple[int, list[int]]:
    """
    Do what is due of many at once, or of each half where that fails; return how much was done, and of which it fails.

    `act` is a transaction of its own. What ails the database itself is nobody's doing, and is raised.
    """
    if not keys:
        return 0, []
    try:
        return act(keys), []
    except (InterfaceError, OperationalError):
        raise
    except Exception:
        if len(keys) == 1:
            return 0, keys
        log.exception("one of %d fails: each half is tried by itself", len(keys))
    middle = len(keys) // 2
    (done, failing), (more, others) = halved(keys[:middle], act), halved(keys[middle:], act)
    return done + more, failing + others


def keep(loan: Loan, kind: Overdue.Kind, at: Sequence[datetime], reason: str, now: datetime) -> None:
    """Keep why something could not be done, in the words of its last try, and bring the loan back to what it was."""
    loan.refresh_from_db()
    rows = [
        Overdue(client_id=loan.client_id, loan=loan, kind=kind, at=one, reason=reason[:_REASON_LENGTH], since=now)
        for one in at
    ]
    Overdue.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["loan", "kind", "at"],
        update_fields=["reason", "done_at"],
    )
