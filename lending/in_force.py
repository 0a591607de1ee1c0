"""
What follows from an amendment that both sides agreed on, each thing once: rates to come, what is left to pay, columns.

The caller holds the locks of the margin account and the loan, and raises the account's version.
"""

from datetime import datetime
from decimal import Decimal

from lending import interest, loans, margin_accounts, obligations, schedules, term_sheets
from lending.models import Amendment, Loan, LoanEvent, LoanState, MarginAccount, RateStep, User
from lending.other_terms import RATES, UnableToAmend, amended_ladder, left_to_pay, secured_by


def agree(row: Amendment, loan: Loan, account: MarginAccount, *, now: datetime) -> None:
    """Write down what follows from a signature: the rates to come, and what is left to pay by the new schedule."""
    agreed = term_sheets.of(row.sheet)
    changed = {name: agreed.loan[name] for name in agreed.amends["before"]["loan"]}
    _change_ladder(row, account, agreed, now=now)
    if not changed:
        return
    if overdue := obligations.overdue(loan):
        raise UnableToAmend(f"{overdue[0]} has not been paid: what is due is paid first")
    try:
        rest = left_to_pay(loan, changed, from_at=row.from_at, now=now)
    except schedules.UnableToSchedule as refusal:
        raise UnableToAmend(str(refusal)) from refusal
    # What the old terms have earned is on the books before the new ones count.
    interest.catch_up(loan, until=now, reason=f"amendment:{row.public_id}", now=now)
    if not RATES.isdisjoint(changed):
        if not RateStep.objects.filter(loan=loan).exists():
            _rate_step(loan, loan.start_at or now, loan.annual_rate, loan.default_rate)
        _rate_step(loan, row.from_at or now, agreed.loan["annual_rate"], agreed.loan["default_rate"], amendment=row)
    if loan.has_fixed_end:  # else the next period is written when it begins, by the rates that hold then
        obligations.replace(schedules.rewrite(loan, rest, now=now))


def _change_ladder(row: Amendment, account: MarginAccount, agreed: term_sheets.Drawn, *, now: datetime) -> None:
    """Have a margin account stand on the ladder that was agreed on, for every loan that it secures."""
    changed = {name: agreed.ladder[name] for name in agreed.amends["before"]["ladder"]}
    ladder = amended_ladder(account, changed, now=now)
    if {name: getattr(ladder, name) for name in agreed.ladder} != agreed.ladder:
        raise UnableToAmend("the ladder of its margin account was changed meanwhile: a new amendment is to be proposed")
    if not changed:
        return
    if {str(loan.public_id) for loan in secured_by(account)} != set(agreed.amends["secures"]):
        raise UnableToAmend("the account secures other loans than those it names: a new amendment is to be proposed")
    account.terms = margin_accounts.kept(ladder, {})
    account.save(update_fields=["terms"])
    for other in secured_by(account):
        if other.pk != row.loan_id:
            said = f"the ladder of its margin account was amended with loan {str(row.loan.public_id)[:8]}"
            _happened(other, said, row, actor=row.signer, now=now)


def _rate_step(loan: Loan, at: datetime, annual: Decimal, default: Decimal, amendment: Amendment | None = None) -> None:
    RateStep.objects.create(
        client_id=loan.client_id, loan=loan, at=at, annual_rate=annual, default_rate=default, amendment=amendment
    )


def put(row: Amendment, loan: Loan, *, actor: User | None, now: datetime) -> None:
    """Have the loan run by the sheet that both sides agreed on."""
    agreed = term_sheets.of(row.sheet).loan
    values = {**agreed, "default_at": loan.default_at}
    if loan.floats:  # its rates are those of its newest reset, whatever they were when the sheet was drawn
        values = {name: value for name, value in values.items() if name not in RATES} | {"next_reset_at": None}
    if agreed["maturity_date"] != loan.maturity_date:
        values["default_at"] = obligations.default_of(agreed)
    if row.from_at and loan.accrued_at and loan.accrued_at < row.from_at:
        interest.catch_up(loan, until=row.from_at, reason=f"amendment:{row.public_id}", now=now)
    said, evidence = f"amended by version {row.sheet.version} of its term sheet", row.sheet.as_evidence
    if loan.state == LoanState.MATURED and agreed["maturity_date"] != loan.maturity_date:
        loans.transition(loan, LoanState.ACTIVE, actor=actor, cause=said, evidence=evidence, now=now, **values)
    else:
        Loan.objects.filter(pk=loan.pk).update(**values)
        _happened(loan, said, row, actor=actor, now=now)


def _happened(loan: Loan, cause: str, row: Amendment, *, actor: User | None, now: datetime) -> None:
    LoanEvent.objects.create(
        client_id=loan.client_id,
        loan=loan,
        from_state=loan.state,
        to_state=loan.state,
        actor=actor,
        cause=cause,
        evidence=row.sheet.as_evidence,
        happened_at=now,
    )
