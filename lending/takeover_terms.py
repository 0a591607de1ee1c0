"""What a row of a file says of a live loan's terms: what it leaves out, the loan has from its product."""

import copy
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from lending import benchmarks, csv_tables, ladder_presets, margin_accounts, schedules
from lending.csv_tables import Cells
from lending.engine import floating, money, periods, terms
from lending.engine.terms import Unit
from lending.models import Calendar, DayCount, Frequency, LadderTerms, Prepayment, Product, ScheduleKind

LADDER = tuple(term.name for term in terms.of_part("ladder"))
STEP_UP = ("step_up", "step_up_date")
PAID_LATE_OR_EARLY = ("late_fee", "prepayment", "prepayment_rate")
FLOATING = ("benchmark", "spread", "rate_floor", "rate_cap", "reset_months", "fixing_lag_days", "fixing")
LINE = ("limit", "unused_fee")
MOST_GRACE = 60  # business days
MOST_NOTICE = 250
MOST_LAG = 30
_CENTS = 2
_AMORTISING = (ScheduleKind.EQUAL_PRINCIPAL, ScheduleKind.EQUAL_INSTALMENT)
_BY_PERIODS = (ScheduleKind.INTEREST_ONLY, ScheduleKind.CAPITALISED)
_WEEK = timedelta(days=7)


class Floats(NamedTuple):
    """How the rate of a row comes about, by the columns of a loan, and by which fixing it does now."""

    terms: dict[str, Any]
    fixing: Decimal | None


def days(cell: Cells, product: Product | None, cut_over_at: datetime) -> tuple[date | None, date | None]:
    """Return the first and the last day of a loan that is to be running at an instant; None where one can not be."""
    ends = product is None or product.has_fixed_end
    if ends and not cell["maturity_date"]:
        cell.wrong("maturity_date", "is missing")
    if not ends and cell["maturity_date"]:
        cell.wrong("maturity_date", f"{product} has no fixed end: leave it empty")
    found: list[date | None] = []
    for column in ("start_date", "maturity_date"):
        said = cell.day(column)
        if said and periods.is_far_off(said, cut_over_at.date()):
            cell.wrong(column, f"{said} is more than {periods.MOST_YEARS} years off")
            said = None
        found.append(said)
    began, matures = found
    if began and began > cut_over_at.astimezone(UTC).date():
        cell.wrong("start_date", f"{began} is after the cut-over: offer it as a new loan")
    if matures and datetime.combine(matures, time.min, tzinfo=UTC) <= cut_over_at:
        cell.wrong("maturity_date", f"{matures} is not after the cut-over: settle it where it is kept")
    return began, matures


def kind(cell: Cells, product: Product) -> ScheduleKind:
    """Return how a loan is paid back."""
    found = ScheduleKind(
        cell.choice("schedule_kind", {kind.value: kind for kind in ScheduleKind}, product.schedule_kind)
    )
    if not product.has_fixed_end and found != ScheduleKind.INTEREST_ONLY:
        cell.wrong("schedule_kind", f"{product} has no fixed end: interest alone is paid, {ScheduleKind.INTEREST_ONLY}")
    if found == ScheduleKind.EQUAL_INSTALMENT and (product.floats or cell["step_up"]):
        cell.wrong("schedule_kind", "equal instalments need one rate throughout")
    return found


def floats(
    cell: Cells, product: Product, annual_rate: Decimal | None, *, benchmarks_known: Mapping[str, str]
) -> Floats | None:
    """Return how the rate of a row comes about; None, and a problem noted, where that is not what it says it bears."""
    if not product.floats:
        _left_empty(cell, FLOATING, f"{product} has a fixed rate")
        return Floats({}, None)
    months = {str(every.value): every for every in Frequency}
    found: dict[str, Any] = {
        "benchmark": cell.choice("benchmark", benchmarks_known, product.benchmark),
        **{name: _ratio(cell, name, getattr(product, name)) for name in ("spread", "rate_floor", "rate_cap")},
        "reset_months": cell.choice("reset_months", months, product.reset_months),
        "fixing_lag_days": cell.count("fixing_lag_days", MOST_LAG, product.fixing_lag_days),
    }
    fixing = benchmarks.rate_of(cell, "fixing")
    if not cell["fixing"]:
        cell.wrong("fixing", f"is missing: what {found['benchmark']} was fixed at for the rate that it bears")
    if fixing is None or annual_rate is None or None in found.values():
        return None
    floor, cap = found["rate_floor"], found["rate_cap"]
    if cap and cap < floor:
        cell.wrong("rate_cap", "is below its floor; 0 is no cap")
        return None
    bears = floating.rate(fixing, spread=found["spread"], floor=floor, cap=cap)
    if annual_rate != bears:
        words = f"{money.text(annual_rate)} is not what a fixing of {money.text(fixing)} comes to with its spread"
        cell.wrong("annual_rate", f"{words}, floor and cap: {money.text(bears)}")
        return None
    return Floats(found, fixing)


def step_up(cell: Cells, began: date | None, matures: date | None) -> dict[str, Any]:
    """Return what is added to the rate of a loan from which day on; a day that has passed counts from the cut-over."""
    more, day = cell.ratio("step_up"), cell.day("step_up_date")
    if bool(cell["step_up"]) != bool(cell["step_up_date"]) or (more is not None and not more):
        cell.wrong("step_up", "is a rate above 0, and step_up_date the day from which it is added; or leave both empty")
    elif day and ((began and day <= began) or (matures and day >= matures)):
        cell.wrong("step_up_date", f"{day} is not after the loan began and before it ends")
    return {"step_up": more or money.ZERO, "step_up_date": day}


def late_or_early(cell: Cells, product: Product) -> dict[str, Any]:
    """Return what a loan costs that is paid late, or before its time: nothing unless the row says it."""
    late_fee, rate = cell.ratio("late_fee"), cell.ratio("prepayment_rate")
    kind = cell.choice("prepayment", {kind.value: kind for kind in Prepayment if kind}, Prepayment.NOTHING)
    if kind and not product.has_fixed_end:
        cell.wrong("prepayment", f"{product} has no fixed end: nothing of it is paid before its time")
    elif (kind == Prepayment.SHARE and not rate) or (kind == Prepayment.NOTHING and rate):
        cell.wrong("prepayment_rate", "is the share, above 0, or what a year earns elsewhere; of nothing it is none")
    return {"late_fee": late_fee or money.ZERO, "prepayment": kind, "prepayment_rate": rate or money.ZERO}


def line(cell: Cells, product: Product, drawn: Decimal | None) -> dict[str, Any] | None:
    """Return the limit of a line, as a principal, and its fee; None, and a problem noted, where it can not be one."""
    if not product.is_line:
        _left_empty(cell, LINE, f"{product} is no revolving line")
        return {}
    limit = cell.amount("limit", product.asset.decimals)
    fee = _ratio(cell, "unused_fee", product.unused_fee)
    if not cell["limit"]:
        cell.wrong("limit", "is missing: a line has one, and its principal is what is drawn of it")
    if limit is None or fee is None:
        return None
    if drawn is not None and drawn > limit:
        cell.wrong("principal", "is more than the limit of its line")
        return None
    return {"principal": limit, "unused_fee": fee}


def next_due_date(
    cell: Cells,
    product: Product,
    kind: str,
    frequency_months: int,
    began: date | None,
    matures: date | None,
    cut_over_at: datetime,
) -> date | None:
    """Return when the period that runs at the cut-over ends, of a fixed term that says it."""
    said, today = cell.day("next_due_date"), cut_over_at.astimezone(UTC).date()
    if said is None or began is None:
        return None
    if kind not in _BY_PERIODS:
        cell.wrong("next_due_date", f"a loan paid {kind} has none: leave it empty")
    elif said <= today:
        cell.wrong("next_due_date", f"{said} is not after the cut-over")
    elif not product.has_fixed_end:
        if said != (counted := periods.next_due_date(began, frequency_months, today)):
            cell.wrong("next_due_date", f"its periods are counted from its start: this one ends on {counted}")
    elif matures and said > matures:
        cell.wrong("next_due_date", f"{said} is after its maturity")
    elif said > periods.due_date(today, frequency_months) + _WEEK:
        cell.wrong("next_due_date", f"{said} is more than a period after the cut-over")
    elif product.floats and matures and said != (counted := _counted_back(began, matures, frequency_months, today)):
        cell.wrong("next_due_date", f"its rate is reset on days counted from its maturity: this one ends on {counted}")
    else:
        return said
    return None


def _counted_back(began: date, matures: date, frequency_months: int, today: date) -> date:
    return next(day for day in periods.due_dates(began, matures, frequency_months) if day > today)


def more(cell: Cells, product: Product) -> dict[str, Any]:
    """Return the terms that a row may say, and has from its product otherwise."""
    notice = cell.count("notice_days", MOST_NOTICE, product.notice_days)
    if bool(notice) == product.has_fixed_end:
        wanted = (
            "a fixed term has none"
            if product.has_fixed_end
            else f"{product} is ended with at least one business day's notice"
        )
        cell.wrong("notice_days", wanted)
    calendars = {calendar.value or "every_day": calendar for calendar in Calendar}
    return {
        "day_count": cell.choice("day_count", {kind.value: kind for kind in DayCount}, product.day_count),
        "frequency_months": cell.choice(
            "frequency_months", {str(every.value): every for every in Frequency}, product.frequency_months
        ),
        "calendar": cell.choice("calendar", calendars, product.calendar),
        "grace_days": cell.count("grace_days", MOST_GRACE, product.grace_days),
        "notice_days": notice,
    }


class Ladders:
    """The ladders of loans: their products', or with what a row says otherwise; loans that say the same share one."""

    def __init__(self) -> None:
        self._altered: dict[tuple[Any, ...], LadderTerms | None] = {}

    def of(self, cell: Cells, product: Product) -> LadderTerms | None:
        """Return the ladder of a row; None, and a problem noted, where it makes none."""
        own: dict[str, Any] = {}
        for term in terms.of_part("ladder"):
            if not cell[term.name]:
                continue
            if term.unit == Unit.SPAN:
                own[term.name] = cell.count(term.name, ladder_presets.LONGEST_S, 0)
            elif term.unit == Unit.RATIO:
                own[term.name] = cell.ratio(term.name)
            else:
                own[term.name] = cell.amount(term.name, _CENTS, zero=True)
        if not own:
            return product.terms
        if None in own.values():
            return None
        key = (product.terms_id, *(own.get(name) for name in LADDER))
        if key not in self._altered:
            self._altered[key] = _altered(product.terms, own)
        if self._altered[key] is None:
            cell.wrong(next(iter(own)), "makes no ladder: its levels rise from the highest LTV when paid out on")
        return self._altered[key]


def to_come(
    cell: Cells, kind: str, principal: Decimal | None, matures: date | None, decimals: int, cut_over_at: datetime
) -> tuple[schedules.Part, ...]:
    """Return the parts of the principal that are still to come, of a loan that is paid back in parts."""
    said = cell["to_come"]
    if (kind in _AMORTISING) != bool(said):
        wanted = "is missing: '2026-12-15 25000 | 2027-01-15 25000'" if not said else f"a loan paid {kind} has none"
        cell.wrong("to_come", wanted)
        return ()
    parts = []
    for part in said.split("|") if said else ():
        day, _, amount = part.strip().partition(" ")
        found = csv_tables.day(day), csv_tables.number(amount.strip())
        if found[0] is None or found[1] is None or found[1] < 0 or csv_tables.decimals(found[1]) > decimals:
            cell.wrong("to_come", f"{part.strip()!r} is no date and principal, such as 2026-12-15 25000")
            return ()
        parts.append((found[0], found[1]))
    days = [day for day, _ in parts]
    if days and (sorted(set(days)) != days or days[0] <= cut_over_at.date() or days[-1] != matures):
        cell.wrong("to_come", "its dates must rise, from after the cut-over to the maturity date")
    with money.exact():
        total = sum((amount for _, amount in parts), money.ZERO)
    if parts and principal is not None and total != principal:
        cell.wrong("to_come", f"its parts sum to {money.text(total)}, and {money.text(principal)} are outstanding")
    return tuple(parts)


def _ratio(cell: Cells, column: str, otherwise: Decimal) -> Decimal | None:
    return cell.ratio(column) if cell[column] else otherwise


def _left_empty(cell: Cells, columns: tuple[str, ...], why: str) -> None:
    for column in columns:
        if cell[column]:
            cell.wrong(column, f"{why}: leave it empty")


def _altered(ladder: LadderTerms, own: Mapping[str, Any]) -> LadderTerms | None:
    """Return a ladder with other figures, not yet saved; None where they make none."""
    altered = copy.copy(ladder)
    altered.pk, altered.is_preset = None, False
    for name, value in own.items():
        setattr(altered, name, value)
    return None if margin_accounts.unfit(altered) else altered
