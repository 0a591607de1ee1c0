"""
What a custodian tells without being asked: kept once per id, and a reason to ask it now.

Nothing is believed but that something happened: deposits and withdrawals are read from the custodian, so a message
that comes twice, late or never changes no book.
"""

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from lending import ports, withdrawals
from lending.engine import signatures
from lending.models import CustodianWebhook, Withdrawal

LONGEST = 64 * 1024
_ID_LENGTH, _KIND_LENGTH, _SUBJECT_LENGTH = 120, 60, 200  # what the columns take
REORGED = "deposit.reorged"


class UnableToHear(ValueError):
    """A message is signed and says nothing that can be understood; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, and whether it is the first of its id."""

    kind: str
    subject: str
    first: bool


def keys() -> list[bytes]:
    """Return the keys that messages may be signed with; none where no webhooks are taken."""
    return [signatures.secret_of(text) for text in settings.LENDING_CUSTODIAN_SECRETS]


def hear(headers: Mapping[str, str], body: bytes, *, now: datetime, wall_now: datetime) -> Heard:
    """
    Take a message of the custodian down, once per id, and have what it is about looked at next.

    Raises
    ------
    lending.engine.signatures.UnableToVerify
        If it is not signed by the custodian, or too old.
    UnableToHear
        If it is too long, no JSON object, or does not say what happened to what.
    """
    if len(body) > LONGEST:
        raise UnableToHear(f"a message has at most {LONGEST} bytes, not {len(body)}")
    message_id = headers.get("webhook-id", "")
    signatures.verify(
        keys(),
        message_id=message_id,
        timestamp=headers.get("webhook-timestamp", ""),
        signatures=headers.get("webhook-signature", ""),
        body=body,
        now_s=wall_now.timestamp(),
    )
    if len(message_id) > _ID_LENGTH:
        raise UnableToHear(f"an id has at most {_ID_LENGTH} letters, not {len(message_id)}")
    kind, subject, said = _read(body)
    row = CustodianWebhook(
        custodian=ports.custodian().name, message_id=message_id, kind=kind, subject=subject, said=said, heard_at=now
    )
    return Heard(kind, subject, _take(row, now))


@transaction.atomic
def _take(row: CustodianWebhook, now: datetime) -> bool:
    """Keep a message if it is the first of its id, and have its withdrawal asked about next."""
    CustodianWebhook.objects.bulk_create([row], ignore_conflicts=True)
    kept = CustodianWebhook.objects.select_for_update().get(custodian=row.custodian, message_id=row.message_id)
    CustodianWebhook.objects.filter(pk=kept.pk).update(times=F("times") + 1)
    if kept.times:
        return False
    if row.kind.startswith("withdrawal."):
        with contextlib.suppress(ValueError):  # an exchange has an id of another kind, and is asked about anyway
            ours = Withdrawal.objects.filter(public_id=uuid.UUID(row.subject), state__in=withdrawals.ON_THE_WAY)
            ours.filter(next_attempt_at__gt=now).update(next_attempt_at=now)
    return True


def _read(body: bytes) -> tuple[str, str, dict[str, Any]]:
    try:
        said = json.loads(body, parse_constant=_no_number)
        kept = json.dumps(said, ensure_ascii=False).encode()  # half a sign of two is no text
    except UnicodeEncodeError as error:
        raise UnableToHear("the body holds half of a sign that has two parts") from error
    except UnicodeDecodeError as error:
        raise UnableToHear("the body is no text in UTF-8") from error
    except RecursionError as error:
        raise UnableToHear("the body is nested too deep") from error
    except ValueError as error:
        raise UnableToHear(f"the body is no JSON: {error}") from error
    if b"\\u0000" in kept:
        raise UnableToHear("the body holds NUL, which no text has")
    if not isinstance(said, dict) or not isinstance(said.get("data"), dict):
        raise UnableToHear("the body must be a JSON object with type and data")
    kind, subject = said.get("type"), said["data"].get("ref")
    if not isinstance(kind, str) or not 0 < len(kind) <= _KIND_LENGTH:
        raise UnableToHear("type must say what happened")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_LENGTH:
        raise UnableToHear("data.ref must name what it happened to")
    return kind, subject, said


def _no_number(said: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(f"{said} is no number of JSON")
