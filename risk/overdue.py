"""
What is overdue of loans by itself: interest runs at another rate, or on less, than was agreed; a person must see to it.

What lending can not book stays due there and is tried again; here it becomes an incident of its margin account, with
the words of the refusal.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from lending import capitalisations, overdue, resets
from lending.engine import figures
from lending.overdue import Late
from risk import incidents

PATIENCE = timedelta(hours=1)  # of platform time: a busy account, or a worker that starts again, is no incident
_WATCHED = (
    (incidents.RESET_OVERDUE, resets.late, "its rate is not reset from {day} on"),
    (incidents.CAPITALISATION_OVERDUE, capitalisations.late, "its interest of the period to {day} is not principal"),
    (incidents.STEP_FAILS, overdue.failing, "it is held up since {day}"),
)
_UNTRIED = "it could not be tried: the worker may be down or failing, or its account busy each time"


def watch_due(*, now: datetime) -> int:
    """
    Open an incident for each margin account with something overdue, and close it once that is done; return how many.

    A loan that is to be looked at anew leaves its incident as it is until that has happened. One that is refused for
    another reason by now says so.
    """
    return sum(_watch(kind, late(before=now - PATIENCE), words, now) for kind, late, words in _WATCHED)


def _watch(kind: str, every: Sequence[Late], words: str, now: datetime) -> int:
    found, undecided = dict[int, incidents.Finding](), set[int]()
    for late in every:
        account = late.loan.margin_account
        if late.at is None:
            undecided.add(account.pk)
        elif account.pk not in found:
            found[account.pk] = _finding(late, words.format(day=figures.day(late.at.date())))
    return incidents.follow(kind, found, undecided=undecided, now=now)


def _finding(late: Late, what: str) -> incidents.Finding:
    loan, why = late.loan, late.reason or _UNTRIED
    said = f"{loan.client}, loan {str(loan.public_id)[:8]}: {what}"
    return incidents.Finding(loan.margin_account, f"{said}: {why}"[:300], {"loan": str(loan.public_id), "reason": why})
