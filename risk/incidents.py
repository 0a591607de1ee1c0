"""What a person must look at, and why something that was due was not done."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from lending import audit, events, ids
from lending.models import Asset, MarginAccount, User
from risk.models import DecisionLog, Incident, IncidentEvent, PriceSnapshot

CONSOLE = "console"
# A reason that holds on is written again once a minute, not with every poll.
REPEAT_AFTER = timedelta(seconds=60)
NOTE_LENGTH = 1000
UNKNOWN_STATE, SALE_REFUSED, DISPUTE = "unknown_state", "sale_refused", "dispute"
# These end with their cause, which has a door of its own: while it stands, nobody may say that it is over.
CLOSES_BY_ITSELF = frozenset({UNKNOWN_STATE, SALE_REFUSED, DISPUTE})


class UnableToHandle(Exception):
    """Somebody else has the incident, it is closed, or there is nothing in the note."""


def open_once(
    kind: str,
    summary: str,
    *,
    now: datetime,
    margin_account: MarginAccount | None = None,
    asset: Asset | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Incident:
    """Open an incident of one kind for an account or an asset and alert the desk, unless one is open already."""
    subject = Incident.objects.filter(kind=kind, margin_account=margin_account, asset=asset)
    already = subject.filter(closed_at=None).first()
    if already is not None:
        return already
    about = margin_account.public_id if margin_account else asset.code if asset else "platform"
    key = f"{kind}:{about}:{now.isoformat()}"
    incident = Incident.objects.create(
        public_id=ids.derived("incident", key),
        key=key,
        kind=kind,
        asset=asset,
        margin_account=margin_account,
        client_id=margin_account.client_id if margin_account else None,
        summary=summary,
        facts=dict(facts or {}),
        opened_at=now,
    )
    payload = {"incident": str(incident.public_id), "summary": summary}
    events.emit(CONSOLE, "incident_opened", payload, client_id=incident.client_id, now=now)
    return incident


def close(kind: str, *, now: datetime, margin_account: MarginAccount | None = None, asset: Asset | None = None) -> int:
    """Close the open incident of one kind for an account or an asset, and return how many there were."""
    found = list(Incident.objects.filter(kind=kind, margin_account=margin_account, asset=asset, closed_at=None))
    for incident in found:
        Incident.objects.filter(pk=incident.pk).update(closed_at=now)
        payload = {"incident": str(incident.public_id), "summary": f"{incident.summary}: over"}
        events.emit(CONSOLE, "incident_closed", payload, client_id=incident.client_id, now=now)
    return len(found)


def acknowledge(incident: Incident, *, user: User, now: datetime) -> Incident:
    """
    Note who looks into an incident; the first who says so has it.

    Raises
    ------
    UnableToHandle
        If somebody else looks into it.
    """
    with transaction.atomic():
        row = _locked(incident)
        if row.acknowledged_by_id not in (None, user.pk):
            raise UnableToHandle(f"{row.acknowledged_by} looks into it already")
        if row.acknowledged_by_id is None:
            row.acknowledged_by = user
            row.save(update_fields=["acknowledged_by"])
            _keep(row, "acknowledged", f"{user} looks into it", user=user, note="", now=now)
    return row


def note(incident: Incident, text: str, *, user: User, now: datetime) -> IncidentEvent:
    """
    Keep what a person has to say about an incident.

    Raises
    ------
    UnableToHandle
        If the text is empty or longer than NOTE_LENGTH.
    """
    said = _said(text)
    with transaction.atomic():
        return _keep(incident, "noted", f"{user} noted: {said[:120]}", user=user, note=said, now=now)


def resolve(incident: Incident, text: str, *, user: User, now: datetime) -> Incident:
    """
    Close an incident by hand, with what was done about it.

    Raises
    ------
    UnableToHandle
        If it is closed, nothing is said about it, or the platform closes its kind by itself once the cause is gone.
    """
    said = _said(text)
    with transaction.atomic():
        row = _locked(incident)
        if row.closed_at is not None:
            raise UnableToHandle("it is closed already")
        if row.kind in CLOSES_BY_ITSELF:
            raise UnableToHandle("its cause still stands: it closes by itself once that is gone")
        row.closed_at, row.resolved_by = now, user
        row.save(update_fields=["closed_at", "resolved_by"])
        _keep(row, "resolved", f"{row.summary[:200]}: resolved by {user}", user=user, note=said, now=now)
    return row


def _locked(incident: Incident) -> Incident:
    return Incident.objects.select_for_update(of=("self",)).select_related("acknowledged_by").get(pk=incident.pk)


def _keep(incident: Incident, kind: str, summary: str, *, user: User, note: str, now: datetime) -> IncidentEvent:
    """Keep a step with its actor, on the audit trail too, and tell the console."""
    audit.write(f"incident.{kind}", actor=user, obj=incident, after={"note": note} if note else {}, now=now)
    payload = {"incident": str(incident.public_id), "summary": summary}
    events.emit(CONSOLE, f"incident_{kind}", payload, client_id=incident.client_id, now=now)
    return IncidentEvent.objects.create(
        incident=incident, client_id=incident.client_id, kind=kind, actor=user, note=note, happened_at=now
    )


def _said(text: str) -> str:
    said = text.strip()
    if not said:
        raise UnableToHandle("say what it is about")
    if len(said) > NOTE_LENGTH:
        raise UnableToHandle(f"it has {len(said)} characters, and {NOTE_LENGTH} are kept")
    return said


def log(
    margin_account: MarginAccount,
    episode: int,
    decision: str,
    reason: str,
    *,
    now: datetime,
    snapshot: PriceSnapshot | None = None,
    since: datetime | None = None,
) -> None:
    """
    Write down why a breach led to no call, or a due sale was not made; one row per account, episode and reason.

    A row from before `since` is written again at once: the reason holds for another breach.
    """
    row, made = DecisionLog.objects.get_or_create(
        margin_account=margin_account,
        episode=episode,
        decision=decision,
        reason=reason,
        defaults={
            "client_id": margin_account.client_id,
            "snapshot": snapshot,
            "first_at": now,
            "last_at": now,
        },
    )
    if not made and (now - row.last_at >= REPEAT_AFTER or (since is not None and row.last_at < since)):
        DecisionLog.objects.filter(pk=row.pk).update(last_at=now, count=F("count") + 1)
