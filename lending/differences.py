"""
What a loan whose past is another by now has earned, less what was posted: interest, and the fee on what is not drawn.

Each difference counts in the day, and the part of a day between two payments, that it belongs to: whoever adds up the
books as of any instant finds what was earned by it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import cache

from lending import interest
from lending.engine import entries, money
from lending.engine.chart import Category
from lending.models import Loan, Posting

_Total = Callable[[datetime], Decimal]  # all of something from funding to an instant, in the loan's asset, rounded up
_NAMES = {Category.INTEREST: "normal", Category.DEFAULT_INTEREST: "default", Category.UNUSED_FEE: "unused"}


def drafts(
    loan: Loan,
    *,
    earned: _Total,
    unused: _Total,
    since: datetime,
    instants: Iterable[datetime],
    default_from: datetime,
    key: str,
) -> list[entries.Draft]:
    """
    Return the entries that bring what was posted of a loan since an instant to what was earned.

    `earned` is all interest to an instant, and from `default_from` on it is default interest, whatever it was booked
    as; `unused` all fees on what is not drawn; `instants` are those of the payments; `key` becomes a part of the
    entries' keys.
    """
    earned = cache(earned)
    totals: dict[Category, _Total] = {
        Category.INTEREST: lambda at: earned(min(at, default_from)),
        Category.DEFAULT_INTEREST: lambda at: earned(at) - earned(min(at, default_from)),
        Category.UNUSED_FEE: unused,
    }
    found = []
    for end, category, lacking in _lacking(loan, totals, since=since, instants=instants):
        at = end.astimezone(UTC)
        which = f"accrual:{loan.public_id}:{at:%Y-%m-%dT%H%M%S.%f}:{_NAMES[category]}:{interest.short(key)}"
        about = interest.heading(loan, which, end - interest.INSTANT if at.time() == time.min else end)
        if category == Category.UNUSED_FEE:
            draft = entries.fee(about, asset=loan.asset.code, amount=lacking, category=category, corrects=True)
        else:
            default = category == Category.DEFAULT_INTEREST
            draft = entries.accrual(about, asset=loan.asset.code, amount=lacking, default=default, late=True)
        found.append(draft)
    return found


def _lacking(
    loan: Loan, totals: Mapping[Category, _Total], *, since: datetime, instants: Iterable[datetime]
) -> list[tuple[datetime, Category, Decimal]]:
    """Return by how much the postings of each part of a day lack of what it has earned, where they do; in order."""
    start_at, until = loan.start_at, loan.accrued_at
    if start_at is None or until is None:
        raise interest.UnableToAccrue(f"{loan} was never funded")
    begin = max(start_at, datetime.combine(since.astimezone(UTC).date(), time.min, tzinfo=UTC))
    ends = set(interest.ends_between(begin, until))
    cuts = sorted(at for at in {*ends, *instants, until} if begin < at <= until)
    if not cuts:
        return []
    posted: defaultdict[tuple[int, Category], Decimal] = defaultdict(Decimal)
    before: defaultdict[Category, Decimal] = defaultdict(Decimal)
    rows = Posting.objects.filter(loan=loan, category__in=totals)
    lacking = []
    with money.exact():
        for at, name, amount in rows.values_list("entry__effective_at", "category", "amount"):
            category = Category(name)
            if at < begin:
                before[category] -= amount
                continue
            # What stands on a midnight itself was moved there out of a closed month: a day's own ends just before it.
            place = bisect_right(cuts, at) if at in ends else bisect_left(cuts, at)
            posted[min(place, len(cuts) - 1), category] -= amount
        for category, total in totals.items():
            so_far = before[category]
            for place, end in enumerate(cuts):
                if amount := total(end) - so_far - posted[place, category]:
                    lacking.append((end, category, amount))
                so_far = total(end)
    return sorted(lacking)
