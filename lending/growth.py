"""The interest of a period that becomes principal at its end: which periods, by which entry, and written down how."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.db.models import Count, Sum

from lending import interest
from lending.engine import capitalisation as recipes
from lending.engine import entries, money
from lending.models import Capitalisation, Entry, Loan, ScheduleRow

Grown = tuple[ScheduleRow, int, Decimal]  # a period, how often its interest was looked at, and an amount of it


def ends_at(row: ScheduleRow) -> datetime:
    """Return the instant at which the period of a row of a schedule ends."""
    return datetime.combine(row.pay_date, time.min, tzinfo=UTC)


def grown(loan: Loan, more: Sequence[ScheduleRow]) -> list[Grown]:
    """Return the periods whose interest became principal, and more of them, each with how often and how much so far."""
    if not loan.capitalises:
        return []
    rows = ScheduleRow.objects.filter(loan=loan, capitalisations__isnull=False).annotate(
        times=Count("capitalisations"), grown=Sum("capitalisations__amount")
    )
    known: list[Any] = list(rows)
    found = [(row, row.times, row.grown) for row in known] + [(row, 0, money.ZERO) for row in more]
    return sorted(found, key=lambda one: one[0].pay_date)


def growth(loan: Loan, row: ScheduleRow, number: int, amount: Decimal) -> entries.Draft:
    """Return the entry by which the interest of a period becomes principal, or more or less of it than before."""
    key = f"capitalisation:{loan.public_id}:{row.due_date}" + (f":{number}" if number > 1 else "")
    about = interest.heading(loan, key, ends_at(row))
    return recipes.capitalisation(about, asset=loan.asset.code, amount=amount, late=number > 1)


def capitalisation(
    loan: Loan, row: ScheduleRow, number: int, amount: Decimal, entry: Entry | None, *, now: datetime
) -> Capitalisation:
    """Return what became principal for a period, not yet saved."""
    return Capitalisation(
        client_id=loan.client_id,
        loan=loan,
        row=row,
        at=ends_at(row),
        number=number,
        amount=amount,
        entry=entry,
        recorded_at=now,
    )


def differences(grown: Sequence[Grown], wanted: Sequence[Decimal]) -> tuple[Grown, ...]:
    """Return which periods' interest would be other principal than it is, as which number of each, and by how much."""
    with money.exact():
        return tuple(
            (row, number + 1, amount - known)
            for (row, number, known), amount in zip(grown, wanted, strict=True)
            if amount != known or not number
        )


def write(loan: Loan, made: Sequence[Grown], posted: Mapping[int, Entry], *, now: datetime) -> None:
    """Write down what became principal of a loan, with the entries that were posted for it by the rows' keys."""
    Capitalisation.objects.bulk_create(
        capitalisation(loan, row, number, amount, posted.get(row.pk), now=now) for row, number, amount in made
    )
