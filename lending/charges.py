"""
What a loan was charged beside its interest, and the fee on what is not drawn of a line once its past is another.

That fee follows what was drawn, and what was drawn follows what payments served, this fee among it: the life is lived
until both agree. Each difference counts at the instant of the charge that it changes; what was never charged comes
with the next day's interest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from operator import attrgetter

from lending import ids, interest
from lending.engine import accounts, entries, money, replay
from lending.engine.chart import AccountKind, Category
from lending.engine.interest import Step
from lending.engine.replay import Flow, Life
from lending.models import Loan, Obligation, Posting

_INSTANT = timedelta(microseconds=1)
_ROUNDS = 8  # each brings the two a hundred times nearer, or more; what is left after all comes with the next day's


def charged(loan: Loan, not_late: Sequence[Obligation]) -> Iterable[Flow]:
    """Return what was charged to a loan beside its interest, as the ledger has it, but for what was taken back."""
    account = accounts.of_loan(AccountKind.FEES_RECEIVABLE, loan.asset.code, loan.client_id, loan.pk)
    kinds = ("fee", "fee_correction", "late_fee", "loan_taken_over")
    found = Posting.objects.filter(account__key=account.text(), entry__kind__in=kinds, entry__reversed_by=None)
    found = found.exclude(entry__in=[row.late_fee_entry_id for row in not_late])
    rows = found.order_by("entry__effective_at", "pk")
    for at, amount in rows.values_list("entry__effective_at", "amount"):
        yield Flow(at, amount)


def settled(loan: Loan, life: Life, *, default_from: datetime) -> tuple[Life, tuple[Flow, ...]]:
    """
    Return a loan's life with the fee that it would have been charged, and by how much that differs from what was.

    `life` has its fees as they were charged; the loan is in default from `default_from` on, and bears none from then.
    The differences have any sign, are none of what is no line, and lie at the instants of the charges.
    """
    if not loan.unused_fee:
        return life, ()
    unused, as_charged = _unused(loan), life.facts.fees
    found: tuple[Flow, ...] = ()
    for _ in range(_ROUNDS):
        wanted = _differences(loan, unused, life.principal, default_from)
        if wanted == found:
            break
        found = wanted
        fees = sorted((*as_charged, *found), key=attrgetter("at"))
        life = replay.live(replace(life.facts, fees=tuple(fees)))
    return life, found


def drafts(loan: Loan, changes: Sequence[Flow], *, key: str) -> list[entries.Draft]:
    """Return the entries of differences, each as of its own instant; `key` becomes a part of theirs."""
    return [
        entries.fee(
            interest.heading(
                loan,
                f"unused:{loan.public_id}:{change.at.astimezone(UTC):%Y-%m-%dT%H%M%S.%f}:{ids.derived(key)}",
                change.at,
            ),
            asset=loan.asset.code,
            amount=change.amount,
            category=Category.UNUSED_FEE,
            corrects=True,
        )
        for change in changes
    ]


def _unused(loan: Loan) -> dict[datetime, Decimal]:
    """Return what was charged of the fee at each instant, after all corrections, ascending; one query."""
    rows = Posting.objects.filter(loan=loan, category=Category.UNUSED_FEE).order_by("entry__effective_at")
    found: defaultdict[datetime, Decimal] = defaultdict(Decimal)
    with money.exact():
        for at, amount in rows.values_list("entry__effective_at", "amount"):
            found[at] -= amount
    return dict(found)


def _differences(
    loan: Loan, unused: dict[datetime, Decimal], principal: Sequence[Step], default_from: datetime
) -> tuple[Flow, ...]:
    """Return what each charge lacks of the fee on what such a principal leaves."""
    found, behind = [], money.ZERO
    with money.exact():
        for at, amount in unused.items():
            behind += amount
            lacks = interest.unused_fee(loan, principal, _until(at), default_from=default_from) - behind
            if lacks:
                found.append(Flow(at, lacks))
                behind += lacks
    return tuple(found)


def _until(at: datetime) -> datetime:
    """Return until when a charge goes: one at the last instant of a day is for all of it."""
    end = at + _INSTANT
    return end if end.astimezone(UTC).time() == time.min else at
