"""Who did what to what, with what effect: written beside the act, in its transaction; sealed later by the sealer."""

import datetime as dt
from typing import Any

from django.db.models import Model

from lending.models import AuditRecord, Client, User


def write(
    action: str,
    *,
    actor: User | None,
    obj: Model,
    now: dt.datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    request_id: str = "",
    address: str | None = None,
) -> AuditRecord:
    """Record an act on an object; the client is the object's own, so that it shows in that client's trail."""
    record = new(
        action,
        actor=actor,
        obj=obj,
        now=now,
        before=before,
        after=after,
        reason=reason,
        request_id=request_id,
        address=address,
    )
    record.save(force_insert=True)
    return record


def new(
    action: str,
    *,
    actor: User | None,
    obj: Model,
    now: dt.datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    request_id: str = "",
    address: str | None = None,
) -> AuditRecord:
    """Return the record of an act, not yet saved, for those who write many at once."""
    client_id = obj.pk if isinstance(obj, Client) else getattr(obj, "client_id", None)
    return AuditRecord(
        action=action,
        actor=actor,
        object_kind=obj._meta.label_lower,
        object_id=str(getattr(obj, "public_id", obj.pk)),
        client_id=client_id,
        before=before or {},
        after=after or {},
        reason=reason,
        request_id=request_id,
        address=address,
        happened_at=now,
    )
