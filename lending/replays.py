"""
A loan's past, worked out again and booked: only what differs is posted, each difference as of its own instant.

The caller holds the locks of the margin account and the loan. What was written stays: a payment's row keeps its first
split, and every later correction adds a row that says by how much it changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from lending import charges, differences, growth, interest, late_fees, ledger, obligations, prepayments
from lending.engine import entries, money, replay
from lending.engine.replay import Facts, Flow, Life, Parts
from lending.engine.waterfall import Split
from lending.models import (
    Approval,
    Correction,
    Draw,
    Entry,
    Loan,
    Obligation,
    Repayment,
    ScheduleRow,
    SplitChange,
    User,
)
from lending.obligations import Received

NONE = Parts()
PARTS = ("fees", "interest", "principal", "surplus", "make_whole")  # in the order of Parts


class UnableToSettle(Exception):
    """A changed past can not be booked; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What a changed past would change: `now` and `then` are what each payment pays and would pay, in order.

    `payments` names them; None is the one that would be added. `taken_back` pays nothing from then on. `asked_again`
    are the obligations that would not be met any more, each with what would be missing of it. `heals` says that what
    is added was there before the default that it undoes; `default_from` is when the default rate begins then.
    `not_late` are the obligations whose late fee was charged for nothing: it goes. `capitalised` are periods with how
    much more of their interest would become principal. `interest` and `unused` are by how much all that was earned
    until the books' instant would be more: of interest, and of the fee on what is not drawn of a line.
    """

    since: datetime
    life: Life
    payments: tuple[Repayment | None, ...]
    now: tuple[Parts, ...]
    then: tuple[Parts, ...]
    interest: Decimal
    default_from: datetime
    heals: bool = False
    asked_again: tuple[tuple[Obligation, Decimal], ...] = ()
    taken_back: Repayment | None = None
    not_late: tuple[Obligation, ...] = ()
    capitalised: tuple[growth.Grown, ...] = ()
    unused: Decimal = money.ZERO

    @property
    def rows(self) -> list[tuple[Repayment | None, Parts, Parts]]:
        """Return the payments whose parts change, each with what it pays now and would pay."""
        every = zip(self.payments, self.now, self.then, strict=True)
        return [row for row in every if row[1] != row[2]]

    @property
    def added(self) -> Parts:
        """Return what the added payment would pay."""
        return self.then[self.payments.index(None)]


@dataclass(frozen=True, slots=True)
class Booked:
    """What was posted: the entry of an added payment, and each changed payment with its difference and its entry."""

    added: Entry | None
    changes: tuple[tuple[Repayment, Parts, Entry], ...]
    interest: Decimal


def parts_now(payments: Iterable[Repayment]) -> dict[int, Parts]:
    """Return what some payments pay after all corrections, by their keys; one query."""
    found = {row.pk: _parts(row) for row in payments}
    for change in SplitChange.objects.filter(repayment__in=found):
        found[change.repayment_id] += _parts(change)
    return found


def standing(loan: Loan) -> list[Repayment]:
    """Return the payments of a loan that were not taken back, in the order in which they count, with what `costs`."""
    freed = Correction.objects.filter(repayment=OuterRef("pk"), kind=Correction.Kind.WAIVER)
    rows = _corrected(loan.repayments.exclude(corrections__kind=Correction.Kind.REVERSAL))
    return list(rows.annotate(costs=Q(prepays=True) & ~Exists(freed)).order_by("received_at", "pk"))


def as_they_stand(loan: Loan) -> list[tuple[Repayment, Parts, bool]]:
    """Return every payment of a loan, the newest first, with what it pays now and if it was taken back; one query."""
    gone = Correction.objects.filter(repayment=OuterRef("pk"), kind=Correction.Kind.REVERSAL)
    made = Correction.objects.filter(repayment=OuterRef("pk"))
    rows: QuerySet[Any] = _corrected(loan.repayments.annotate(gone=Exists(gone), corrected=Exists(made)))
    return [(row, _pays(row), row.gone) for row in rows.order_by("-received_at", "-pk")]


def _corrected(rows: QuerySet[Repayment]) -> QuerySet[Repayment]:
    """Return payments with their entries and with what was corrected about each part, in the query that reads them."""
    more = {f"more_{part}": Coalesce(Sum(f"split_changes__{part}"), money.ZERO) for part in PARTS}
    return rows.select_related("entry").annotate(**more)


def _pays(row: Repayment) -> Parts:
    """Return what a payment that was read `_corrected` pays."""
    return _parts(row) + Parts(*(getattr(row, f"more_{part}") for part in PARTS))


def plan(
    loan: Loan,
    *,
    added: Flow | None = None,
    taken_back: Repayment | None = None,
    freed: Repayment | None = None,
    reset_at: datetime | None = None,
    periods: Sequence[ScheduleRow] = (),
) -> Plan:
    """
    Return what would change about a loan if a payment had been made, one had not been, or its make-whole were waived.

    Nothing is written. With none of them it is what its rates change, which were reset or are those in default from an
    instant on, or that the interest of some periods became principal.
    """
    every = standing(loan)
    before = {row.pk: _pays(row) for row in every}
    kept: list[Repayment | None] = [row for row in every if row != taken_back]
    changed = (
        *(row and row.received_at for row in (taken_back, freed)),
        added and added.at,
        reset_at,
        *map(growth.ends_at, periods[:1]),
    )
    since = min(at for at in changed if at)
    if added is not None:
        # Behind those of the same instant: they were known first.
        kept.insert(sum(1 for row in every if row.received_at <= added.at), None)
    flows = [flow for row in kept if (flow := added if row is None else _flow(row, freed))]
    known = [None if row is None else row.recorded_at for row in kept]
    paid = [Received(flow.at, at, flow.amount) for flow, at in zip(flows, known, strict=True)]
    heals = added is not None and obligations.heals(loan, paid)
    default_from = obligations.agreed_default(loan) if heals else interest.default_at(loan)
    if heals:  # its rate may have counted from before what undoes it: a grace that ran again is no agreement
        since = min(since, interest.default_at(loan))
    not_late = tuple(obligations.in_time(loan, paid)) if added is not None else ()
    grown = growth.grown(loan, periods)
    ends = [growth.ends_at(row) for row, _, _ in grown]
    life = replay.live(facts(loan, flows, default_from=default_from, not_late=not_late, capitalised=ends))
    again = growth.differences(grown, life.capitalised)
    now = tuple(NONE if row is None else before[row.pk] for row in kept)
    with money.exact():
        more = life.earned(_accrued_at(loan)) - loan.interest_posted
        unused = life.unused_fee(_accrued_at(loan)) - loan.unused_posted
    if taken_back is None:
        counted = tuple(kept)
        return Plan(since, life, counted, now, life.parts, more, default_from, heals, (), None, not_late, again, unused)
    return Plan(
        since,
        life,
        (taken_back, *kept),
        (before[taken_back.pk], *now),
        (NONE, *life.parts),
        more,
        default_from,
        asked_again=tuple(obligations.unmet(loan, _counting(kept, life.parts))),
        taken_back=taken_back,
        capitalised=again,
        unused=unused,
    )


def _flow(row: Repayment, freed: Repayment | None) -> Flow:
    costs: bool = row.costs  # type: ignore[attr-defined]
    return Flow(row.received_at, row.amount, prepays=costs and row != freed)


def received(loan: Loan) -> list[Received]:
    """Return what reduced a loan, as it stands after all corrections."""
    rows = standing(loan)
    return _counting(rows, [_pays(row) for row in rows])


def _counting(rows: Sequence[Repayment | None], parts: Sequence[Parts]) -> list[Received]:
    with money.exact():
        return [
            Received(row.received_at, row.recorded_at, part.total - part.surplus)
            for row, part in zip(rows, parts, strict=True)
            if row
        ]


def facts(
    loan: Loan,
    paid: Sequence[Flow],
    *,
    default_from: datetime,
    not_late: Sequence[Obligation] = (),
    capitalised: Sequence[datetime] = (),
) -> Facts:
    """Return what happened to a loan, with these payments, the default rate from an instant on, and some fees gone."""
    rate = interest.rate_steps(loan, interest.history(loan), default_from=default_from)
    return Facts(
        day_count=loan.day_count,
        decimals=loan.asset.decimals,
        lent=tuple(_lent(loan, rate[0].at)),
        rate=rate,
        fees=tuple(charges.charged(loan, not_late)),
        paid=tuple(paid),
        brought=loan.interest_brought,
        since=loan.began_date,
        early=prepayments.terms_of(loan),
        agreed=prepayments.agreed(loan),
        capitalised_at=tuple(capitalised),
        unused=charges.unused(loan, default_from=default_from),
    )


def book(
    loan: Loan, wanted: Plan, *, key: str, cause: str, now: datetime, actor: User | None, client_free: Decimal
) -> Booked:
    """
    Post the differences of a plan, and bring the loan's row to what they leave; it is not yet remembered why.

    `client_free` is the client's free balance in the loan's asset. What is taken back is posted by reversing entries.

    Raises
    ------
    UnableToSettle
        If the client's free balance does not cover what later payments had left over and would need now, or nothing
        was owed when the added payment arrived.
    """
    with money.exact():
        left = client_free + sum((then.surplus - was.surplus for row, was, then in wanted.rows if row), money.ZERO)
        if wanted.taken_back is not None:
            left += wanted.taken_back.amount
    if left < 0:
        missing = f"{money.text(left.copy_negate())} {loan.asset.code} are missing"
        raise UnableToSettle(f"{missing}: what later payments had left over is no longer in the free balance")
    if None in wanted.payments and wanted.added.total == wanted.added.surplus:
        raise UnableToSettle("nothing was owed at that time that it could pay")
    changes: list[tuple[Repayment, Parts, Entry]] = []
    if wanted.taken_back is not None:
        mirror = take_back(wanted.taken_back, cause=cause, now=now, actor=actor)
        changes.append((wanted.taken_back, -wanted.now[0], mirror))
    moved = [(row, then - was) for row, was, then in wanted.rows if row not in (None, wanted.taken_back)]
    drafts = [_payment(loan, wanted, key)] if None in wanted.payments else []
    drafts += [_reallocation(loan, row, change, key=key, cause=cause) for row, change in moved]
    grown = [one for one in wanted.capitalised if one[2]]
    drafts += [growth.growth(loan, row, number, amount) for row, number, amount in grown]
    instants = [flow.at for flow in wanted.life.facts.paid]
    drafts += differences.drafts(
        loan,
        earned=wanted.life.earned,
        unused=wanted.life.unused_fee,
        since=wanted.since,
        instants=instants,
        default_from=wanted.default_from,
        key=key,
    )
    posted = iter(ledger.post_many(drafts, now=now, actor=actor))
    added = next(posted) if None in wanted.payments else None
    changes += [(row, change, next(posted)) for row, change in moved]
    growth.write(loan, wanted.capitalised, {row.pk: next(posted) for row, _, _ in grown}, now=now)
    # Behind the payments that no longer pay them: what is receivable is never below zero.
    for obligation in wanted.not_late:
        late_fees.give_back(obligation, now=now, actor=actor)
    _settle(loan, wanted)
    return Booked(added, tuple(changes), wanted.interest)


def remember(
    booked: Booked,
    loan: Loan,
    *,
    kind: Correction.Kind,
    cause: Correction.Cause,
    reason: str,
    effective_at: datetime,
    now: datetime,
    payment: Repayment | None = None,
    agreed: Approval | None = None,
) -> Correction:
    """Write down why a loan's past is another from an instant on, and by how much that changed each payment."""
    correction = Correction.objects.create(
        client_id=loan.client_id,
        loan=loan,
        kind=kind,
        cause=cause,
        repayment=payment,
        reason=reason,
        maker=agreed.maker if agreed else None,
        checker=agreed.checker if agreed else None,
        effective_at=effective_at,
        recorded_at=now,
        interest=booked.interest,
    )
    SplitChange.objects.bulk_create(
        SplitChange(
            client_id=correction.client_id,
            correction=correction,
            repayment=row,
            amount=change.total,
            **dict(zip(PARTS, change.each, strict=True)),
            entry=entry,
        )
        for row, change, entry in booked.changes
    )
    return correction


def _lent(loan: Loan, start_at: datetime) -> Iterable[Flow]:
    """Return what was lent and when: all of it at once, or what was drawn of a line."""
    yield Flow(start_at, money.ZERO if loan.is_line else loan.principal)
    drawn = Draw.objects.filter(loan=loan, state=Draw.State.PAID_OUT).order_by("decided_at", "pk")
    for row in drawn if loan.is_line else ():
        if row.decided_at is not None:
            yield Flow(row.decided_at, row.amount)


def _payment(loan: Loan, wanted: Plan, key: str) -> entries.Draft:
    """Return the entry of the payment that a plan adds, as if it had been known in time."""
    place = wanted.payments.index(None)
    about = interest.heading(loan, key, wanted.life.facts.paid[place].at)
    return entries.repayment(about, asset=loan.asset.code, paid=dues(wanted.added))


def _reallocation(loan: Loan, row: Repayment, change: Parts, *, key: str, cause: str) -> entries.Draft:
    about = interest.heading(loan, f"reallocation:{row.pk}:{key}", row.received_at, cause=cause)
    return entries.reallocation(about, asset=loan.asset.code, change=dues(change), surplus=change.surplus)


def take_back(row: Repayment, *, cause: str, now: datetime, actor: User | None) -> Entry:
    """Reverse a payment's entry and those that changed its split since, and return the first of the mirrors."""
    written = [row.entry, *(c.entry for c in row.split_changes.select_related("entry").order_by("pk"))]
    mirrors = [
        ledger.reverse(
            entry,
            key=ledger.reversal_key(entry),
            now=now,
            cause=cause,
            actor=actor,
            effective_at=row.received_at,
        )
        for entry in written
    ]
    return mirrors[0]


def _settle(loan: Loan, wanted: Plan) -> None:
    """Bring a loan's row to what its changed past leaves."""
    life = wanted.life
    with money.exact():
        loan.unused_posted += wanted.unused
        loan.interest_posted += wanted.interest
        loan.interest_due = life.facts.brought + loan.interest_posted - life.interest_paid
        loan.principal_outstanding = life.principal[-1].value
        loan.fees_due = life.fees_due(_accrued_at(loan))
    loan.save(update_fields=["interest_posted", "interest_due", "principal_outstanding", "fees_due", "unused_posted"])


def dues(paid: Parts | Split) -> entries.Dues:
    """Return what a payment paid of each due, without what it left over."""
    return entries.Dues(paid.fees, paid.interest, paid.principal, paid.make_whole)


def _parts(row: Repayment | SplitChange) -> Parts:
    return Parts(*(getattr(row, part) for part in PARTS))


def _accrued_at(loan: Loan) -> datetime:
    if loan.accrued_at is None:
        raise UnableToSettle(f"{loan} was never funded")
    return loan.accrued_at
