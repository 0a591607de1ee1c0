"""What a person must look at, and why something that was due was not done."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from lending import events, ids
from lending.models import Asset, MarginAccount, User
from risk.models import DecisionLog, Incident, PriceSnapshot

CONSOLE = "console"
# A reason that holds on is written again once a minute, not with every poll.
REPEAT_AFTER = timedelta(seconds=60)


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
    """Note who looks into an incident; the first who says so has it."""
    Incident.objects.filter(pk=incident.pk, acknowledged_by=None).update(acknowledged_by=user)
    incident.refresh_from_db()
    payload = {"incident": str(incident.public_id), "summary": f"{incident.acknowledged_by} looks into it"}
    events.emit(CONSOLE, "incident_acknowledged", payload, client_id=incident.client_id, now=now)
    return incident


def log(
    margin_account: MarginAccount,
    episode: int,
    decision: str,
    reason: str,
    *,
    now: datetime,
    snapshot: PriceSnapshot | None = None,
) -> None:
    """Write down why a breach led to no call, or a due sale was not made; one row per account, episode and reason."""
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
    if not made and now - row.last_at >= REPEAT_AFTER:
        DecisionLog.objects.filter(pk=row.pk).update(last_at=now, count=F("count") + 1)
