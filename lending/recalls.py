"""
Recalls: either side ends a loan that has no fixed end, with the notice of its terms.

The desk's notice is asked for by one person and given by another; a borrower's signer gives the client's own. Until the
notice is over two persons may take it back, whoever gave it. Afterwards the loan is due like any other.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from django.db import transaction

from lending import (
    access,
    approvals,
    authority,
    calendars,
    interest,
    loans,
    margin_accounts,
    notices,
    obligations,
    reasons,
)
from lending.engine import money
from lending.models import Approval, Loan, LoanState, Obligation, Role, SigningRule, User
from lending.notices import Letter

RECALL = "recall_loan"
KEEP = "keep_loan"
ASKERS = frozenset({Role.RELATIONSHIP_MANAGER, Role.RISK, Role.RISK_HEAD, Role.DESK_HEAD})


class UnableToRecall(Exception):
    """A loan can not be ended like that, or its notice not be taken back; the message says why."""


def end_date(loan: Loan, *, now: datetime) -> date:
    """
    Return the day on which a loan ends if notice is given now.

    A notice counts as given on the day itself, or on the next one on which money moves; the days of notice follow it.
    """
    given = calendars.following(loan.calendar, now.astimezone(UTC).date())
    return calendars.after(loan.calendar, given, loan.notice_days)


def waiting(loan: Loan, *, now: datetime) -> Approval | None:
    """Return what was asked about the end of a loan and is not decided yet."""
    rows = Approval.objects.filter(kind__in=(RECALL, KEEP), client=loan.client_id, state=Approval.State.REQUESTED)
    found = rows.filter(payload__loan=str(loan.public_id), expires_at__gt=now)
    return found.select_related("maker").order_by("pk").first()


def ask(loan: Loan, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to recall a running loan that has no fixed end.

    Raises
    ------
    UnableToRecall
        If it has a fixed end or does not run, no reason is given, or something is asked about its end already.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    _check_running(loan)
    return _ask(RECALL, loan, {"notice_days": loan.notice_days}, reason, maker, now)


def ask_to_keep(loan: Loan, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to take back the notice that ends a loan, so that it runs on.

    Raises
    ------
    UnableToRecall
        If no notice was given or it is over, no reason is given, or something is asked about its end already.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    _check_under_notice(loan, now)
    return _ask(KEEP, loan, {"would_end_on": str(loan.ends_on)}, reason, maker, now)


def _ask(kind: str, loan: Loan, facts: Mapping[str, Any], reason: str, maker: User, now: datetime) -> Approval:
    access.require_role(maker, *ASKERS)
    access.require_client(maker, loan.client)
    said = reasons.kept(reason, UnableToRecall, missing="say why: the second person reads it")
    if waiting(loan, now=now) is not None:
        raise UnableToRecall("something is asked about its end already, and waits for a second person")
    payload = {"loan": str(loan.public_id), **facts, "reason": said}
    return approvals.request(kind, payload, maker=maker, now=now, client=loan.client)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Loan:
    """
    Recall a loan, or take the notice back, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be done any more, because of what happened meanwhile.
    """
    loan = loans.lock(Loan.objects.get(public_id=approval.payload["loan"]))
    # The reason is the desk's own: a cause is read by the client as well.
    evidence = {"approval": str(approval.public_id), "asked_by": approval.maker.email}
    evidence |= {"reason": approval.payload["reason"]}
    try:
        if approval.kind == RECALL:
            _check_running(loan)
            _end(loan, actor=approval.checker, cause="recalled by the desk", evidence=evidence, now=now)
        else:
            _check_under_notice(loan, now)
            _run_on(loan, actor=approval.checker, cause="the notice was taken back", evidence=evidence, now=now)
    except UnableToRecall as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    return loan


@transaction.atomic
def give_notice(loan: Loan, *, by: User, now: datetime) -> Loan:
    """
    End a running loan on behalf of its client, with the notice of its terms.

    Raises
    ------
    UnableToRecall
        If the loan has a fixed end or does not run.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not for paying this back by its authority matrix.
    """
    loan = loans.lock(loan)
    authority.require(by, loan.client, SigningRule.Action.REPAY, asset=loan.asset, amount=loan.principal_outstanding)
    _check_running(loan)
    _end(loan, actor=by, cause="notice given by the client", evidence={}, now=now)
    return loan


def _end(loan: Loan, *, actor: User | None, cause: str, evidence: Mapping[str, Any], now: datetime) -> None:
    ends_on = end_date(loan, now=now)
    by_then = obligations.default_at(loan.calendar, ends_on, loan.grace_days)
    loans.transition(
        loan,
        LoanState.RECALLED,
        actor=actor,
        cause=cause,
        evidence={**evidence, "ends_on": str(ends_on)},
        now=now,
        ends_on=ends_on,
        default_at=min(by_then, interest.default_at(loan)),
    )
    asked = obligations.recall(loan, now=now)
    margin_accounts.touch(margin_accounts.lock(loan.margin_account_id))
    notices.enqueue([_letter(loan, asked, by_client=not evidence)], now=now)


def _run_on(loan: Loan, *, actor: User | None, cause: str, evidence: Mapping[str, Any], now: datetime) -> None:
    ended_on = loan.ends_on
    if ended_on is None:
        raise UnableToRecall("no notice is running that could be taken back")
    # A default that a sale has only put off is not undone by this.
    earlier = interest.default_at(loan) if interest.default_at(loan) < obligations.agreed_default(loan) else None
    loans.transition(
        loan, LoanState.ACTIVE, actor=actor, cause=cause, evidence=evidence, now=now, ends_on=None, default_at=earlier
    )
    obligations.resume(loan, ended_on)
    margin_accounts.touch(margin_accounts.lock(loan.margin_account_id))
    body = (
        f"The notice that was to end your loan of {_money(loan)} is taken back: the loan runs on as before, with "
        "interest as its terms say. Nothing is to be paid because of that notice."
    )
    letter = Letter(
        client=loan.client,
        kind="recall_taken_back",
        subject=f"Your loan {_short(loan)} runs on",
        body=body,
        key=f"keep:{loan.public_id}:{now.isoformat()}",
        margin_account=loan.margin_account,
    )
    notices.enqueue([letter], now=now)


def _letter(loan: Loan, asked: Obligation, *, by_client: bool) -> Letter:
    who = "As you told us, your loan" if by_client else "We recall your loan: it"
    amount = f"{money.quantize_up(asked.asks, loan.asset.decimals):,f} {loan.asset.code}"
    lines = [
        (
            f"{who} of {_money(loan)} ends with {loan.notice}. All that is left of it, {amount} if nothing is paid "
            f"before, is to be paid on {asked.due_at:%A, %d %B %Y}."
        ),
        (
            "You may pay earlier: interest runs until it is paid, and the portal says what pays the loan off at each "
            "instant. Pay in to the loan's repayment address, or from your free balance in the portal."
        ),
        f"Not paid by {asked.default_at:%d %b %Y %H:%M} UTC, the loan is in default.",
    ]
    return Letter(
        client=loan.client,
        kind="loan_recalled",
        subject=f"Loan {_short(loan)} ends on {asked.due_at:%d %b %Y}",
        body="\n".join(lines),
        key=f"recall:{loan.public_id}:{asked.pk}",
        margin_account=loan.margin_account,
    )


def _check_running(loan: Loan) -> None:
    if loan.has_fixed_end:
        raise UnableToRecall(f"it is a loan of a fixed term and ends on {loan.maturity_date}")
    if loan.state != LoanState.ACTIVE:
        raise UnableToRecall(f"it is {loan.get_state_display().lower()}: only a running loan is ended with notice")


def _check_under_notice(loan: Loan, now: datetime) -> None:
    if loan.state != LoanState.RECALLED or now >= interest.maturity_at(loan):
        raise UnableToRecall("no notice is running that could be taken back")


def _money(loan: Loan) -> str:
    return f"{loan.principal_outstanding.normalize():,f} {loan.asset.code}"


def _short(loan: Loan) -> str:
    return str(loan.public_id)[:8]
