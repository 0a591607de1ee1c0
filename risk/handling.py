"""Who of the desk works on a margin call, what the client said to them, and what they noted: each step is kept."""

from datetime import datetime

from django.db import transaction

from lending import access, audit, events, margin_accounts
from lending.models import User
from risk import margin_calls
from risk.incidents import CONSOLE
from risk.models import OPEN_CALL_STATES, CallEvent, MarginCall

NOTE_LENGTH = 1000


class UnableToClaim(Exception):
    """Somebody else holds the call, or it is closed."""


class UnableToNote(Exception):
    """There is nothing in the note, or too much."""


def claim(call: MarginCall, *, user: User, now: datetime) -> MarginCall:
    """
    Take a call to work on it, so that no two people of the desk do; taking it twice changes nothing.

    Raises
    ------
    UnableToClaim
        If somebody else holds it, or it is closed.
    lending.access.UnableToAccess
        If the user is not of risk.
    """
    with transaction.atomic():
        call = _held(call, user)
        if call.claimed_by_id == user.pk:
            return call
        if call.claimed_by_id is not None:
            raise UnableToClaim(f"{call.claimed_by} has taken this call; take it over if they can not go on")
        _give(call, user, kind="claimed", summary=f"Taken by {user}", now=now)
    return call


def take_over(call: MarginCall, *, user: User, held_by: str, now: datetime) -> MarginCall:
    """
    Take a call from the person who holds it; both names stay in its evidence.

    Parameters
    ----------
    call : MarginCall
    user : User
        Who takes it.
    held_by : str
        Public id of the person from whom the user believes to take it: if another one holds it by now, nobody is
        robbed by mistake.

    Raises
    ------
    UnableToClaim
        If somebody else holds it by now, nobody does, or it is closed.
    lending.access.UnableToAccess
        If the user is not of risk.
    """
    with transaction.atomic():
        call = _held(call, user)
        if call.claimed_by_id == user.pk:
            return call
        holder = call.claimed_by
        if holder is None:
            raise UnableToClaim("nobody holds this call any more; claim it")
        if str(holder.public_id) != held_by:
            raise UnableToClaim(f"{holder} has taken this call since your page was made")
        _give(call, user, kind="taken_over", summary=f"{user} takes over from {holder}", now=now)
    return call


def hand_back(call: MarginCall, *, user: User, now: datetime) -> MarginCall:
    """
    Put a call back into the queue, for somebody else to take.

    Raises
    ------
    UnableToClaim
        If the user does not hold it, or it is closed.
    """
    with transaction.atomic():
        call = _held(call, user)
        if call.claimed_by_id != user.pk:
            raise UnableToClaim("you do not hold this call")
        _give(call, None, kind="handed_back", summary=f"{user} puts the call back into the queue", now=now, actor=user)
    return call


def note(call: MarginCall, text: str, *, user: User, now: datetime) -> CallEvent:
    """
    Keep what a person of the desk has to say about a call; the client never reads it.

    Raises
    ------
    UnableToNote
        If the text is empty or longer than NOTE_LENGTH.
    lending.access.UnableToAccess
        If the user is not of risk.
    """
    access.require_role(user, *access.RISK_ROLES)
    said = _said(text)
    with transaction.atomic():
        event = _keep(call, "noted", actor=user, facts={"note": said}, now=now)
        _announce(call, "call_noted", f"{user} noted: {said[:120]}", now=now)
    return event


def acknowledge(call: MarginCall, *, user: User, spoke_with: str, now: datetime) -> MarginCall:
    """
    Note that the client has acknowledged a call by voice, with the name of who said so.

    That is evidence of receipt too: where the notice has none on two channels yet, the clock starts now.

    Raises
    ------
    UnableToNote
        If no name is given.
    risk.margin_calls.UnableToAcknowledge
        If the call is closed or in sale.
    lending.access.UnableToAccess
        If the user is not of risk.
    """
    access.require_role(user, *access.RISK_ROLES)
    name = _said(spoke_with)
    with transaction.atomic():
        done = margin_calls.acknowledge(call, user=user, now=now, by_voice=True)
        _keep(done, "spoken", actor=user, facts={"spoke_with": name}, now=now)
        _announce(done, "call_spoken", f"{user} spoke with {name}, who acknowledged", now=now)
    return done


def _held(call: MarginCall, user: User) -> MarginCall:
    """Return an open call, read again under its account's lock."""
    access.require_role(user, *access.RISK_ROLES)
    margin_accounts.lock(call.margin_account_id)
    call = margin_calls.locked(call.pk)
    if call.state not in OPEN_CALL_STATES:
        raise UnableToClaim(f"the call is closed: {call.get_state_display().lower()}")
    return call


def _give(
    call: MarginCall, to: User | None, *, kind: str, summary: str, now: datetime, actor: User | None = None
) -> None:
    """Write down who holds a call from now on."""
    before = str(call.claimed_by) if call.claimed_by else None
    call.claimed_by, call.claimed_at = to, now if to else None
    call.save(update_fields=["claimed_by", "claimed_at"])
    facts = {"from": before} if before else {}
    _keep(call, kind, actor=to or actor, facts=facts, now=now)
    _announce(call, f"call_{kind}", summary, now=now)


def _keep(call: MarginCall, kind: str, *, actor: User | None, facts: dict[str, str], now: datetime) -> CallEvent:
    """Keep a step in the call's evidence and on the audit trail."""
    audit.write(f"call.{kind}", actor=actor, obj=call, after=facts, now=now)
    return CallEvent.objects.create(
        client_id=call.client_id, call=call, kind=kind, actor=actor, facts=facts, happened_at=now
    )


def _announce(call: MarginCall, kind: str, summary: str, *, now: datetime) -> None:
    """Tell the console, and it alone: who of the desk does what is not the client's business."""
    payload = {"call": str(call.public_id), "summary": summary}
    events.emit(CONSOLE, kind, payload, client_id=call.client_id, now=now)


def _said(text: str) -> str:
    said = text.strip()
    if not said:
        raise UnableToNote("there is nothing written in it")
    if len(said) > NOTE_LENGTH:
        raise UnableToNote(f"it has {len(said)} characters, and {NOTE_LENGTH} are kept")
    return said
