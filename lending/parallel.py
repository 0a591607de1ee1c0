"""
The parallel run: loans that were taken over, beside what the system that kept them says of each at the end of a day.

Both sides are compared loan by loan and figure by figure; what differs by more than a tolerance that a person set is a
difference, and keeps the day on which it was first seen for as long as it lasts. Ours is what the ledger says as of
that instant, so a day can be compared whenever its file comes.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Q, QuerySet, Sum

from lending import access, audit, csv_tables, interest, ports
from lending.csv_tables import Cells, Problem, UnableToRead
from lending.engine import money
from lending.engine.cells import safe
from lending.engine.chart import SECURED_KINDS, AccountKind
from lending.interest import ACCRUING
from lending.models import Loan, LoanOrigin, ParallelDifference, ParallelNote, ParallelRun, Pledge, Posting, Role, User

WORKERS = frozenset({Role.OPERATIONS})
NEEDED = ("loan", "principal", "interest", "fees")
COMPARED = (*NEEDED[1:], "ltv", "annual_rate")
COLUMNS = (*NEEDED, "unused_fee", "ltv", "annual_rate")
MOST = 10_000
NOTE_LENGTH = 400
_DAY = timedelta(days=1)
_LTV_DECIMALS = 6
_RATE_TOLERANCE = Decimal("0.000001")  # of a year: what a system shows of a rate may be rounded
_Column = ParallelDifference.Column
_KINDS = {
    AccountKind.LOAN_PRINCIPAL.value: "principal",
    AccountKind.INTEREST_RECEIVABLE.value: "interest",
    AccountKind.FEES_RECEIVABLE.value: "fees",
}
_COLLATERAL = tuple(kind.value for kind in (*SECURED_KINDS, AccountKind.LIQUIDATION_HOLD))
Figures = dict[str, Decimal | None]


class UnableToCompare(Exception):
    """A day can not be compared, or a note not be kept; the message says why."""


class UnableToUse(UnableToCompare):
    """A file has errors, so nothing was compared; `problems` are all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = len(problems)
        super().__init__(f"nothing was compared: {count:,} {'error' if count == 1 else 'errors'}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Row:
    """A difference with its age in days, by how much the other side has more, and what was found out about it."""

    difference: ParallelDifference
    age_days: int
    by: Decimal | None
    notes: Sequence[ParallelNote]


@dataclass(frozen=True, slots=True)
class Report:
    """One day of one source, and how many days in a row up to it were without a difference."""

    run: ParallelRun
    rows: Sequence[Row]
    clean_days: int


def sources() -> list[str]:
    """Return the systems that loans were taken over from."""
    return list(LoanOrigin.objects.order_by("source").values_list("source", flat=True).distinct())


@transaction.atomic
def compare(
    text: str,
    *,
    source: str,
    day: date,
    tolerance: Decimal,
    ltv_tolerance: Decimal,
    by: User,
    now: datetime,
) -> ParallelRun:
    """
    Compare what a system says of its loans at the end of a day with ours, and keep what differs.

    A day may be compared again with another file: the newest comparison of a day is the one that counts.

    Raises
    ------
    UnableToUse
        If anything is wrong with any row.
    UnableToCompare
        If no loan came from there, the day is not over, lies before the cut-over or is not accrued to its end, the file
        is none or was compared already, or a tolerance is below zero.
    lending.access.UnableToAccess
        If the person is not of operations.
    """
    access.require_role(by, *WORKERS)
    end_at = datetime.combine(day, time.min, tzinfo=UTC) + _DAY
    origins = LoanOrigin.objects.filter(source=source).select_related("loan__asset", "takeover", "client")
    known = {row.reference: row for row in origins.filter(takeover__cut_over_at__lte=end_at)}
    _check(source, day, end_at, known, tolerance, ltv_tolerance, now)
    digest = hashlib.sha256(text.encode()).digest()
    if ParallelRun.objects.filter(source=source, day=day, content_hash=digest).exists():
        raise UnableToCompare(f"this file was compared with {day:%d %b %Y} already")
    theirs = read(text, known)
    wanted = {column for column in ("ltv", "annual_rate") for row in theirs.values() if row[column] is not None}
    ours = _ours(list(known.values()), end_at, wanted)
    standing = {name for name, row in ours.items() if any(row[part] for part in ("principal", "interest", "fees"))}
    compared = sorted(standing | theirs.keys())
    before = _before(source, day)
    found = [
        ParallelDifference(
            client=known[name].client if name in known else None,
            loan=known[name].loan if name in known else None,
            reference=name,
            column=column,
            theirs=there,
            ours=here,
            first_day=before.get((name, column), day),
        )
        for name in compared
        for column, there, here in _differences(theirs.get(name), ours.get(name), tolerance, ltv_tolerance)
    ]
    run = ParallelRun.objects.create(
        source=source,
        day=day,
        content=text,
        content_hash=digest,
        tolerance=tolerance,
        ltv_tolerance=ltv_tolerance,
        compared=len(compared),
        agreeing=len(compared) - len({row.reference for row in found}),
        made_by=by,
        made_at=now,
    )
    for row in found:
        row.run = run
    ParallelDifference.objects.bulk_create(found)
    facts = {"source": source, "day": day.isoformat(), "compared": run.compared, "agreeing": run.agreeing}
    audit.write("parallel_run", actor=by, obj=run, after=facts, now=now)
    return run


def read(text: str, known: Mapping[str, LoanOrigin]) -> dict[str, Figures]:
    """Return what a file says of each loan, by its reference; raises as `compare` does."""
    try:
        rows, problems = csv_tables.records(text, known=COLUMNS, needed=NEEDED, most=MOST)
    except UnableToRead as refusal:
        raise UnableToCompare(str(refusal)) from refusal
    if not rows:
        raise UnableToCompare("it has no row below the names of its columns")
    found: dict[str, Figures] = {}
    seen: dict[str, int] = {}
    for number, cells in rows:
        cell = Cells(problems, "", number, cells, NEEDED)
        name = cell.text("loan", 60)
        if name in seen:
            cell.wrong("loan", f"{name} stands in row {seen[name]} too")
        seen.setdefault(name, number)
        decimals = known[name].loan.asset.decimals if name in known else money.DECIMALS
        parts: Figures = {part: cell.amount(part, decimals, zero=True) for part in NEEDED[1:]}
        # What is not drawn of a line is charged day by day here: there it may accrue until a period ends.
        accrued = cell.amount("unused_fee", decimals, zero=True)
        if parts["fees"] is not None and accrued is not None:
            with money.exact():
                parts["fees"] += accrued
        ltv, rate = cell.amount("ltv", _LTV_DECIMALS * 2, zero=True), cell.ratio("annual_rate")
        found[name] = {**parts, "ltv": ltv, "annual_rate": rate}
    if problems:
        raise UnableToUse(sorted(problems, key=lambda problem: problem.row))
    return found


def report(source: str, *, day: date | None = None) -> Report | None:
    """Return the newest comparison of a source, or that of a day; None where there is none."""
    runs = ParallelRun.objects.filter(source=source).select_related("made_by").defer("content")
    run = (runs.filter(day=day) if day else runs).order_by("-day", "-pk").first()
    if run is None:
        return None
    rows = run.differences.select_related("loan__asset", "client").order_by("first_day", "reference", "column")
    notes: defaultdict[tuple[str, str, date], list[ParallelNote]] = defaultdict(list)
    for note in ParallelNote.objects.filter(source=source).select_related("by").order_by("pk"):
        notes[note.reference, note.column, note.first_day].append(note)
    shown = [
        Row(row, (run.day - row.first_day).days, _by(row), notes[row.reference, row.column, row.first_day])
        for row in rows
    ]
    return Report(run, shown, _clean_days(source, run.day))


def days(source: str) -> list[ParallelRun]:
    """Return the comparison that counts of each day of a source, the newest first."""
    newest = ParallelRun.objects.filter(source=source).values("day").annotate(newest=Max("pk")).values("newest")
    return list(ParallelRun.objects.filter(pk__in=newest).defer("content").order_by("-day"))


@transaction.atomic
def note(difference: ParallelDifference, text: str, *, by: User, now: datetime) -> ParallelNote:
    """
    Keep what somebody found out about a difference; it stays beside it for as long as it lasts.

    Raises
    ------
    UnableToCompare
        If nothing is said, or too much.
    lending.access.UnableToAccess
        If the person is not of operations.
    """
    access.require_role(by, *WORKERS)
    said = text.strip()
    if not said or len(said) > NOTE_LENGTH:
        raise UnableToCompare(f"say what was found, in at most {NOTE_LENGTH} characters")
    return ParallelNote.objects.create(
        source=difference.run.source,
        reference=difference.reference,
        column=difference.column,
        first_day=difference.first_day,
        text=said,
        by=by,
        at=now,
    )


def as_csv(shown: Report) -> str:
    """Return a day's differences as CSV, amounts in full."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\r\n").writerow
    write(("source", "day", "loan", "our_loan", "column", "asset", "theirs", "ours", "difference", "since", "notes"))
    for row in shown.rows:
        found = row.difference
        is_ratio = found.column in (_Column.LTV, _Column.ANNUAL_RATE)
        asset = found.loan.asset.code if found.loan and not is_ratio else ""
        of = str(found.loan.public_id) if found.loan else ""
        amounts = ["" if value is None else money.text(value) for value in (found.theirs, found.ours, row.by)]
        said = " / ".join(f"{one.by}: {one.text}" for one in row.notes)
        write(
            (
                safe(shown.run.source), shown.run.day.isoformat(), safe(found.reference), of, found.column, asset,
                *amounts, found.first_day.isoformat(), safe(said),
            )
        )  # fmt: skip
    return text.getvalue()


def _check(
    source: str,
    day: date,
    end_at: datetime,
    known: Mapping[str, LoanOrigin],
    tolerance: Decimal,
    ltv_tolerance: Decimal,
    now: datetime,
) -> None:
    if source not in sources():
        raise UnableToCompare(f"no loan was taken over from {source!r}")
    if end_at > now:
        raise UnableToCompare(f"{day:%d %b %Y} is not over yet, in UTC")
    if not known:
        raise UnableToCompare(f"no loan was here at the end of {day:%d %b %Y}: the cut-over was later")
    if not all(given.is_finite() and given >= 0 for given in (tolerance, ltv_tolerance)):
        raise UnableToCompare("a tolerance is not below zero")
    behind = Loan.objects.filter(origin__source=source, state__in=ACCRUING, accrued_at__lt=end_at).count()
    if behind:
        raise UnableToCompare(f"the interest of {behind} loans is not posted to the end of that day yet")


def _ours(known: Sequence[LoanOrigin], end_at: datetime, wanted: Set[str]) -> dict[str, Figures]:
    """Return what our books say of some loans as of an instant, by their references; LTV and rate where wanted."""
    accounts = {row.loan.margin_account_id for row in known}
    sums = _booked(end_at).filter(account__kind__in=_KINDS, account__loan__margin_account__in=accounts)
    parts: defaultdict[int, dict[str, Decimal]] = defaultdict(lambda: dict.fromkeys(NEEDED[1:], money.ZERO))
    for loan_id, kind, amount in sums.values_list("account__loan", "account__kind").annotate(sum=Sum("amount")):
        parts[loan_id][_KINDS[kind]] = amount
    ltvs = _ltvs(accounts, parts, end_at) if "ltv" in wanted else {}
    rates = _rates([row.loan for row in known], end_at) if "annual_rate" in wanted else {}
    return {
        row.reference: {
            **parts[row.loan_id],
            "ltv": ltvs.get(row.loan.margin_account_id),
            "annual_rate": rates.get(row.loan_id),
        }
        for row in known
    }


def _rates(loans: Sequence[Loan], end_at: datetime) -> dict[int, Decimal]:
    """Return what each loan bore on the day that ended at an instant; at its cut-over, what it bears from then on."""
    histories = interest.histories(loan.pk for loan in loans)
    found = {}
    for loan in loans:
        steps = interest.rate_steps(loan, histories[loan.pk])
        found[loan.pk] = next((step.value for step in reversed(steps) if step.at < end_at), steps[0].value)
    return found


def _booked(end_at: datetime) -> QuerySet[Posting]:
    """Return what was posted before an instant, or was taken over at it: the other side ended its day there."""
    taken_over = Q(entry__effective_at=end_at, entry__kind__in=("loan_taken_over", "balance_taken_over"))
    return Posting.objects.filter(Q(entry__effective_at__lt=end_at) | taken_over)


def _ltvs(
    accounts: Set[int], parts: Mapping[int, Mapping[str, Decimal]], end_at: datetime
) -> dict[int, Decimal | None]:
    """Return the LTV of margin accounts at an instant, by the marks of then; None where one lacks."""
    lent = list(Loan.objects.filter(margin_account__in=accounts, pk__in=parts).select_related("asset"))
    held = _booked(end_at).filter(account__kind__in=_COLLATERAL, account__margin_account__in=accounts)
    held_of = held.values_list("account__margin_account", "account__asset__code")
    pledged = [(account, code, amount.copy_negate()) for account, code, amount in held_of.annotate(sum=Sum("amount"))]
    codes = {code for _, code, _ in pledged} | {loan.asset.code for loan in lent}
    price = {code: mark.price for code, mark in ports.valuer()(codes - {"USD"}, at=end_at).items()} | {
        "USD": Decimal(1)
    }
    weights = {
        (row.margin_account_id, row.asset.code): 1 - row.haircut
        for row in Pledge.objects.filter(margin_account__in=accounts).select_related("asset")
    }
    debt: defaultdict[int, Decimal | None] = defaultdict(lambda: money.ZERO)
    worth: defaultdict[int, Decimal | None] = defaultdict(lambda: money.ZERO)
    with money.exact():
        for loan in lent:
            owed = sum(parts[loan.pk].values(), money.ZERO)
            _add(debt, loan.margin_account_id, owed, price.get(loan.asset.code))
        for account, code, quantity in pledged:
            mark = price.get(code)
            _add(worth, account, quantity, mark and money.quantize_down(mark * weights[account, code], money.DECIMALS))
    return {
        account: money.div_up(owed, value, _LTV_DECIMALS) if owed is not None and (value := worth[account]) else None
        for account, owed in debt.items()
    }


def _add(sums: defaultdict[int, Decimal | None], account: int, quantity: Decimal, price: Decimal | None) -> None:
    before = sums[account]
    sums[account] = (
        None if before is None or (price is None and quantity) else before + quantity * (price or money.ZERO)
    )


def _differences(
    theirs: Figures | None, ours: Figures | None, tolerance: Decimal, ltv_tolerance: Decimal
) -> list[tuple[str, Decimal | None, Decimal | None]]:
    if theirs is None or ours is None:
        return [(_Column.LOAN, theirs["principal"] if theirs else None, ours["principal"] if ours else None)]
    found: list[tuple[str, Decimal | None, Decimal | None]] = []
    tolerances = {_Column.LTV.value: ltv_tolerance, _Column.ANNUAL_RATE.value: _RATE_TOLERANCE}
    for column in COMPARED:
        there, here = theirs[column], ours[column]
        within = tolerances.get(column, tolerance)
        if there is None:
            continue
        with money.exact():
            if here is None or abs(there - here) > within:
                found.append((column, there, here))
    return found


def _before(source: str, day: date) -> dict[tuple[str, str], date]:
    """Return since when each difference of the comparison before a day is known."""
    last = ParallelRun.objects.filter(source=source, day__lt=day).order_by("-day", "-pk").first()
    rows: QuerySet[ParallelDifference] = ParallelDifference.objects.filter(run=last)
    return {(row.reference, row.column): row.first_day for row in rows} if last else {}


def _clean_days(source: str, until: date) -> int:
    """Return how many days in a row up to one are without a difference; a day that was not compared ends the row."""
    clean = {run.day for run in days(source) if run.agreeing == run.compared}
    count = 0
    while until - count * _DAY in clean:
        count += 1
    return count


def _by(row: ParallelDifference) -> Decimal | None:
    if row.theirs is None or row.ours is None:
        return None
    with money.exact():
        return row.theirs - row.ours
