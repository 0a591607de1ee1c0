"""What a row of a file says of a live loan's terms: what it leaves out, the loan has from its product."""

import copy
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError

from lending import csv_tables, schedules
from lending.csv_tables import Cells
from lending.engine import money, schedule, terms
from lending.engine.terms import Unit
from lending.models import Calendar, DayCount, Frequency, LadderTerms, Product, ScheduleKind

LADDER = tuple(term.name for term in terms.of_part("ladder"))
MOST_GRACE = 60  # business days
LONGEST_S = 366 * 86_400
_CENTS = 2
_AMORTISING = (ScheduleKind.EQUAL_PRINCIPAL, ScheduleKind.EQUAL_INSTALMENT)


def days(cell: Cells, cut_over_at: datetime) -> tuple[date | None, date | None]:
    """Return the first and the last day of a loan that is to be running at an instant; None where one can not be."""
    found: list[date | None] = []
    for column in ("start_date", "maturity_date"):
        said = cell.day(column)
        if said and schedule.is_far_off(said, cut_over_at.date()):
            cell.wrong(column, f"{said} is more than {schedule.MOST_YEARS} years off")
            said = None
        found.append(said)
    began, matures = found
    if began and began > cut_over_at.astimezone(UTC).date():
        cell.wrong("start_date", f"{began} is after the cut-over: offer it as a new loan")
    if matures and datetime.combine(matures, time.min, tzinfo=UTC) <= cut_over_at:
        cell.wrong("maturity_date", f"{matures} is not after the cut-over: settle it where it is kept")
    return began, matures


def more(cell: Cells, product: Product) -> dict[str, Any]:
    """Return the terms that a row may say, and has from its product otherwise."""
    calendars = {calendar.value or "every_day": calendar for calendar in Calendar}
    return {
        "day_count": cell.choice("day_count", {kind.value: kind for kind in DayCount}, product.day_count),
        "frequency_months": cell.choice(
            "frequency_months", {str(every.value): every for every in Frequency}, product.frequency_months
        ),
        "calendar": cell.choice("calendar", calendars, product.calendar),
        "grace_days": cell.count("grace_days", MOST_GRACE, product.grace_days),
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
                own[term.name] = cell.count(term.name, LONGEST_S, 0)
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


def _altered(ladder: LadderTerms, own: Mapping[str, Any]) -> LadderTerms | None:
    """Return a ladder with other figures, not yet saved; None where they make none."""
    altered = copy.copy(ladder)
    altered.pk, altered.is_preset = None, False
    for name, value in own.items():
        setattr(altered, name, value)
    try:
        altered.validate_constraints()
    except ValidationError:
        return None
    return altered
