"""Waivers: two persons give up a margin call for a while; a higher level, or the end of the while, brings it back."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from lending import access, approvals, margin_accounts, reasons
from lending.models import Approval, User
from risk import margin_calls
from risk.models import CallLevel, CallState, MarginCall, MarginState, Waiver

KIND = "waive_call"
LONGEST = timedelta(days=7)
REASON_LENGTH = 400
_COVERED = {
    CallLevel.CALL: (MarginState.CALL,),
    CallLevel.ACCELERATED: (MarginState.CALL, MarginState.ACCELERATED),
}


class UnableToWaive(Exception):
    """A call can not be waived; the message says why."""


def ask(call: MarginCall, *, until: datetime, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask the head of risk to give up a call until an instant.

    Raises
    ------
    UnableToWaive
        If the call is closed or in sale, the instant has passed or is more than a week away, no reason is given or
        too long a one, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is not of risk, or manages the client.
    """
    access.require_role(maker, *access.RISK_ROLES)
    _check(call, maker)
    if not now < until <= now + LONGEST:
        raise UnableToWaive("a waiver ends within a week from now")
    said = reasons.kept(reason, UnableToWaive, missing="say why", most=REASON_LENGTH)
    if asked(call, now=now) is not None:
        raise UnableToWaive("it was asked for already")
    payload = {"call": str(call.public_id), "level": call.level, "until": until.isoformat(), "reason": said}
    return approvals.request(KIND, payload, maker=maker, now=now, client=call.client)


def asked(call: MarginCall, *, now: datetime) -> Approval | None:
    """Return the request to waive a call that nobody has decided yet."""
    found = Approval.objects.filter(
        kind=KIND,
        client=call.client_id,
        state=Approval.State.REQUESTED,
        expires_at__gt=now,
        payload__call=str(call.public_id),
    )
    return found.select_related("maker").first()


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Waiver:
    """
    Give a call up as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the call is closed or in sale, has passed a higher level since, or the waiver would be over.
    """
    wanted = approval.payload
    until = datetime.fromisoformat(wanted["until"])
    call = MarginCall.objects.get(public_id=wanted["call"])
    margin_accounts.lock(call.margin_account_id)
    call = margin_calls.locked(call.pk)
    if call.state not in margin_calls.RUNNING:
        raise approvals.UnableToApprove(f"the call is {call.get_state_display().lower()}")
    if call.level != wanted["level"]:
        raise approvals.UnableToApprove("the call stands at another level than when it was asked; ask again")
    if until <= now:
        raise approvals.UnableToApprove("the waiver would be over already")
    if approval.checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    reason = f"waived until {until:%Y-%m-%d %H:%M} UTC"
    row = grant(call, until=until, reason=wanted["reason"], maker=approval.maker, checker=approval.checker, now=now)
    margin_calls.close(call, CallState.WAIVED, reason, now=now)
    return row


def grant(call: MarginCall, *, until: datetime, reason: str, maker: User, checker: User, now: datetime) -> Waiver:
    """Write down that two persons have given a call up; the caller closes it, under the account's lock."""
    return Waiver.objects.create(
        client_id=call.client_id,
        margin_account_id=call.margin_account_id,
        call=call,
        level=call.level,
        reason=reason[:REASON_LENGTH],
        maker=maker,
        checker=checker,
        granted_at=now,
        until=until,
    )


def active(margin_account_ids: Iterable[int], *, now: datetime) -> dict[int, Waiver]:
    """Return the waiver in force of each of some accounts, in one query; of several the one that ends last."""
    found = Waiver.objects.filter(margin_account__in=list(margin_account_ids), granted_at__lte=now, until__gt=now)
    return {row.margin_account_id: row for row in found.order_by("until", "pk")}


def covers(waiver: Waiver, state: MarginState) -> bool:
    """Return whether a waiver holds at a margin state: never above the level at which it was granted."""
    return state in _COVERED[CallLevel(waiver.level)]


def _check(call: MarginCall, user: User) -> None:
    if call.state not in margin_calls.RUNNING:
        raise UnableToWaive(f"the call is {call.get_state_display().lower()}")
    if call.client.relationship_manager_id == user.pk:
        raise access.UnableToAccess(f"{user} manages {call.client} and can not approve, release or waive for it")
