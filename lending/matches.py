"""Matches with a sanctions list: decided by compliance; two persons clear a confirmed one."""

from datetime import datetime

from django.db import transaction

from lending import access, approvals, audit, events, margin_accounts, reasons
from lending.models import Approval, MarginAccount, Role, ScreeningMatch, User

CLEAR = "clear_match"
DECIDERS = frozenset({Role.COMPLIANCE})
_State = ScreeningMatch.State


class UnableToDecide(Exception):
    """A match can not be decided; the message says why."""


@transaction.atomic
def decide(row: ScreeningMatch, *, is_true: bool, reason: str, by: User, now: datetime) -> ScreeningMatch:
    """
    Say whether an open match means the client; a true one stops its new business and all that goes out.

    Raises
    ------
    UnableToDecide
        If it is not open any more, or no reason is given, or too long a one.
    lending.access.UnableToAccess
        If the user is not of compliance.
    """
    access.require_role(by, *DECIDERS)
    said = _said(reason)
    # Whatever goes out holds its account's lock: it goes before this, or not at all.
    accounts = MarginAccount.objects.filter(client=row.client_id).values_list("pk", flat=True)
    margin_accounts.touch(*margin_accounts.lock_many(accounts))
    match = ScreeningMatch.objects.select_for_update().get(pk=row.pk)
    if match.state != _State.OPEN or match.ended_at:
        raise UnableToDecide("it is decided already, or was found anew with other facts")
    match.state = _State.TRUE_MATCH if is_true else _State.FALSE_POSITIVE
    match.decided_by, match.decided_at, match.reason = by, now, said
    match.save(update_fields=["state", "decided_by", "decided_at", "reason"])
    _tell(match, by, said, now)
    return match


def ask_to_clear(row: ScreeningMatch, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person of compliance to clear a confirmed match.

    Raises
    ------
    UnableToDecide
        If it is not confirmed, no reason is given, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is not of compliance.
    """
    access.require_role(maker, *DECIDERS)
    said = _said(reason)
    if row.state != _State.TRUE_MATCH:
        raise UnableToDecide("it is not a confirmed match")
    if waiting(row, now=now) is not None:
        raise UnableToDecide("it was asked for already")
    payload = {"match": str(row.public_id), "score": row.score, "reason": said}
    # Without the client: its relationship manager, who meets it, is not to read of it.
    return approvals.request(CLEAR, payload, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> ScreeningMatch:
    """
    Clear a confirmed match as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is not a confirmed match any more.
    """
    match = ScreeningMatch.objects.select_for_update().get(public_id=approval.payload["match"])
    if match.state != _State.TRUE_MATCH:
        raise approvals.UnableToApprove("it is not a confirmed match any more")
    match.state = _State.CLEARED
    match.clear_maker, match.clear_checker = approval.maker, approval.checker
    match.clear_reason = approval.payload["reason"]
    match.save(update_fields=["state", "clear_maker", "clear_checker", "clear_reason"])
    _tell(match, approval.checker, match.clear_reason, now)
    return match


def waiting(row: ScreeningMatch, *, now: datetime) -> Approval | None:
    """Return the request to clear a match that nobody has decided yet."""
    asked = Approval.objects.filter(kind=CLEAR, state=Approval.State.REQUESTED, expires_at__gt=now)
    return asked.filter(payload__match=str(row.public_id)).select_related("maker").first()


def _tell(match: ScreeningMatch, by: User | None, reason: str, now: datetime) -> None:
    audit.write("sanctions_match_decided", actor=by, obj=match, after={"state": match.state}, reason=reason, now=now)
    facts = {"match": str(match.public_id), "state": match.state}
    events.emit("compliance", "match_decided", facts, client_id=match.client_id, now=now)


def _said(reason: str) -> str:
    return reasons.kept(reason, UnableToDecide, missing="say why")
