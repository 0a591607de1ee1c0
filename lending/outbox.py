"""Effects on the outside world: written in the transaction that decided them, carried out afterwards, until done."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from lending.models import OutboxMessage

logger = logging.getLogger(__name__)

LIMIT = 200
MAX_BACKOFF_S = 300
_ERROR_LENGTH = OutboxMessage._meta.get_field("error").max_length


class UnableToSend(Exception):
    """A message can not be put, its key being used for another; or no handler is declared for its kind."""


def put(kind: str, payload: Mapping[str, Any], *, key: str, now: datetime) -> OutboxMessage:
    """Write down an effect to carry out; the same key and content once, other content raises UnableToSend."""
    if kind not in settings.LENDING_OUTBOX_HANDLERS:
        raise UnableToSend(f"no handler is declared for messages of kind {kind}")
    row = OutboxMessage(key=key, kind=kind, payload=dict(payload), created_at=now, next_attempt_at=now)
    OutboxMessage.objects.bulk_create([row], ignore_conflicts=True)
    message = OutboxMessage.objects.get(key=key)
    if (message.kind, message.payload) != (kind, dict(payload)):
        raise UnableToSend(f"the key {key} was used for another message")
    return message


def deliver_due(*, now: datetime, limit: int = LIMIT) -> int:
    """
    Carry out what is due and return how many messages are done.

    A handler that raises is tried again, later each time: messages may be carried out twice, so handlers are
    idempotent. What others are carrying out at this moment is skipped.
    """
    due = OutboxMessage.objects.filter(state=OutboxMessage.State.PENDING, next_attempt_at__lte=now)
    keys = due.order_by("next_attempt_at", "key").values_list("pk", flat=True)[:limit]
    return sum(_deliver(pk, now) for pk in list(keys))


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after a number of failed attempts: 1, 2, 4, ... seconds, at most five minutes."""
    return timedelta(seconds=min(2 ** max(attempts - 1, 0), MAX_BACKOFF_S))


@transaction.atomic
def _deliver(pk: int, now: datetime) -> int:
    rows = OutboxMessage.objects.select_for_update(skip_locked=True)
    message = rows.filter(pk=pk, state=OutboxMessage.State.PENDING, next_attempt_at__lte=now).first()
    if message is None:
        return 0
    message.attempts += 1
    try:
        with transaction.atomic():
            import_string(settings.LENDING_OUTBOX_HANDLERS[message.kind])(message.payload, now=now)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises, the message must be tried again
        logger.warning("outbox %s, attempt %d: %s", message.key, message.attempts, error)
        message.error = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
        message.next_attempt_at = now + backoff(message.attempts)
        message.save(update_fields=["attempts", "error", "next_attempt_at"])
        return 0
    message.state, message.done_at, message.error = OutboxMessage.State.DONE, now, ""
    message.save(update_fields=["attempts", "state", "done_at", "error"])
    return 1
