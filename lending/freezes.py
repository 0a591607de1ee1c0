"""Freezes of a margin account: whoever sees danger stops it alone; setting it free takes two persons."""

from datetime import datetime

from django.db import transaction

from lending import access, approvals, audit, events, margin_accounts, reasons
from lending.models import Approval, Freeze, MarginAccount, Role, User

LIFT = "unfreeze"
FREEZERS = access.RISK_ROLES | {Role.COMPLIANCE}


class UnableToFreeze(Exception):
    """An account can not be frozen or set free; the message says why."""


@transaction.atomic
def freeze(account: MarginAccount, *, reason: str, by: User, now: datetime) -> Freeze:
    """
    Stop a margin account: nothing is drawn, released or sold, and its clocks stand still; cures go through.

    Raises
    ------
    UnableToFreeze
        If it is frozen already, or no reason is given, or too long a one.
    lending.access.UnableToAccess
        If the user is neither of risk nor of compliance.
    """
    access.require_role(by, *FREEZERS)
    said = _said(reason)
    account = margin_accounts.lock(account.pk)
    if account.frozen:
        raise UnableToFreeze("it is frozen already")
    row = Freeze.objects.create(
        client_id=account.client_id, margin_account=account, frozen_at=now, frozen_by=by, reason=said
    )
    _set(account, frozen=True, by=by, reason=said, now=now)
    return row


def ask_to_lift(account: MarginAccount, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to set a frozen account free.

    Raises
    ------
    UnableToFreeze
        If it is not frozen, no reason is given, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is neither of risk nor of compliance.
    """
    access.require_role(maker, *FREEZERS)
    said = _said(reason)
    row = current(account)
    if row is None:
        raise UnableToFreeze("it is not frozen")
    if waiting(row, now=now) is not None:
        raise UnableToFreeze("it was asked for already")
    payload = {"margin_account": str(account.public_id), "frozen_at": row.frozen_at.isoformat(), "reason": said}
    return approvals.request(LIFT, payload, maker=maker, now=now, client=account.client)


@transaction.atomic
def lift(approval: Approval, *, now: datetime) -> Freeze:
    """
    Set an account free, as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the freeze that was meant is over.
    """
    asked = approval.payload
    account = margin_accounts.lock(MarginAccount.objects.get(public_id=asked["margin_account"]).pk)
    row = current(account)
    if row is None or row.frozen_at.isoformat() != asked["frozen_at"]:
        raise approvals.UnableToApprove("the freeze that was meant is over")
    row.lifted_at, row.lift_maker, row.lift_checker = now, approval.maker, approval.checker
    row.lift_reason = asked["reason"]
    row.save(update_fields=["lifted_at", "lift_maker", "lift_checker", "lift_reason"])
    _set(account, frozen=False, by=approval.checker, reason=asked["reason"], now=now)
    return row


def current(account: MarginAccount) -> Freeze | None:
    """Return the freeze that an account is under."""
    found = Freeze.objects.filter(margin_account=account, lifted_at=None)
    return found.select_related("frozen_by", "margin_account").first()


def waiting(row: Freeze, *, now: datetime) -> Approval | None:
    """Return the request to lift a freeze that nobody has decided yet."""
    meant = {
        "payload__margin_account": str(row.margin_account.public_id),
        "payload__frozen_at": row.frozen_at.isoformat(),
    }
    undecided = Approval.objects.filter(
        kind=LIFT, client=row.client_id, state=Approval.State.REQUESTED, expires_at__gt=now, **meant
    )
    return undecided.select_related("maker").first()


def _set(account: MarginAccount, *, frozen: bool, by: User | None, reason: str, now: datetime) -> None:
    account.frozen = frozen
    account.save(update_fields=["frozen"])
    margin_accounts.touch(account)
    what = "frozen" if frozen else "unfrozen"
    before, after = {"frozen": not frozen}, {"frozen": frozen}
    audit.write(f"account_{what}", actor=by, obj=account, before=before, after=after, reason=reason, now=now)
    facts = {"account": str(account.public_id), "summary": f"{account} is {what}: {reason}"}
    events.emit("console", f"account_{what}", facts, client_id=account.client_id, now=now)


def _said(reason: str) -> str:
    return reasons.kept(reason, UnableToFreeze, missing="say why")
