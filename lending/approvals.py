"""
Two pairs of eyes: a request bound to the hash of its exact payload, decided by another person, executed once.

`settings.LENDING_APPROVAL_EXECUTORS` names, for a kind that is carried out as soon as it is approved, a function
`(approval, *, now)` by dotted path; what has none waits for the job that asks for it with `execute`.
`settings.LENDING_APPROVAL_CHECKERS` names the roles that decide a kind that not every approver may.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from lending import access, audit, reasons
from lending.models import Approval, Client, Role, User

TIME_TO_LIVE = timedelta(hours=24)
OPEN = (Approval.State.REQUESTED, Approval.State.APPROVED)


class UnableToApprove(Exception):
    """An approval can not be asked for, decided or executed; the message says why."""


def payload_hash(kind: str, payload: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of what is to be approved, in canonical JSON."""
    text = json.dumps([kind, payload], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def request(
    kind: str,
    payload: Mapping[str, Any],
    *,
    maker: User,
    now: datetime,
    client: Client | None = None,
    time_to_live: timedelta = TIME_TO_LIVE,
) -> Approval:
    """Ask for a second person's decision about an exact payload (JSON values only), open until it expires."""
    return Approval.objects.create(
        kind=kind,
        client=client,
        payload=dict(payload),
        payload_hash=payload_hash(kind, payload),
        maker=maker,
        requested_at=now,
        expires_at=now + time_to_live,
    )


@transaction.atomic
def decide(approval: Approval, *, checker: User, approve: bool, now: datetime, reason: str = "") -> Approval:
    """
    Approve or reject a request as the second person, and carry out at once what has an executor.

    What is refused when it is carried out leaves the request as it was: open, to be tried again or rejected.

    Raises
    ------
    UnableToApprove
        If it is not open, has expired, the checker made it, the reason is too long to keep, or what was asked for is
        refused.
    lending.access.UnableToAccess
        If the checker manages the client, or holds no approving role.
    """
    row = _lock(approval)
    if row.state != Approval.State.REQUESTED:
        raise UnableToApprove(f"this request is {row.get_state_display().lower()} already")
    if now >= row.expires_at:
        raise UnableToApprove(f"this request expired at {row.expires_at:%Y-%m-%d %H:%M} UTC; make a new one")
    if checker.pk == row.maker_id:
        raise UnableToApprove(f"{checker} made this request and can not decide it")
    roles = frozenset(map(Role, settings.LENDING_APPROVAL_CHECKERS.get(row.kind, access.APPROVERS)))
    if row.client is not None:
        access.require_checker(checker, client=row.client, maker=row.maker, roles=roles)
    else:
        access.require_role(checker, *roles)
    row.state = Approval.State.APPROVED if approve else Approval.State.REJECTED
    row.checker, row.decided_at, row.reason = checker, now, reasons.kept(reason, UnableToApprove)
    row.save(update_fields=["state", "checker", "decided_at", "reason"])
    _write(row, actor=checker, now=now)
    executor = settings.LENDING_APPROVAL_EXECUTORS.get(row.kind)
    if approve and executor:
        row = execute(row, row.payload, now=now)
        import_string(executor)(row, now=now)
    return row


def waiting(*kinds: str, now: datetime) -> list[Approval]:
    """Return the requests of some kinds that wait for a second person, the oldest first."""
    found = Approval.objects.filter(kind__in=kinds, state=Approval.State.REQUESTED, expires_at__gt=now)
    return list(found.select_related("maker").order_by("requested_at", "pk"))


@transaction.atomic
def withdraw(approval: Approval, *, by: User, now: datetime) -> Approval:
    """
    Take back a request, or an approval that was not used yet; the door has checked that it is theirs to take back.

    Raises
    ------
    UnableToApprove
        If it is rejected, used, or over already.
    """
    row = _lock(approval)
    if row.state not in OPEN:
        raise UnableToApprove(f"this request is {row.get_state_display().lower()} already")
    row.state = Approval.State.WITHDRAWN
    row.save(update_fields=["state"])
    _write(row, actor=by, now=now)
    return row


@transaction.atomic
def execute(approval: Approval, payload: Mapping[str, Any], *, now: datetime) -> Approval:
    """
    Use an approval, once, for exactly the payload that was approved; the caller acts in the same transaction.

    Raises
    ------
    UnableToApprove
        If it is not approved or was used, has expired, or the payload is not what was approved.
    """
    row = _lock(approval)
    if row.state != Approval.State.APPROVED:
        raise UnableToApprove(f"this request is {row.get_state_display().lower()}, not approved")
    if now >= row.expires_at:
        raise UnableToApprove(f"this approval expired at {row.expires_at:%Y-%m-%d %H:%M} UTC; ask again")
    if payload_hash(row.kind, payload) != bytes(row.payload_hash):
        raise UnableToApprove("this is not what was approved")
    row.state, row.executed_at = Approval.State.EXECUTED, now
    row.save(update_fields=["state", "executed_at"])
    _write(row, actor=row.checker, now=now)
    return row


def expire_due(*, now: datetime) -> int:
    """Close requests and unused approvals whose time is over, and return how many."""
    return Approval.objects.filter(state__in=OPEN, expires_at__lte=now).update(state=Approval.State.EXPIRED)


def _write(row: Approval, *, actor: User | None, now: datetime) -> None:
    facts = {"state": row.state, "kind": row.kind, "payload": row.payload, "maker": row.maker.email}
    audit.write("approval_step", actor=actor, obj=row, after=facts, reason=row.reason, now=now)


def _lock(approval: Approval) -> Approval:
    rows = Approval.objects.select_for_update(of=("self",))
    return rows.select_related("maker", "checker", "client").get(pk=approval.pk)
