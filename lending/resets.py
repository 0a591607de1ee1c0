"""
Resets: the rate of a loan that follows a benchmark, fixed anew for each period as its day comes.

A reset is a row, once per loan and instant, that names the fixing it is by; where that of its day is not known, the
last one before it counts. A fixing that comes late, or is corrected, gives the reset another row: what followed is
worked out again and the difference is posted. What is paid off stays as it was paid. Where a difference can not be
posted, the reset stays due; those that are still ahead of the books are done all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from operator import attrgetter
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import TruncDate

from lending import (
    audit,
    benchmarks,
    bulk,
    calendars,
    events,
    interest,
    margin_accounts,
    notices,
    outlook,
    overdue,
    replays,
    term_sheets,
)
from lending.benchmarks import Known
from lending.engine import figures, floating, money
from lending.interest import BATCH
from lending.models import (
    Amendment,
    AuditRecord,
    Client,
    Event,
    Fixing,
    Loan,
    LoanEvent,
    Overdue,
    RateStep,
)
from lending.notices import Letter
from lending.outlook import NEVER
from lending.overdue import Late
from lending.replays import Plan

_RATES = ["annual_rate", "default_rate", "next_reset_at"]
_Amended = tuple[datetime, Decimal | None]  # when other terms came in force, and the spread before, if it is another


@dataclass(frozen=True, slots=True)
class _Looked:
    """A loan that was looked at: the resets that are new, in order, and when it is to be looked at next."""

    loan: Loan
    fresh: list[RateStep]
    next_at: datetime

    @property
    def is_late(self) -> bool:
        """Return whether interest was posted at other rates already."""
        return len(self.ahead) < len(self.fresh)

    @property
    def ahead(self) -> list[RateStep]:
        """Return the new resets from which on no interest is posted yet."""
        return [step for step in self.fresh if self.loan.accrued_at is None or step.at >= self.loan.accrued_at]


def work_due(*, now: datetime) -> int:
    """
    Reset the rates whose day has come, and those whose fixing was recorded or corrected since; return how many.

    Idempotent per loan and instant; a loan whose margin account is busy is left to the next call.
    """
    total, after = 0, 0
    while True:
        due = _due(now).filter(margin_account_id__gt=after).order_by("margin_account_id")
        keys = list(due.values_list("margin_account_id", flat=True).distinct()[:BATCH])
        if not keys:
            return total
        after = keys[-1]
        total += _work(keys, now)


def ahead(clients: QuerySet[Client], *, until: datetime) -> QuerySet[Any]:
    """Return the next reset of each of some clients' loans, until an instant, as `checklists.due` reads them."""
    rows = _floating().filter(client__in=clients, next_reset_at__lte=until)
    return rows.values_list(
        TruncDate("next_reset_at", tzinfo=UTC), "client__name", "client__public_id", Value("reset"), Value(""),
        "benchmark", "pk",
    )  # fmt: skip


def _due(now: datetime) -> QuerySet[Loan]:
    return _floating().filter(Q(next_reset_at__isnull=True) | Q(next_reset_at__lte=now))


def _floating() -> QuerySet[Loan]:
    return Loan.objects.filter(state__in=interest.ACCRUING).exclude(benchmark="")


@transaction.atomic
def _work(margin_account_ids: list[int], now: datetime) -> int:
    locked = margin_accounts.lock_many(margin_account_ids, skip_locked=True)
    rows = _due(now).filter(margin_account__in=[account.pk for account in locked]).select_for_update(of=("self",))
    due = list(rows.select_related("asset", "client", "margin_account").order_by("pk"))
    # Read behind the locks: whoever records a fixing has these loans looked at anew, and waits for them.
    known, recorded, amended = Known(loan.benchmark for loan in due), _recorded(due), _amended(due)
    refused = overdue.standing(due, Overdue.Kind.RESET)
    looked = [_look(loan, recorded[loan.pk], refused[loan.pk], known, amended[loan.pk], now) for loan in due]
    begun = {loan_id for loan_id, found in recorded.items() if found}
    on_time = [one for one in looked if not one.is_late]
    _write(on_time, begun, now)
    done = [*on_time, *(_put_right(one, begun, now) for one in looked if one.is_late)]
    for one in done:
        one.loan.next_reset_at = one.next_at
    bulk.update([one.loan for one in done], _RATES)
    overdue.over([one.loan for one in done if one.next_at > now], Overdue.Kind.RESET, now=now)
    reset = [one for one in done if one.fresh]
    _remember(reset, now)
    margin_accounts.touch_many(one.loan.margin_account_id for one in reset)
    outlook.project([one.loan for one in done], known, now=now)
    return sum(len(one.fresh) for one in reset)


def _recorded(due: Sequence[Loan]) -> defaultdict[int, dict[datetime, RateStep]]:
    """Return what was recorded of some loans' rates, the last number of each instant; one query."""
    found: defaultdict[int, dict[datetime, RateStep]] = defaultdict(dict)
    for step in RateStep.objects.filter(loan__in=due).order_by("at", "number"):
        found[step.loan_id][step.at] = step
    return found


def _amended(due: Sequence[Loan]) -> defaultdict[int, list[_Amended]]:
    """Return when other terms of some loans came in force, in order, each with the spread before it; one query."""
    rows = Amendment.objects.filter(loan__in=due, in_force_at__isnull=False).select_related("sheet")
    found: defaultdict[int, list[_Amended]] = defaultdict(list)
    for row in rows.order_by("in_force_at"):
        if row.in_force_at is not None:
            before = term_sheets.of(row.sheet).amends["before"]["loan"].get("spread")
            found[row.loan_id].append((row.in_force_at, None if before is None else Decimal(before)))
    return found


def _spread(loan: Loan, amended: Sequence[_Amended], at: datetime) -> Decimal:
    """Return the spread by which a loan is reset at an instant: a new one counts for the resets after it is agreed."""
    return next((before for until, before in amended if before is not None and at < until), loan.spread)


def _look(
    loan: Loan,
    recorded: dict[datetime, RateStep],
    refused: Iterable[datetime],
    known: Known,
    amended: Sequence[_Amended],
    now: datetime,
) -> _Looked:
    """
    Return which resets of a loan are new: those whose fixing is another by now, and those whose day has come.

    Another maturity that was agreed on has other days, which count from then on. What was `refused` before that is due
    as it was.
    """
    fresh, agreed_at = [], amended[-1][0] if amended else _started(loan)
    for step in recorded.values():
        if step.fixing_date is not None:
            fixing = known.on(loan.benchmark, step.fixing_date)
            if fixing is not None and fixing.pk != step.fixing_id:
                spread = _spread(loan, amended, step.at)
                fresh.append(_step(loan, step.at, step.fixing_date, fixing, spread, step.number + 1, now))
    next_at, missed = NEVER, set(refused)
    # One that could not be done then is among them, although later ones are recorded.
    for at in _ahead_of(loan, max((at for at in recorded if at <= agreed_at), default=_started(loan))):
        if at > now:
            next_at = at
            break
        missed.add(at)
    for at in missed - recorded.keys():
        fixed_on = benchmarks.fixing_date(loan, at.date())
        fixing = known.on(loan.benchmark, fixed_on)
        if fixing is not None:
            fresh.append(_step(loan, at, fixed_on, fixing, _spread(loan, amended, at), 1, now))
    return _Looked(loan, sorted(fresh, key=attrgetter("at")), next_at)


def _ahead_of(loan: Loan, last_at: datetime) -> Iterable[datetime]:
    """Yield the instants after one at which a loan is reset: the starts of the days on which its periods are paid."""
    began = loan.began_date or _started(loan).date()
    for day in floating.reset_dates(began, loan.maturity_date, loan.reset_months, after=last_at.date()):
        at = _midnight(calendars.following(loan.calendar, day))
        if loan.maturity_date is not None and at >= _midnight(loan.maturity_date):
            return
        if at > last_at:
            yield at


def _step(
    loan: Loan, at: datetime, fixed_on: date, fixing: Fixing, spread: Decimal, number: int, now: datetime
) -> RateStep:
    rates = outlook.by_fixing(loan, fixing, at, spread=spread)
    return RateStep(
        client_id=loan.client_id,
        loan=loan,
        at=at,
        annual_rate=rates.annual_rate,
        default_rate=rates.default_rate,
        fixing=fixing,
        fixing_date=fixed_on,
        number=number,
        recorded_at=now,
    )


def _write(looked: Sequence[_Looked], begun: set[int], now: datetime) -> None:
    """Write down the new resets of some loans in one statement, and what held before the first of each."""
    steps = []
    for one in looked:
        loan = one.loan
        if one.fresh and loan.pk not in begun:
            first = interest.agreed_rates(loan)
            steps.append(
                RateStep(
                    client_id=loan.client_id,
                    loan=loan,
                    at=first.at,
                    annual_rate=first.annual_rate,
                    default_rate=first.default_rate,
                )
            )
        steps += one.fresh
    RateStep.objects.bulk_create(steps)
    holding = _recorded([one.loan for one in looked if one.fresh])
    for one in looked:
        if one.fresh:
            _, step = max(holding[one.loan.pk].items())
            one.loan.annual_rate, one.loan.default_rate = step.annual_rate, step.default_rate


def _put_right(one: _Looked, begun: set[int], now: datetime) -> _Looked:
    """Write down late resets of a locked loan, and post the differences to what is posted; return what is done."""
    loan, first = one.loan, one.fresh[0]

    def prepare() -> Plan:
        _write([one], begun, now)
        return replays.plan(loan, reset_at=first.at)

    done = overdue.put_right(
        loan,
        prepare,
        kind=Overdue.Kind.RESET,
        at=[step.at for step in one.fresh if step not in one.ahead],
        key=f"reset:{first.at:%Y-%m-%d}:{first.number}",
        cause="a rate that was reset late",
        said=f"the rate from {figures.day(first.at.date())} on was fixed by {first.fixing}",
        now=now,
    )
    return one if done else _put_off(one, begun, now)


def _put_off(one: _Looked, begun: set[int], now: datetime) -> _Looked:
    """Write down those resets of a loan that are on time; the first that is not stays due: what is missing may come."""
    rest = replace(one, fresh=one.ahead, next_at=one.fresh[0].at)
    for step in rest.fresh:
        step.pk = None  # that of the try which was undone
    _write([rest], begun, now)
    return rest


def _remember(reset: Sequence[_Looked], now: datetime) -> None:
    """Write down what was reset with its cause and evidence, and tell clients and listeners."""
    happened, told, trail, letters = [], [], [], []
    for one in reset:
        loan = one.loan
        for step in one.fresh:
            cause, evidence = _cause(step), _evidence(step)
            happened.append(
                LoanEvent(
                    client_id=loan.client_id,
                    loan=loan,
                    from_state=loan.state,
                    to_state=loan.state,
                    cause=cause,
                    evidence=evidence,
                    happened_at=now,
                )
            )
            facts = {"loan": str(loan.public_id), **evidence}
            told.append(events.new("loans", "rate_reset", facts, client_id=loan.client_id, now=now))
            trail.append(audit.new("rate_reset", actor=None, obj=loan, after=evidence, reason=cause, now=now))
        letters.append(_letter(one))
    LoanEvent.objects.bulk_create(happened)
    Event.objects.bulk_create(told)
    AuditRecord.objects.bulk_create(trail)
    notices.enqueue(letters, now=now)


def _cause(step: RateStep) -> str:
    verb = "reset" if step.number == 1 else "corrected"
    return f"rate {verb} to {figures.percent(step.annual_rate)} from {figures.day(step.at.date())} on, by {step.fixing}"


def _evidence(step: RateStep) -> dict[str, Any]:
    fixing = step.fixing
    if fixing is None:
        raise ValueError("a reset names its fixing")
    return {
        "at": step.at.isoformat(),
        "annual_rate": money.text(step.annual_rate),
        "number": step.number,
        "benchmark": fixing.benchmark.code,
        "fixing": money.text(fixing.rate),
        "fixing_of": fixing.effective_date.isoformat(),
        "fixing_for": str(step.fixing_date),
        "fixing_number": fixing.number,
    }


def _letter(one: _Looked) -> Letter:
    loan, last = one.loan, one.fresh[-1]
    lines = [f"The rate of your loan {str(loan.public_id)[:8]} is {loan.how_it_floats}."]
    for step in one.fresh:
        corrected = "" if step.number == 1 else ", which corrects what we told you before"
        lines.append(
            f"From {figures.day(step.at.date())} on it is {figures.percent(step.annual_rate)} a year, by "
            f"{step.fixing}{corrected}."
        )
    if loan.step_up_date:
        lines.append(f"As agreed, it is {loan.how_it_steps_up}.")
    if one.is_late:
        lines.append("Interest was posted at another rate already: only the difference is posted now.")
    return Letter(
        client=loan.client,
        kind="rate_reset",
        subject=f"The rate of your loan: {figures.percent(last.annual_rate)} from {figures.day(last.at.date())} on",
        body="\n".join(lines),
        key=f"reset:{loan.public_id}:{last.at:%Y-%m-%d}:{last.number}:{len(one.fresh)}",
        margin_account=loan.margin_account,
    )


def late(*, before: datetime) -> list[Late]:
    """Return the loans whose rate was to be reset by an instant and is not, the longest ago first, and why."""
    rows = _due(before).select_related("margin_account", "client").order_by("next_reset_at", "pk")
    return overdue.explained(Overdue.Kind.RESET, [(loan, loan.next_reset_at) for loan in rows])


def history(loan: Loan) -> list[RateStep]:
    """Return the rates of a loan as they were agreed, reset and corrected, the newest on top."""
    return list(
        RateStep.objects.filter(loan=loan).select_related("fixing__benchmark", "amendment").order_by("-at", "-number")
    )


def _started(loan: Loan) -> datetime:
    if loan.start_at is None:
        raise interest.UnableToAccrue(f"{loan} was never funded")
    return loan.start_at


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)
