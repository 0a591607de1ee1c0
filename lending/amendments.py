"""
Amendments: other terms for a loan that runs, by the consent of both sides.

A relationship manager proposes them, a second person of the desk approves them, a signer of the client accepts them by
the hash of the new version of the term sheet: only then do they hold, from the signature on or, where it is a rate
alone, from a later instant. The past is never amended.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Exists, JSONField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject

from lending import (
    access,
    amendment_letters,
    audit,
    authority,
    events,
    in_force,
    loans,
    margin_accounts,
    one_by_one,
    reasons,
    screening,
    term_sheets,
)
from lending.engine import figures
from lending.models import (
    AMENDMENT_TRANSITIONS,
    UNSIGNED_AMENDMENTS,
    Amendment,
    Client,
    JointSignature,
    Loan,
    Overdue,
    Role,
    SigningRule,
    User,
)
from lending.other_terms import (
    RUNNING,
    UnableToAmend,
    Wanted,
    check_running,
    preview,
)

ENDED_BY_DESK = frozenset({Role.RELATIONSHIP_MANAGER, Role.RISK, Role.RISK_HEAD})
_State = Amendment.State
_ACT = "amend"
UNSIGNED = UNSIGNED_AMENDMENTS
OPEN = (*UNSIGNED, _State.AGREED)
SHOWN = (
    _State.APPROVED,
    _State.AGREED,
)  # of the open ones, to the client: what nobody has approved never left the desk


@transaction.atomic
def propose(loan: Loan, wanted: Wanted, *, reason: str, expires_at: datetime, maker: User, now: datetime) -> Amendment:
    """
    Propose other terms for a running loan, to be signed until an instant: draw the next version of its term sheet.

    Raises
    ------
    UnableToAmend
        If the loan does not run, nothing would change, a term is none that it can have, rates would count from the
        past or a later instant is named for more than rates, no reason is given, or another amendment is open.
    lending.access.UnableToAccess
        If the maker is no relationship manager who sees the client.
    """
    access.require_role(maker, Role.RELATIONSHIP_MANAGER)
    access.require_client(maker, loan.client)
    _check_business(loan.client)
    loan = loans.lock(loan)
    said = _said(reason)
    if open_of(loan) is not None:
        raise UnableToAmend("another amendment of this loan is open: withdraw it first, or wait until it is in force")
    drawn = preview(loan, wanted, expires_at=expires_at, now=now).drawn
    standing = term_sheets.newest(loan)
    last = term_sheets.versions(loan).values_list("version", flat=True).first() or 0
    sheet = term_sheets.new(loan, drawn, version=last + 1, made_by=maker, now=now)
    sheet.save(force_insert=True)
    made = Amendment.objects.create(
        client=loan.client,
        loan=loan,
        sheet=sheet,
        instead_of=standing,
        from_at=wanted.from_at,
        expires_at=expires_at,
        reason=said,
        maker=maker,
        proposed_at=now,
    )
    _remember(made, "", actor=maker, reason=said, now=now)
    return made


@transaction.atomic
def approve(amendment: Amendment, *, by: User, now: datetime) -> Amendment:
    """
    Approve a proposal as the second person, and ask the client to sign it.

    Raises
    ------
    UnableToAmend
        If it does not wait for a second person, or its time is over.
    lending.access.UnableToAccess
        If `by` proposed it, manages the client, or holds no risk role.
    """
    row = _locked(amendment)
    access.require_checker(by, client=row.client, maker=row.maker)
    _check_business(row.client)
    _step(row, _State.APPROVED, actor=by, now=now, checker=by, checked_at=now)
    amendment_letters.offer(row, now=now)
    return row


@transaction.atomic
def reject(amendment: Amendment, *, by: User, reason: str, now: datetime) -> Amendment:
    """Reject a proposal as the second person, with a reason; raises as `approve` does."""
    row = _locked(amendment)
    access.require_checker(by, client=row.client, maker=row.maker)
    said = _said(reason)
    _step(row, _State.REJECTED, actor=by, now=now, reason=said, checker=by, checked_at=now)
    amendment_letters.to_desk(row, f"{by} rejected it: {said}", now=now)
    return row


@transaction.atomic
def withdraw(amendment: Amendment, *, by: User, reason: str, now: datetime) -> Amendment:
    """
    Take a proposal back before the client has signed it.

    Raises
    ------
    UnableToAmend
        If it is signed or over already, or no reason is given.
    lending.access.UnableToAccess
        If `by` is neither of risk nor a relationship manager who sees the client.
    """
    row = _locked(amendment)
    access.require_role(by, *ENDED_BY_DESK)
    access.require_client(by, row.client)
    said, known = _said(reason), row.state == _State.APPROVED
    _step(row, _State.WITHDRAWN, actor=by, now=now, reason=said)
    if known:
        amendment_letters.over(row, "A change of your loan was withdrawn", now=now)
    return row


@transaction.atomic
def decline(amendment: Amendment, *, by: User, reason: str, now: datetime) -> Amendment:
    """
    Turn a proposal down on behalf of the client; a reason may be empty.

    Raises
    ------
    UnableToAmend
        If it does not wait for the client, or the reason is too long.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    row = _locked(amendment)
    loan = row.loan
    authority.require(by, row.client, SigningRule.Action.ACCEPT, asset=loan.asset, amount=loan.principal)
    said = _said(reason, needed=False)
    _step(row, _State.DECLINED, actor=by, now=now, reason=said)
    amendment_letters.to_desk(row, f"{by} declined it{f': {said}' if said else ''}", now=now)
    return row


@transaction.atomic
def sign(amendment: Amendment, *, by: User, read: str | None, now: datetime) -> Amendment:
    """
    Accept a proposal on behalf of the client, which binds the signer to its hash and puts it in force.

    Where two sign jointly, it waits until the second has signed the same sheet.

    `read` is the hash of what the signer had in sight, where the door knows it.

    Raises
    ------
    UnableToAmend
        If it does not wait for the client, its time is over, other terms were read, the loan does not run any more or
        its account is frozen, or a payment is due that has not been made.
    lending.access.UnableToAccess
        If `by` may not sign for the client.
    """
    account = margin_accounts.lock(amendment.loan.margin_account_id)
    row = _locked(amendment)
    loan = loans.locked(row.loan)
    row.loan = row.sheet.loan = loan
    access.require_signer(by, row.client)
    try:
        screening.check_new_business(row.client)
    except screening.UnableToDeal as refusal:
        # Nobody is told by a page that they stand on a list.
        raise UnableToAmend("it can not be signed just now; your contact at the desk knows more") from refusal
    _check_step(row, _State.AGREED, now)
    check_running(loan, now)
    if account.frozen:
        raise UnableToAmend("the account is frozen, and nothing about it changes meanwhile")
    try:
        sheet = term_sheets.sign(row.sheet, act=_ACT, until=row.expires_at, by=by, read=read, now=now)
    except term_sheets.UnableToAgree as refusal:
        raise UnableToAmend(str(refusal)) from refusal
    if sheet is None:
        return row
    _step(row, _State.AGREED, actor=by, now=now, signer=by, agreed_at=now)
    in_force.agree(row, loan, account, now=now)
    if row.from_at is None:
        in_force.put(row, loan, actor=by, now=now)
        _step(row, _State.IN_FORCE, actor=by, now=now, in_force_at=now)
    margin_accounts.touch(account)
    amendment_letters.agreed(row, now=now)
    amendment_letters.to_desk(row, f"{by} signed it", now=now)
    return row


def sign_jointly(row: JointSignature, *, by: User, now: datetime) -> None:
    """Sign a proposal as its second signer; lending.authority.UnableToSign if it can not be signed any more."""
    waiting = Amendment.objects.filter(loan=row.loan, state=_State.APPROVED).select_related("sheet", "loan", "client")
    found = next((one for one in waiting if one.sheet.fingerprint == row.content["sheet"]), None)
    if found is None:
        raise authority.UnableToSign("the change that it is about is over")
    try:
        sign(found, by=by, read=row.content["sheet"], now=now)
    except UnableToAmend as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def work_due(*, now: datetime) -> int:
    """
    Put in force what was agreed for an instant that has come, end what nobody signed in time, and return how many.

    What was proposed for a loan that does not run any more ends as well.
    """
    late = Q(expires_at__lte=now) | ~Q(loan__state__in=RUNNING)
    due = Amendment.objects.filter(Q(state=_State.AGREED, from_at__lte=now) | Q(late, state__in=UNSIGNED))
    rows = [(row.loan, partial(_work, row, now)) for row in due.select_related("loan").order_by("pk")]
    return one_by_one.work(Overdue.Kind.AMENDMENT, rows, now=now)


@transaction.atomic
def _work(found: Amendment, now: datetime) -> int:
    account = margin_accounts.lock(found.loan.margin_account_id)
    row = _locked(found)
    loan = loans.locked(row.loan)
    row.loan = row.sheet.loan = loan
    if row.state == _State.AGREED:
        in_force.put(row, loan, actor=row.signer, now=now)
        _step(row, _State.IN_FORCE, actor=row.signer, now=now, in_force_at=now)
        margin_accounts.touch(account)
    elif row.state in UNSIGNED:
        known = row.state == _State.APPROVED
        why = "nobody signed it in time" if now >= row.expires_at else "the loan does not run any more"
        _step(row, _State.EXPIRED, actor=None, now=now, reason=why)
        if known:
            amendment_letters.over(row, "A change of your loan has lapsed", now=now)
        amendment_letters.to_desk(row, f"it has lapsed: {why}", now=now)
    else:
        return 0
    return 1


# --- what pages ask ---------------------------------------------------------------------------------------------------


def signed_first(row: Amendment, *, now: datetime) -> JointSignature | None:
    """Return the signature under a proposal that waits for a second one."""
    waiting = authority.waiting([row.client], now=now)
    return waiting.filter(loan=row.loan, content__sheet=row.sheet.fingerprint).first()


def shown_to(clients: Iterable[Client]) -> QuerySet[Amendment]:
    """Return the amendments that some clients may know of: what the desk has not approved never left it."""
    return Amendment.objects.filter(client__in=clients, checked_at__isnull=False).exclude(state=_State.REJECTED)


def open_to(clients: Iterable[Client]) -> QuerySet[Amendment]:
    """Return the amendments that wait for some clients, or for their day, the first to end on top."""
    rows = shown_to(clients).filter(state__in=OPEN)
    return rows.select_related("sheet", "loan__asset").order_by("expires_at", "pk")


def beside(rows: QuerySet[Loan]) -> QuerySet[Loan]:
    """Return loans with what a page says of their newest amendment as `amendment`, in the query that reads them."""
    facts = JSONObject(
        pk="pk", public_id="public_id", version="sheet__version", state="state", reason="reason",
        proposed_at="proposed_at", expires_at="expires_at", from_at="from_at", maker_id="maker", maker="maker__name",
    )  # fmt: skip
    newest = Amendment.objects.filter(loan=OuterRef("pk")).order_by("-pk").values(facts=facts)[:1]
    return rows.annotate(amendment=Subquery(newest, output_field=JSONField()))


def with_open(rows: QuerySet[Loan], states: Iterable[str]) -> QuerySet[Loan]:
    """Return those of some loans that are in one of some states, or have an amendment that is not over."""
    under_way = Amendment.objects.filter(loan=OuterRef("pk"), state__in=OPEN)
    return beside(rows).filter(Q(state__in=list(states)) | Exists(under_way))


def open_of(loan: Loan) -> Amendment | None:
    """Return the amendment of a loan that is not over: to be approved or signed, or to come into force."""
    rows = Amendment.objects.filter(loan=loan, state__in=OPEN)
    return rows.select_related("sheet", "maker", "client", "loan__asset").first()


# --- the steps and who hears of them ----------------------------------------------------------------------------------


def _check_business(client: Client) -> None:
    try:
        screening.check_new_business(client)
    except screening.UnableToDeal as refusal:
        raise UnableToAmend(str(refusal)) from refusal


def _said(reason: str, *, needed: bool = True) -> str:
    return reasons.kept(reason, UnableToAmend, missing="say why: the other side reads it" if needed else "")


def _locked(amendment: Amendment) -> Amendment:
    rows = Amendment.objects.select_for_update(of=("self",))
    return rows.select_related("sheet", "client", "maker", "signer", "loan__asset", "loan__margin_account").get(
        pk=amendment.pk
    )


def _check_step(row: Amendment, state: Amendment.State, now: datetime) -> None:
    if (row.state, state) not in AMENDMENT_TRANSITIONS:
        raise UnableToAmend(f"this amendment {_IS[_State(row.state)]}")
    if state in (_State.APPROVED, _State.AGREED) and now >= row.expires_at:
        raise UnableToAmend(f"its time was over at {figures.instant(row.expires_at)}: a new one is to be proposed")


_IS = {
    _State.PROPOSED: "still waits for a second person of the desk",
    _State.APPROVED: "waits for the client",
    _State.AGREED: "is agreed already",
    _State.IN_FORCE: "is in force already",
    _State.REJECTED: "was rejected by the desk",
    _State.DECLINED: "was declined by the client",
    _State.WITHDRAWN: "was withdrawn",
    _State.EXPIRED: "has expired",
}


def _step(
    row: Amendment, state: Amendment.State, *, actor: User | None, now: datetime, reason: str = "", **values: Any
) -> None:
    """Take a step of a locked amendment, and remember it."""
    _check_step(row, state, now)
    before = row.state
    if state in (_State.REJECTED, _State.DECLINED, _State.WITHDRAWN, _State.EXPIRED):
        values |= {"ended_by": actor, "ended_at": now, "end_reason": reason}
        authority.void(row.loan, _ACT, by=actor, now=now)
    for name, value in {"state": state, **values}.items():
        setattr(row, name, value)
    row.save(update_fields=["state", *values])
    _remember(row, before, actor=actor, reason=reason, now=now)


def _remember(row: Amendment, before: str, *, actor: User | None, reason: str, now: datetime) -> None:
    was = {"state": str(before)} if before else {}
    after = {"state": str(row.state), **row.sheet.as_evidence, "loan": str(row.loan.public_id)}
    audit.write("amendment_step", actor=actor, obj=row, before=was, after=after, reason=reason, now=now)
    facts = {"loan": str(row.loan.public_id), "amendment": str(row.public_id), **row.sheet.as_evidence}
    events.emit("loans", f"amendment_{row.state}", facts, client_id=row.client_id, now=now)
