"""
The end of a month: what is looked at before it is closed, the lock by two persons, and the way back by two.

What must hold stops the close; what may be open is named, and closing over it takes a reason that both persons see.
The lock itself, its order and its trail are kept by the database; what is dated into a locked month afterwards is moved
by the ledger into the open one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Min, QuerySet, Value
from django.utils.module_loading import import_string

from lending import access, approvals, audit, reasons
from lending.interest import ACCRUING
from lending.models import (
    Approval,
    BankAccount,
    BankLine,
    CustodyBreak,
    Deposit,
    Entry,
    Loan,
    Period,
    PeriodState,
    Role,
    User,
    Withdrawal,
)
from lending.withdrawals import ON_THE_WAY

_WAITS = (Deposit.State.UNMATCHED, Deposit.State.HELD)
CLOSE, REOPEN = "close_period", "reopen_period"
MAKERS = frozenset({Role.OPERATIONS, Role.DESK_HEAD})

_UNSEALED = """
SELECT count(*) FROM lending_entry e WHERE effective_at < %s AND NOT EXISTS (
    SELECT FROM lending_seal s WHERE s.entry_id = e.id
)
"""


class UnableToClose(Exception):
    """A month can not be closed, or opened again; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at before a month is closed: how many are open, and whether it may stay so."""

    code: str
    words: str
    open: int
    must: bool

    @property
    def stops(self) -> bool:
        return self.must and self.open > 0


def month_of(at: datetime) -> date:
    """Return the first day of the month that an instant lies in."""
    return at.astimezone(UTC).date().replace(day=1)


def end_of(month: date) -> datetime:
    """Return the first instant that is no longer of a month."""
    return datetime.combine((month + timedelta(days=31)).replace(day=1), time.min, tzinfo=UTC)


def months(*, now: datetime) -> list[Period]:
    """Return every month from the first entry to the one that runs, the newest first; those without a row unsaved."""
    first = Entry.objects.aggregate(at=Min("effective_at"))["at"]
    known = {row.start_date: row for row in Period.objects.select_related("maker", "checker")}
    month = min([month_of(first or now), *known])
    found = []
    while month <= month_of(now):
        found.append(known.get(month) or Period(start_date=month, end_at=end_of(month)))
        month = end_of(month).date()
    return found[::-1]


def next_to_close(*, now: datetime) -> Period:
    """Return the first month that is open."""
    return next(row for row in reversed([*months(now=now)]) if row.state == PeriodState.OPEN)


def last_closed() -> Period | None:
    """Return the month that could be opened again: the last one that is locked."""
    rows = Period.objects.filter(state=PeriodState.LOCKED).select_related("maker", "checker")
    return rows.order_by("-start_date").first()


def checks(month: date, *, now: datetime) -> list[Check]:
    """Return what is open of a month, without the invariants, which take their time: see `all_checks`."""
    end_at = end_of(month)
    last = BankAccount.objects.annotate(until=Max("statements__closing_date"))
    behind = [row for row in last if row.until is None or row.until < end_at.date() - timedelta(days=1)]
    asked = Approval.objects.filter(state=Approval.State.REQUESTED, expires_at__gt=now, requested_at__lt=end_at)
    open_rows = _counted(
        {
            "accruals": Loan.objects.filter(state__in=ACCRUING, accrued_at__lt=end_at),
            "bank_lines": BankLine.objects.filter(state=BankLine.State.OPEN, booked_date__lt=end_at.date()),
            "deposits": Deposit.objects.filter(state__in=_WAITS, seen_at__lt=end_at),
            "breaks": CustodyBreak.objects.filter(closed_at=None, found_at__lt=end_at),
            "withdrawals": Withdrawal.objects.filter(state__in=ON_THE_WAY, requested_at__lt=end_at),
            "approvals": asked.exclude(kind__in=(CLOSE, REOPEN)),
        }
    )

    def check(code: str, words: str, *, must: bool = False) -> Check:
        return Check(code, words, open_rows.get(code, 0), must=must)

    return [
        Check("over", "The month is over", int(now < end_at), must=True),
        check("accruals", "Loans whose interest is not posted to the end of the month", must=True),
        Check("seals", "Entries that no seal vouches for yet", _unsealed(end_at), must=True),
        check("bank_lines", "Bank lines that nobody has accounted for"),
        Check("statements", "Bank accounts without a statement to the end of the month", len(behind), must=False),
        check("deposits", "Deposits that nobody claims, or that are held"),
        check("breaks", "Differences between the ledger and the custodian"),
        check("withdrawals", "Transfers out that are under way"),
        check("approvals", "Requests that wait for a second person"),
    ]


def _counted(open_rows: Mapping[str, QuerySet[Any]]) -> dict[str, int]:
    """Return how many rows each query has, by its name, in one question; a name without any is left out."""
    parts = [
        rows.order_by().annotate(told=Value(code)).values("told").annotate(n=Count("pk")).values_list("told", "n")
        for code, rows in open_rows.items()
    ]
    return dict(parts[0].union(*parts[1:], all=True))


def all_checks(month: date, *, now: datetime) -> list[Check]:
    """Return what is open of a month, the invariants of the whole platform among it."""
    broken = import_string(settings.LENDING_INVARIANTS)()
    return [*checks(month, now=now), Check("invariants", "Invariants that do not hold", len(broken), must=True)]


def waiting(kind: str, *, now: datetime) -> Approval | None:
    """Return the request to close or reopen a month that nobody has decided yet."""
    found = Approval.objects.filter(kind=kind, state=Approval.State.REQUESTED, expires_at__gt=now)
    return found.select_related("maker").first()


def ask_close(month: date, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to close the first month that is open.

    Raises
    ------
    UnableToClose
        If it is another month, something that must hold does not, something is open and no reason is given, or it was
        asked for already.
    lending.access.UnableToAccess
        If the maker is neither of operations nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    if month != (first := next_to_close(now=now)).start_date:
        raise UnableToClose(f"{first} is to be closed first")
    if waiting(CLOSE, now=now) is not None:
        raise UnableToClose("it was asked for already")
    looked = all_checks(month, now=now)
    _require(looked)
    left = [f"{check.words}: {check.open}" for check in looked if check.open]
    over = f"say why it is closed over what is open: {'; '.join(left)}"
    said = reasons.kept(reason, UnableToClose, missing=over if left else "")
    payload = {"month": month.isoformat(), "open": "; ".join(left) or "nothing", "reason": said}
    return approvals.request(CLOSE, payload, maker=maker, now=now)


def ask_reopen(month: date, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to open the last locked month again.

    Raises
    ------
    UnableToClose
        If it is not the last one that is locked, no reason is given, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is neither of operations nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    last = last_closed()
    if last is None or last.start_date != month:
        raise UnableToClose(f"only {last} can be opened again" if last else "no month is locked")
    said = reasons.kept(reason, UnableToClose, missing="say why it has to be opened again")
    if waiting(REOPEN, now=now) is not None:
        raise UnableToClose("it was asked for already")
    return approvals.request(REOPEN, {"month": month.isoformat(), "reason": said}, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Period:
    """
    Lock a month, or open it again, as two persons agreed; the checks are made once more before it is locked.

    Raises
    ------
    lending.approvals.UnableToApprove
        If something that must hold does not any more, or another month is next by now.
    """
    month = date.fromisoformat(approval.payload["month"])
    locks = approval.kind == CLOSE
    rows = Period.objects.select_for_update()
    looked = all_checks(month, now=now) if locks else []
    try:
        _require(looked)
    except UnableToClose as refused:
        raise approvals.UnableToApprove(str(refused)) from refused
    if locks:
        rows.get_or_create(start_date=month, defaults={"end_at": end_of(month)})
    expected = next_to_close(now=now) if locks else last_closed()
    if expected is None or expected.start_date != month:
        raise approvals.UnableToApprove(f"{expected or 'no month'} is next by now")
    period = rows.get(start_date=month)
    period.state = PeriodState.LOCKED if locks else PeriodState.OPEN
    period.maker, period.checker = approval.maker, approval.checker
    period.reason, period.changed_at = approval.payload["reason"], now
    period.checks = [asdict(check) for check in looked]
    period.save(update_fields=["state", "maker", "checker", "reason", "checks", "changed_at"])
    facts: dict[str, Any] = {"month": month.isoformat(), "maker": approval.maker.email}
    action = "period_locked" if locks else "period_reopened"
    audit.write(action, actor=approval.checker, obj=period, after=facts, reason=period.reason, now=now)
    return period


def _require(looked: list[Check]) -> None:
    stops = [f"{check.words}: {check.open}" for check in looked if check.stops and check.code != "over"]
    if any(check.stops for check in looked if check.code == "over"):
        raise UnableToClose("the month is not over yet")
    if stops:
        raise UnableToClose(f"this must be settled first: {'; '.join(stops)}")


def _unsealed(end_at: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, [end_at])
        return int(cursor.fetchone()[0])
