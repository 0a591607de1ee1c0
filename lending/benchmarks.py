"""
Benchmarks: what was fixed for which day, typed or sent as CSV by one person and recorded by another.

A fixing is final. What was recorded wrongly is corrected by another of the same day, and every loan that was reset by
it is looked at anew.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from django.db import transaction

from lending import access, approvals, audit, calendars, csv_tables, reasons
from lending.csv_tables import Problem
from lending.engine import money
from lending.engine.terms import RATIO_DECIMALS
from lending.interest import ACCRUING
from lending.models import Approval, Benchmark, Fixing, Loan, LoanState, Product, Role, User

KIND = "benchmark_fixings"
MAKERS = frozenset({Role.OPERATIONS, Role.RISK, Role.RISK_HEAD, Role.DESK_HEAD})
MOST_ROWS = 2_000
COLUMNS = ("date", "rate")
LOWEST, BELOW = Decimal("-0.1"), Decimal(1)
_NAME, _CODE = 80, 20
_LOOKED_AT = (*ACCRUING, LoanState.REPAID)  # what is repaid is looked at once a payment that was taken back opens it


class UnableToRecord(Exception):
    """Fixings can not be recorded; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One fixing as it was read: what it is for that day, and what is recorded of it already."""

    day: date
    rate: Decimal
    standing: Decimal | None

    @property
    def is_new(self) -> bool:
        """Return whether it says anything that is not recorded."""
        return self.rate != self.standing


@dataclass(frozen=True, slots=True)
class Reading:
    """What a table of fixings says, in order of its days, and all that is wrong with it."""

    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]


class Known:
    """The fixings of some benchmarks as they stand, read at once."""

    def __init__(self, codes: Iterable[str]) -> None:
        rows = Fixing.objects.filter(benchmark__code__in=set(codes)).select_related("benchmark")
        of_day: defaultdict[str, dict[date, Fixing]] = defaultdict(dict)
        for row in rows.order_by("effective_date", "number"):
            of_day[row.benchmark.code][row.effective_date] = row
        self._days = {code: list(found) for code, found in of_day.items()}
        self._rows = {code: list(found.values()) for code, found in of_day.items()}

    def on(self, code: str, day: date) -> Fixing | None:
        """Return the fixing of a day, or the last that is known before it; None where nothing is known."""
        place = bisect_right(self._days.get(code, []), day)
        return self._rows[code][place - 1] if place else None


def fixing_date(terms: Product | Loan, day: date) -> date:
    """Return whose fixing counts for a rate that holds from a day on: so many business days before it."""
    return calendars.before(terms.calendar, day, terms.fixing_lag_days)


def read(code: str, text: str, *, now: datetime) -> Reading:
    """
    Return what a CSV table of fixings says, with a column for the date and one for the rate as a fraction of a year.

    Nothing is written. What is wrong is named by its row and column, all of it at once.

    Raises
    ------
    lending.csv_tables.UnableToRead
        If it is no such table at all.
    """
    rows, problems = csv_tables.records(text, known=COLUMNS, needed=COLUMNS, most=MOST_ROWS)
    today, lines, seen = now.astimezone(UTC).date(), [], dict[date, int]()
    standing = _standing(code)
    for number, cells in rows:
        cell = csv_tables.Cells(problems, "", number, cells, COLUMNS)
        day, rate = cell.day("date"), rate_of(cell, "rate")
        if day is None or rate is None:
            continue
        if day > today:
            cell.wrong("date", f"{day} has not come yet")
        elif day in seen:
            cell.wrong("date", f"{day} stands in row {seen[day]} too")
        seen.setdefault(day, number)
        lines.append(Line(day, rate, standing.get(day)))
    if not rows:
        problems.append(Problem(1, "row", "nothing stands below it"))
    return Reading(tuple(sorted(lines, key=lambda line: line.day)), tuple(problems))


def ask(code: str, name: str, text: str, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to record the fixings of a table; a benchmark that is new is taken on with its first ones.

    Raises
    ------
    UnableToRecord
        If something in the table is wrong, nothing in it is new, fixings of the benchmark wait already, no reason is
        given, or a benchmark that is new has no name.
    lending.csv_tables.UnableToRead
        If it is no such table at all.
    lending.access.UnableToAccess
        If the maker is neither of operations, of risk nor the head of the desk.
    """
    access.require_role(maker, *MAKERS)
    said = reasons.kept(reason, UnableToRecord, missing="say where the fixings are from")
    code, name = code.strip().upper(), name.strip()
    known = Benchmark.objects.filter(code=code).first()
    if not code or len(code) > _CODE or not code.replace("-", "").isalnum() or not code.isascii():
        raise UnableToRecord(f"a code has letters, digits and dashes, at most {_CODE}: SOFR, EURIBOR-3M")
    if known is None and not (name and len(name) <= _NAME):
        raise UnableToRecord(f"{code} is new: say what it is called, in at most {_NAME} characters")
    if waiting(code, now=now):
        raise UnableToRecord(f"fixings of {code} wait for a second person already")
    found = read(code, text, now=now)
    if found.problems:
        raise UnableToRecord("; ".join(map(str, found.problems)))
    fresh = [line for line in found.lines if line.is_new]
    if not fresh:
        raise UnableToRecord("all of it is recorded already: nothing would change")
    payload = {
        "benchmark": code,
        "name": known.name if known else name,
        "fixings": {str(line.day): money.text(line.rate) for line in fresh},
        "instead_of": {str(line.day): money.text(line.standing) for line in fresh if line.standing is not None},
        "reason": said,
    }
    return approvals.request(KIND, payload, maker=maker, now=now)


def waiting(code: str, *, now: datetime) -> list[Approval]:
    """Return the fixings of a benchmark that wait for a second person, of every one without a code."""
    rows = Approval.objects.filter(kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    rows = rows.filter(payload__benchmark=code) if code else rows
    return list(rows.select_related("maker").order_by("requested_at", "pk"))


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Benchmark:
    """
    Record fixings as two persons agreed, and have the loans that follow their benchmark looked at anew.

    Raises
    ------
    lending.approvals.UnableToApprove
        If another fixing of one of its days was recorded meanwhile.
    """
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    row, _ = Benchmark.objects.get_or_create(code=asked["benchmark"], defaults={"name": asked["name"]})
    days: Mapping[str, str] = asked["fixings"]
    standing = {str(day): money.text(rate) for day, rate in _standing(row.code).items()}
    if {day: standing[day] for day in days if day in standing} != asked["instead_of"]:
        raise approvals.UnableToApprove(f"{row} was fixed otherwise meanwhile: ask again")
    before = Counter(map(str, Fixing.objects.filter(benchmark=row).values_list("effective_date", flat=True)))
    Fixing.objects.bulk_create(
        Fixing(
            benchmark=row,
            effective_date=date.fromisoformat(day),
            number=before[day] + 1,
            rate=Decimal(rate),
            maker=approval.maker,
            checker=checker,
            recorded_at=now,
        )
        for day, rate in days.items()
    )
    look_again(row.code)
    facts = {"fixings": dict(days), "maker": approval.maker.email}
    was = {"fixings": asked["instead_of"]}
    audit.write("benchmark_fixed", actor=checker, obj=row, before=was, after=facts, reason=asked["reason"], now=now)
    return row


def look_again(code: str) -> None:
    """Have the resets of every loan that follows a benchmark looked at anew."""
    # Also those that are to be looked at already: who looks at one just now has not seen what is new.
    rows = Loan.objects.select_for_update(of=("self",)).filter(benchmark=code, state__in=_LOOKED_AT).order_by("pk")
    Loan.objects.filter(pk__in=list(rows.values_list("pk", flat=True))).update(next_reset_at=None)


def newest(benchmarks: Sequence[Benchmark], count: int) -> dict[int, list[Fixing]]:
    """Return the last fixings of some benchmarks, corrected ones too, the newest first, by the benchmark's key."""
    found: defaultdict[int, list[Fixing]] = defaultdict(list)
    for row in benchmarks:
        rows = Fixing.objects.filter(benchmark=row).select_related("maker", "checker")
        found[row.pk] = list(rows.order_by("-effective_date", "-number")[:count])
    return found


def _standing(code: str) -> dict[date, Decimal]:
    rows = Fixing.objects.filter(benchmark__code=code).order_by("number")
    return dict(rows.values_list("effective_date", "rate"))


def rate_of(cell: csv_tables.Cells, column: str) -> Decimal | None:
    """Return what a cell says that a benchmark was fixed at; None, and a problem noted, where it says none."""
    said = cell[column]
    if not said:
        return None
    found = csv_tables.number(said)
    if found is None or not LOWEST < found < BELOW:
        cell.wrong(column, f"{said!r} is no rate of a year; 5.31 % is 0.0531")
    elif csv_tables.decimals(found) > RATIO_DECIMALS:
        cell.wrong(column, f"{said!r} has more than {RATIO_DECIMALS} decimals")
    else:
        return found
    return None
