"""
Live loans taken over from another system: tried, approved by a second person, and from one instant on kept here.

Three files that are sent together say everything; what was tried, what is approved and what is booked is read from
them by the same code, and the approval is bound to their hash. All of it is taken over or none. From the cut-over on a
loan is one of ours: its principal is what was left, its interest counts from then and stands beside what was due.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from lending import (
    access,
    approvals,
    audit,
    ids,
    margin_accounts,
    obligations,
    offers,
    opening,
    outbox,
    schedules,
    takeover_books,
    takeover_files,
    term_sheets,
)
from lending.csv_tables import UnableToRead
from lending.engine import money
from lending.engine.origin import Origin
from lending.models import (
    Approval,
    Loan,
    LoanOrigin,
    LoanState,
    MarginAccount,
    Period,
    PeriodState,
    Role,
    Takeover,
    TermSheet,
    User,
)
from lending.takeover_files import LoanRow, Trial

KIND = "take_over"
MAKERS = frozenset({Role.OPERATIONS})
OLDEST = timedelta(days=7)  # a cut-over that lies further back: what happened since would have to be entered by hand
_SOURCE = 40
_SHOWN = 3


class UnableToTakeOver(Exception):
    """Loans can not be taken over; the message says why."""


def check(loans: str, pledges: str, balances: str, *, source: str, cut_over_at: datetime, now: datetime) -> Trial:
    """
    Read three files, and return what they hold and every error; it writes nothing.

    Raises
    ------
    UnableToTakeOver
        If the source is no name, the cut-over is not in the last days or in a closed month, a file is none, or these
        were taken over already.
    """
    # A slash would end the name within the ids that are derived from it.
    if not source or len(source) > _SOURCE or not source.isprintable() or "/" in source:
        raise UnableToTakeOver(f"name the system that kept the loans, in at most {_SOURCE} characters and without a /")
    if cut_over_at > now:
        raise UnableToTakeOver("the cut-over lies in the future: interest is not known before it has run")
    if now - cut_over_at > OLDEST:
        raise UnableToTakeOver(f"the cut-over lies more than {OLDEST.days} days back: close the old books later")
    locked_until = Period.objects.filter(state=PeriodState.LOCKED).aggregate(at=Max("end_at"))["at"]
    if locked_until is not None and cut_over_at < locked_until:
        raise UnableToTakeOver(f"the books are closed until {locked_until:%Y-%m-%d %H:%M} UTC: cut over after that")
    _check_new(loans, pledges, balances)
    try:
        return takeover_files.check(loans, pledges, balances, source=source, cut_over_at=cut_over_at, now=now)
    except UnableToRead as refusal:
        raise UnableToTakeOver(str(refusal)) from refusal


@transaction.atomic
def ask(
    loans: str, pledges: str, balances: str, *, source: str, cut_over_at: datetime, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person to have the loans of three files taken over.

    Raises
    ------
    UnableToTakeOver
        As `check` does; also if anything is wrong with any row, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    access.require_role(maker, *MAKERS)
    User.objects.select_for_update().get(pk=maker.pk)  # a button pressed twice: the second finds the request
    trial = check(loans, pledges, balances, source=source, cut_over_at=cut_over_at, now=now)
    count = len(trial.problems)
    _check_none(trial, f"nothing was asked for: {count:,} {'error' if count == 1 else 'errors'}")
    digest = files_hash(loans, pledges, balances)
    if any(row.payload["sha256"] == digest.hex() for row in waiting(now=now)):
        raise UnableToTakeOver("these files wait for a second person already")
    totals = _totals(trial)
    takeover = Takeover.objects.create(
        source=source,
        cut_over_at=cut_over_at,
        loans_csv=loans,
        pledges_csv=pledges,
        balances_csv=balances,
        files_hash=digest,
        totals=totals,
        loan_count=len(trial.loans),
        maker=maker,
        made_at=now,
    )
    payload = {
        "takeover": str(takeover.public_id),
        "source": source,
        "cut_over_at": cut_over_at.isoformat(),
        "loans": len(trial.loans),
        "sha256": digest.hex(),
    }
    return approvals.request(KIND, payload, maker=maker, now=now)


def waiting(*, now: datetime) -> list[Approval]:
    """Return the requests that wait for a second person."""
    rows = Approval.objects.filter(kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    return list(rows.select_related("maker").order_by("pk"))


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Takeover:
    """
    Take loans over as two persons agreed: accounts, loans, term sheets, schedules, and opening entries that balance.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the files are not those that were approved, or hold an error by now.
    """
    takeover = Takeover.objects.select_for_update().get(public_id=approval.payload["takeover"])
    files = takeover.loans_csv, takeover.pledges_csv, takeover.balances_csv
    if files_hash(*files).hex() != approval.payload["sha256"]:
        raise approvals.UnableToApprove("these are not the files that were asked for")
    try:
        trial = check(*files, source=takeover.source, cut_over_at=takeover.cut_over_at, now=now)
        _check_none(trial, "what the files say holds no more: " + "; ".join(map(str, trial.problems[:_SHOWN])))
        takeover.checker, takeover.done_at = approval.checker, now
        takeover.save(update_fields=["checker", "done_at"])
        loans = _make(takeover, trial, now)
    except (UnableToTakeOver, offers.UnableToQuote) as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    accounts = takeover_books.secure(takeover, loans, now=now)
    takeover_books.open_loans(takeover, loans, now=now)
    takeover_books.open_balances(takeover, trial, now=now)
    for loan, _ in loans:
        if loan.is_line:
            obligations.project(loan)
    facts = {"source": takeover.source, "loans": len(loans), "sha256": takeover.fingerprint, "totals": takeover.totals}
    audit.write("loans_taken_over", actor=approval.checker, obj=takeover, after=facts, now=now)
    for account in accounts:
        payload = {"margin_account": str(account.public_id)}
        outbox.put("custody.address", payload, key=f"address:taken_over:{account.public_id}", now=now)
    return takeover


def files_hash(loans: str, pledges: str, balances: str) -> bytes:
    """Return the SHA-256 of three files, each with its length before it, as the database proves it."""
    return hashlib.sha256("".join(f"{len(text)}:{text}" for text in (loans, pledges, balances)).encode()).digest()


def _check_none(trial: Trial, words: str) -> None:
    if trial.problems:
        raise UnableToTakeOver(words)


def _check_new(loans: str, pledges: str, balances: str) -> None:
    before = Takeover.objects.filter(files_hash=files_hash(loans, pledges, balances), done_at__isnull=False).first()
    if before is not None:
        said = f"{before}, {before.done_at:%Y-%m-%d %H:%M} UTC"
        raise UnableToTakeOver(f"these three files were taken over already: {said}")


def _totals(trial: Trial) -> list[dict[str, Any]]:
    return [
        {name: money.text(value) if isinstance(value, Decimal) else value for name, value in asdict(total).items()}
        for total in trial.totals
    ]


def _make(takeover: Takeover, trial: Trial, now: datetime) -> list[tuple[Loan, LoanRow]]:
    """Write the loans with their accounts, term sheets, origins, schedules and steps, and return them running."""
    maker, checker = takeover.maker, takeover.checker
    drawn, plans, loans = [], [], []
    accounts: dict[str, MarginAccount] = {}
    for row in trial.loans:
        public_id = ids.derived("takeover", takeover.source, row.reference)
        origin = _origin(takeover, row)
        pool = [other for other in trial.loans if other.account == row.account] if row.account else [row]
        sheet = _drawn(row, public_id, origin, pool, now)
        key = f"pool/{row.account}" if row.account else f"loan/{row.reference}"
        if key not in accounts:
            accounts[key] = MarginAccount.objects.create(
                public_id=ids.derived("margin_account", "takeover", takeover.source, key),
                client=row.client,
                kind=_kind(row),
                terms=margin_accounts.kept(row.ladder, sheet.ladder),
                pledge_terms=row.product.pledge_terms,
                created_at=now,
            )
        loan = Loan(
            public_id=public_id,
            client=row.client,
            margin_account=accounts[key],
            product=row.product,
            book=row.product.book,
            asset=row.product.asset,
            made_by=maker,
            approved_by=checker,
            default_at=obligations.default_of(sheet.loan),
            began_date=row.began_date,
            start_at=takeover.cut_over_at,
            accrued_at=takeover.cut_over_at,
            principal_outstanding=row.outstanding,
            interest_due=origin.interest,
            interest_brought=origin.interest,
            fees_due=_fees(row),
            **sheet.loan,
        )
        drawn.append(sheet)
        loans.append(loan)
        plans.append(
            schedules.taken_over(
                loan,
                at=takeover.cut_over_at,
                to_come=row.to_come,
                next_due_date=row.next_due_date,
                drawn=row.outstanding,
            )
        )
    made = Loan.objects.bulk_create(loans)
    sheets = TermSheet.objects.bulk_create(
        term_sheets.new(loan, sheet, made_by=maker, now=now) for loan, sheet in zip(made, drawn, strict=True)
    )
    pairs = list(zip(made, trial.loans, strict=True))
    LoanOrigin.objects.bulk_create(_kept_origin(takeover, loan, row) for loan, row in pairs)
    Loan.objects.filter(pk__in=[loan.pk for loan in made]).update(state=LoanState.ACTIVE)
    obligations.expect(schedules.keep(zip(made, plans, strict=True)))
    cause = f"taken over from {takeover.source}"
    opening.remember([(loan, "", LoanState.QUOTED, maker, cause) for loan in made], now)
    steps = [(loan, LoanState.QUOTED, LoanState.ACTIVE, checker, cause) for loan in made]
    evidence = [
        {**sheet.as_evidence, "takeover": str(takeover.public_id), "files": takeover.fingerprint} for sheet in sheets
    ]
    opening.remember(steps, now, evidence=evidence)
    for loan in made:
        loan.state = LoanState.ACTIVE
    return pairs


def _kind(row: LoanRow) -> MarginAccount.Kind:
    return MarginAccount.Kind.POOL if row.account else MarginAccount.Kind.RING_FENCED


def _origin(takeover: Takeover, row: LoanRow) -> Origin:
    return Origin(
        source=takeover.source,
        reference=row.reference,
        began_date=row.began_date,
        principal_agreed=row.principal_agreed,
        cut_over_at=takeover.cut_over_at,
        interest=row.interest or money.ZERO,
        fees=row.fees,
        paper=row.paper,
        paper_sha256=row.paper_sha256,
        outstanding=row.outstanding if row.product.is_line else None,
        unused=row.unused_fee,
        fixing=row.fixing,
        to_come=row.to_come,
        next_due_date=row.next_due_date,
    )


def _fees(row: LoanRow) -> Decimal:
    """Return all fees that are due here: what had accrued there and was not charged yet is charged day by day here."""
    with money.exact():
        return row.fees + (row.unused_fee or money.ZERO)


def _kept_origin(takeover: Takeover, loan: Loan, row: LoanRow) -> LoanOrigin:
    return LoanOrigin(
        loan=loan,
        client=row.client,
        takeover=takeover,
        source=takeover.source,
        reference=row.reference,
        principal_agreed=row.principal_agreed,
        principal=row.outstanding,
        interest=row.interest or money.ZERO,
        fees=row.fees,
        unused=row.unused_fee or money.ZERO,
        fixing=row.fixing,
        paper=row.paper,
        paper_sha256=row.paper_sha256,
    )


def _drawn(row: LoanRow, public_id: UUID, origin: Origin, pool: Sequence[LoanRow], now: datetime) -> term_sheets.Drawn:
    """Return the term sheet of a loan: the haircuts are those of its whole pool, the quantities were pledged for it."""
    haircuts = {code: off for other in (*pool, row) for code, off in other.haircuts.items()}
    return offers.drawn_sheet(
        public_id=public_id,
        client=row.client,
        product=row.product,
        loan_terms=row.terms,
        ladder=row.ladder,
        kind=_kind(row),
        collateral={asset.code: quantity for asset, quantity in row.pledges.items()},
        haircuts=haircuts,
        origin=origin,
        now=now,
    )
