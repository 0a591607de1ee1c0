"""
Capitalisation: the interest of a period becomes principal at its end, where that was agreed.

It is one entry per loan and period, at the instant at which the period ends and for all interest that is due then. What
comes to be known later about the time before it changes what had become principal, and what was earned on that since.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from django.db import transaction
from django.db.models import QuerySet

from lending import audit, bulk, growth, interest, ledger, margin_accounts, notices, overdue, replays
from lending.engine import figures, money
from lending.interest import BATCH
from lending.models import (
    AuditRecord,
    Capitalisation,
    Entry,
    Loan,
    Overdue,
    Repayment,
    ScheduleKind,
    ScheduleRow,
)
from lending.notices import Letter
from lending.overdue import Late


def work_due(*, now: datetime) -> int:
    """
    Make principal of the interest of every period that has ended, and return how many periods that were.

    Idempotent per loan and period. A loan whose days are not posted up to the end of its period, or whose margin
    account is busy, is left to the next call.
    """
    total, after = 0, 0
    while True:
        due = _due(now).filter(loan__margin_account_id__gt=after).order_by("loan__margin_account_id")
        keys = list(due.values_list("loan__margin_account_id", flat=True).distinct()[:BATCH])
        if not keys:
            return total
        after = keys[-1]
        total += _work(keys, now)


def _due(now: datetime) -> QuerySet[ScheduleRow]:
    """Return the rows of periods that are over, and not the last, whose interest is not principal yet."""
    rows = ScheduleRow.objects.filter(balance__gt=0, pay_date__lte=now.astimezone(UTC).date(), capitalisations=None)
    return rows.filter(loan__schedule_kind=ScheduleKind.CAPITALISED, loan__state__in=interest.ACCRUING)


@transaction.atomic
def _work(margin_account_ids: list[int], now: datetime) -> int:
    locked = margin_accounts.lock_many(margin_account_ids, skip_locked=True)
    rows = _due(now).filter(loan__margin_account__in=[account.pk for account in locked])
    periods: defaultdict[int, list[ScheduleRow]] = defaultdict(list)
    for row in rows.select_related("loan__asset", "loan__client", "loan__margin_account").order_by("pay_date", "pk"):
        periods[row.loan_id].append(row)
    ready = {key: found for key, found in periods.items() if _is_posted(found[0], found[0].loan)}
    done = _grow(ready, now)
    overdue.over({row.loan for row in done}, Overdue.Kind.CAPITALISATION, now=now)
    margin_accounts.touch_many(found[0].loan.margin_account_id for found in ready.values())
    return len(done)


def catch_up(loan: Loan, *, until: datetime, now: datetime) -> None:
    """
    Make principal of the interest of a locked loan's periods that are over by the instant at which a payment counts.

    So it pays what is left due. Of a period that it came before the end of, less becomes principal, in the daily run.
    Days that have ended by then are posted first. It is never a reason to take no payment: what can not be booked is
    kept, and tried again, as the daily run does.
    """
    rows = list(_due(until).filter(loan=loan).order_by("pay_date", "pk")) if loan.capitalises else []
    for row in rows:
        row.loan = loan
        if not _is_posted(row, loan):
            interest.catch_up(loan, until=growth.ends_at(row), reason=f"capitalised:{row.due_date}", now=now)
        if not _grow({loan.pk: [row]}, now):  # what was due before it would become principal with a later period
            return
        overdue.over([loan], Overdue.Kind.CAPITALISATION, now=now)


def _grow(periods: Mapping[int, Sequence[ScheduleRow]], now: datetime) -> list[ScheduleRow]:
    """
    Make principal of the interest of the first period of each locked loan, and return what was done.

    Where more is posted already, or was paid since, of all of them that are posted.
    """
    firsts = [found[0] for found in periods.values()]
    later = _paid_since(firsts)
    behind = [row for row in firsts if row.loan.accrued_at != growth.ends_at(row) or row.loan_id in later]
    done = [row for row in firsts if row not in behind]
    _capitalise(done, now)
    for row in behind:
        ended = [one for one in periods[row.loan_id] if _is_posted(one, row.loan)]
        done += ended if _put_right(row.loan, ended, now) else []
    return done


def _is_posted(row: ScheduleRow, loan: Loan) -> bool:
    return loan.accrued_at is not None and growth.ends_at(row) <= loan.accrued_at


def _paid_since(rows: Sequence[ScheduleRow]) -> set[int]:
    """Return the loans on which a payment counts at the end of its period or later: interest was due before it."""
    ends = {row.loan_id: growth.ends_at(row) for row in rows}
    paid = Repayment.objects.filter(loan__in=ends).values_list("loan_id", "received_at")
    return {loan_id for loan_id, at in paid if at >= ends[loan_id]}


def _capitalise(rows: Sequence[ScheduleRow], now: datetime) -> None:
    """Make principal of what is due on loans whose interest is posted up to the end of the period and no further."""
    owing = [row for row in rows if row.loan.interest_due]
    posted = ledger.post_many([growth.growth(row.loan, row, 1, row.loan.interest_due) for row in owing], now=now)
    entries: dict[int, Entry] = dict(zip((row.pk for row in owing), posted, strict=True))
    made = [
        growth.capitalisation(row.loan, row, 1, row.loan.interest_due, entries.get(row.pk), now=now) for row in rows
    ]
    Capitalisation.objects.bulk_create(made)
    for row in rows:
        with money.exact():
            row.loan.principal_outstanding += row.loan.interest_due
        row.loan.interest_due = money.ZERO
    bulk.update([row.loan for row in rows], ["principal_outstanding", "interest_due"])
    _tell(made, now)


def _put_right(loan: Loan, rows: Sequence[ScheduleRow], now: datetime) -> bool:
    """Make principal of what was due at instants up to which more is posted already; post what differs since."""
    done = overdue.put_right(
        loan,
        lambda: replays.plan(loan, periods=rows),
        kind=Overdue.Kind.CAPITALISATION,
        at=[growth.ends_at(row) for row in rows],
        key=f"capitalised:{rows[0].due_date}",
        cause="interest became principal late",
        said=f"the interest due on {figures.day(rows[0].pay_date)} became principal",
        now=now,
    )
    if done:
        _tell(list(Capitalisation.objects.filter(row__in=rows, number=1).select_related("loan__client")), now)
    return done


def late(*, before: datetime) -> list[Late]:
    """Return the loans whose interest was to become principal by an instant and has not, the longest ago first."""
    rows = _due(before).select_related("loan__margin_account", "loan__client").order_by("pay_date", "pk")
    return overdue.explained(Overdue.Kind.CAPITALISATION, [(row.loan, growth.ends_at(row)) for row in rows])


def _tell(made: Sequence[Capitalisation], now: datetime) -> None:
    """Put what became principal on the trail, and tell the clients."""
    trail, letters = [], []
    for one in made:
        loan = one.loan
        amount = f"{figures.amount(one.amount, loan.asset.code)}"
        facts = {"at": one.at.isoformat(), "amount": money.text(one.amount), "asset": loan.asset.code}
        trail.append(audit.new("interest_capitalised", actor=None, obj=loan, after=facts, now=now))
        letter = Letter(
            client=loan.client,
            kind="interest_capitalised",
            subject=f"{amount} of interest became principal",
            body=f"As agreed, the interest of your loan {str(loan.public_id)[:8]} that was due on "
            f"{figures.day(one.at.date())}, {amount}, became principal. Nothing is to be paid for it now; it bears "
            "interest from then on.",
            key=f"capitalised:{loan.public_id}:{one.at:%Y-%m-%d}",
            margin_account=loan.margin_account,
        )
        letters.append(letter)
    AuditRecord.objects.bulk_create(trail)
    notices.enqueue(letters, now=now)
