"""
Other terms for a loan that runs: which it can have, and what they would come to.

It only looks: `lending/amendments.py` puts them in force, once both sides have agreed on them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from lending import interest, margin_accounts, obligations, outlook, schedules, term_sheets
from lending.benchmarks import Known
from lending.engine import figures, money, periods, terms
from lending.engine.terms import UnableToWrite
from lending.interest import Rates
from lending.models import LadderTerms, Loan, LoanState, MarginAccount, TermSheet
from lending.schedules import Schedule
from lending.term_sheets import Drawn

RUNNING = (LoanState.ACTIVE, LoanState.MATURED)
RATES = frozenset({"annual_rate", "default_rate"})


class UnableToAmend(Exception):
    """A loan can not be amended like that; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    What is to be other than it is; None leaves a term alone.

    `from_at` is from when other rates count; without it they count from the signature on. Another spread counts for the
    resets after the signature: within a period the rate is fixed. The ladder is that of the loan's margin account, and
    of every loan that the account secures.
    """

    annual_rate: Decimal | None = None
    default_rate: Decimal | None = None
    spread: Decimal | None = None
    maturity_date: date | None = None
    from_at: datetime | None = None
    ladder: Mapping[str, Any] = field(default_factory=dict)  # columns by name; those as they are change nothing

    def changed(self, loan: Loan) -> dict[str, Any]:
        """Return the columns of a loan that would be other ones, by name."""
        named = {name: getattr(self, name) for name in ("annual_rate", "default_rate", "spread", "maturity_date")}
        return {name: value for name, value in named.items() if value is not None and value != getattr(loan, name)}


@dataclass(frozen=True, slots=True)
class Preview:
    """What an amendment would come to if it were agreed now: the new sheet, what is left to pay before and after."""

    drawn: Drawn
    before: Schedule | None  # of a loan that is due already there is none
    after: Schedule

    @property
    def more(self) -> Decimal | None:
        """Return by how much more interest is left to pay, in the loan's asset; negative: less."""
        with money.exact():
            return self.after.interest - self.before.interest if self.before else None


def preview(loan: Loan, wanted: Wanted, *, expires_at: datetime, now: datetime) -> Preview:
    """
    Return what an amendment would come to; nothing is written.

    Raises
    ------
    UnableToAmend
        As `propose` does about the terms.
    """
    account = loan.margin_account
    changed, ladder = wanted.changed(loan), changed_ladder(account.terms, wanted.ladder)
    check(loan, wanted, {**changed, **ladder}, expires_at, now)
    other = amended_ladder(account, ladder, now=now)
    sheet = term_sheets.newest(loan)
    columns = {term.name: getattr(loan, term.name) for term in terms.of_part("loan") if term.name != "asset"}
    known = term_sheets.of(sheet).collateral if sheet else {}
    try:
        before = terms.written("loan", {**columns, "asset": loan.asset.code})
        held = terms.written("ladder", {row.name: getattr(account.terms, row.name) for row in terms.of_part("ladder")})
        after = {**columns, **changed, "quoted_until": expires_at}
        rest = left_to_pay(loan, changed, from_at=wanted.from_at, now=now)
        drawn = term_sheets.draw(
            public_id=loan.public_id,
            client=loan.client,
            product=loan.product,
            loan_terms=after,
            ladder=other,
            kind=account.kind,
            pledge_terms=account.pledge_terms,
            collateral={code: quantity for code, (quantity, _) in known.items()},
            haircuts={code: off for code, (_, off) in known.items()},
            amends={
                "version": sheet.version if sheet else 0,
                "sha256": sheet.fingerprint if sheet else "",
                "from_at": terms.instant_text(wanted.from_at) if wanted.from_at else "",
                "owed": money.text(loan.principal_outstanding),
                "secures": [str(row.public_id) for row in secured_by(account)] if ladder else [],
                "before": {
                    "loan": {name: before[name] for name in changed},
                    "ladder": {name: held[name] for name in ladder},
                },
            },
            carried={"origin": origin} if (origin := sheet and term_sheets.of(sheet).origin) else {},
            schedule=rest,
            now=now,
        )
    except (UnableToWrite, schedules.UnableToSchedule) as refusal:
        raise UnableToAmend(str(refusal)) from refusal
    try:
        return Preview(drawn, left_to_pay(loan, {}, from_at=None, now=now), rest)
    except schedules.UnableToSchedule:
        return Preview(drawn, None, rest)


def left_to_pay(loan: Loan, changed: Mapping[str, Any], *, from_at: datetime | None, now: datetime) -> Schedule:
    """
    Return what is left to pay of a running loan from now on, with other columns from now or, the rates, later on.

    Of one that follows a benchmark it is what today's fixing comes to, from its next reset on.
    """
    started = loan.start_at or now
    known = interest.history(loan)
    amended = copy.copy(loan)
    for name, value in changed.items():
        setattr(amended, name, value)
    amended.default_at = obligations.agreed_default(amended)
    if not RATES.isdisjoint(changed):
        if not known.rates:
            known.rates.append(Rates(started, loan.annual_rate, loan.default_rate))
        known.rates.append(Rates(from_at or now, amended.annual_rate, amended.default_rate))
    if loan.floats:
        outlook.foresee(amended, known, Known([loan.benchmark]).on(loan.benchmark, now.astimezone(UTC).date()), now=now)
    with money.exact():
        interest_paid = loan.interest_posted - loan.interest_due
    return schedules.rest(
        amended,
        principal=interest.principal_steps(loan, known),
        rate=interest.rate_steps(amended, known),
        interest_paid=interest_paid,
        period_start=obligations.paid_until(loan) or loan.began_date or started.date(),
        now=now,
    )


def changed_ladder(held: LadderTerms, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a ladder that would be other ones, by name."""
    return {name: value for name, value in wanted.items() if value != getattr(held, name)}


def amended_ladder(account: MarginAccount, changed: Mapping[str, Any], *, now: datetime) -> LadderTerms:
    """
    Return a margin account's ladder with some figures changed, not kept yet: the same where nothing is.

    Raises
    ------
    UnableToAmend
        If it is no ladder, or what the account stands at does not let it be changed like that now.
    """
    if not changed:
        return account.terms
    found = copy.copy(account.terms)
    found.pk, found.is_preset = None, False
    for name, value in changed.items():
        setattr(found, name, value)
    if wrong := margin_accounts.unfit(found):
        raise UnableToAmend(wrong)
    # Lending knows no price: whether an account may stand on another ladder now, risk says.
    import_string(settings.LENDING_LADDER_CHECK)(account, found, now=now)
    return found


def secured_by(account: MarginAccount) -> list[Loan]:
    """Return the running loans of a margin account, in order of public id: its ladder is that of each."""
    return list(account.loans.filter(state__in=RUNNING).select_related("asset").order_by("public_id"))


def named_in(sheet: TermSheet) -> list[Loan]:
    """Return the loans whose ladder a sheet changes along with its own, by name; none where it changes no ladder."""
    named = term_sheets.of(sheet).amends["secures"]
    return list(Loan.objects.filter(public_id__in=named).select_related("asset").order_by("pk")) if named else []


def check(loan: Loan, wanted: Wanted, changed: Mapping[str, Any], expires_at: datetime, now: datetime) -> None:
    """Check what is wanted of a loan as `propose` says."""
    check_running(loan, now)
    if not changed:
        raise UnableToAmend("nothing would change: the loan has these terms already")
    if "maturity_date" in changed and not loan.has_fixed_end:
        raise UnableToAmend(f"it has no maturity: either side ends it with {loan.notice}")
    if loan.floats and not RATES.isdisjoint(changed):
        raise UnableToAmend(f"its rate is {loan.how_it_floats}: amend its spread")
    if loan.capitalises and not {*RATES, "spread", "maturity_date"}.isdisjoint(changed):
        raise UnableToAmend("its interest becomes principal, and neither rates nor its end are amended: by a new loan")
    _check_spread(loan, changed)
    annual, default = (changed.get(name, getattr(loan, name)) for name in ("annual_rate", "default_rate"))
    if not 0 <= annual < 1:
        raise UnableToAmend(f"{money.text(annual)} is not an annual rate; 8.5 % is 0.085")
    if not annual <= default < 1:
        raise UnableToAmend(f"a default rate of {money.text(default)} is below the annual rate, or not a rate")
    if expires_at <= now:
        raise UnableToAmend(f"it can not be signed in the past, until {figures.instant(expires_at)}")
    _check_days(loan, wanted, changed, expires_at, now)


def _check_days(loan: Loan, wanted: Wanted, changed: Mapping[str, Any], expires_at: datetime, now: datetime) -> None:
    for day in (changed.get("maturity_date"), wanted.from_at and wanted.from_at.date()):
        if day and periods.is_far_off(day, now.date()):
            raise UnableToAmend(f"{day:%d %b %Y} is more than {periods.MOST_YEARS} years off")
    if wanted.from_at is None:
        return
    if not changed.keys() <= RATES:
        raise UnableToAmend("a later instant is for rates alone: everything else holds from the signature on")
    if wanted.from_at < expires_at:
        raise UnableToAmend("rates never count back: they begin when the time to sign is over, or later")
    if wanted.from_at >= interest.maturity_at(loan):
        raise UnableToAmend("rates that begin when the loan falls due would change nothing")


def _check_spread(loan: Loan, changed: Mapping[str, Any]) -> None:
    if "spread" not in changed:
        return
    if not loan.floats:
        raise UnableToAmend("its rate is fixed: there is no benchmark that a spread could be over")
    if not 0 <= changed["spread"] < 1:
        raise UnableToAmend(f"{money.text(changed['spread'])} is not a spread; 2 % is 0.02")
    if loan.next_reset_at == outlook.NEVER and "maturity_date" not in changed:
        raise UnableToAmend("its rate is not reset any more before it falls due: another spread would change nothing")


def check_running(loan: Loan, now: datetime) -> None:
    if loan.state not in RUNNING:
        raise UnableToAmend(f"{loan} is {loan.get_state_display().lower()}: only a loan that runs can be amended")
    if now >= interest.default_at(loan):
        raise UnableToAmend(f"{loan} is in default since {figures.instant(interest.default_at(loan))}")
