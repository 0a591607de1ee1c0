"""
Notices to clients: by e-mail and in the portal, each channel with its evidence.

A notice is deemed received when evidence on two channels is complete; the clocks of margin calls start there.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction

from lending import bulk, events, ids, outbox
from lending.models import Client, ClientUser, Event, MarginAccount, Notice, NoticeDelivery

logger = logging.getLogger(__name__)

LIMIT = 500
CHANNELS_NEEDED = 2
_MAIL_DOMAIN = "plimsoll.example"
_Channel = NoticeDelivery.Channel


class UnableToNotify(Exception):
    """A notice can not be sent; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What a client is to be told, once per key."""

    client: Client
    kind: str
    subject: str
    body: str
    key: str
    margin_account: MarginAccount | None = None


_COLUMNS = ("public_id", "key", "client_id", "margin_account_id", "kind", "subject", "body", "created_at")
_INSERT = f"""
    INSERT INTO lending_notice ({", ".join(_COLUMNS)})
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[],
                         %s::timestamptz[])
    ON CONFLICT (key) DO NOTHING
    RETURNING key, id
"""  # noqa: S608


def enqueue(letters: Sequence[Letter], *, now: datetime) -> list[Notice]:
    """
    Write notices down, in the transaction that decided them, with a delivery per channel; the same key once.

    They go by e-mail to every user of the client who can sign in, and into the portal. However many there are, it
    takes the same few statements.

    Raises
    ------
    UnableToNotify
        If a key was used for another notice.
    """
    if not letters:
        return []
    with transaction.atomic(savepoint=False):
        made = _insert(letters, now=now)
        missing = {letter.key for letter in letters} - made.keys()
        known = {notice.key: notice for notice in Notice.objects.filter(key__in=missing)} if missing else {}
        notices = [made.get(letter.key) or known[letter.key] for letter in letters]
        for letter, notice in zip(letters, notices, strict=True):
            if (notice.client_id, notice.kind, notice.body) != (letter.client.pk, letter.kind, letter.body):
                raise UnableToNotify(f"the key {letter.key} was used for another notice")
        _address(list(made.values()), now=now)
    return notices


def _insert(letters: Sequence[Letter], *, now: datetime) -> dict[str, Notice]:
    """Write the letters whose keys are new, and return their notices by key."""
    fresh = {
        letter.key: Notice(
            public_id=ids.derived("notice", letter.key),
            key=letter.key,
            client=letter.client,
            margin_account=letter.margin_account,
            kind=letter.kind,
            subject=letter.subject,
            body=letter.body,
            created_at=now,
        )
        for letter in letters
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [[getattr(notice, name) for notice in fresh.values()] for name in _COLUMNS])
        keys = dict(cursor.fetchall())
    made = {key: notice for key, notice in fresh.items() if key in keys}
    for key, notice in made.items():
        notice.pk, notice._state.adding = keys[key], False
    return made


def _address(notices: Sequence[Notice], *, now: datetime) -> None:
    """Give new notices a delivery in the portal and one for each of their clients' users."""
    users = ClientUser.objects.filter(client__in={notice.client_id for notice in notices}, user__is_active=True)
    addresses: defaultdict[int, list[str]] = defaultdict(list)
    for client_id, email in users.order_by("user__email").values_list("client_id", "user__email"):
        addresses[client_id].append(email)
    deliveries = []
    for notice in notices:
        if not addresses[notice.client_id]:
            logger.warning("notice %s: %s has no active user, so no e-mail goes out", notice.key, notice.client)
        channels = [(_Channel.PORTAL, "portal"), *((_Channel.EMAIL, email) for email in addresses[notice.client_id])]
        deliveries += [
            NoticeDelivery(notice=notice, channel=channel, address=address, next_attempt_at=now)
            for channel, address in channels
        ]
    NoticeDelivery.objects.bulk_create(deliveries)


def send_due(*, now: datetime, limit: int = LIMIT) -> int:
    """
    Send what is due on each channel, keep the evidence, and return how many deliveries were made.

    An e-mail that fails is tried again, later each time. One that was handed over just before a crash goes out once
    more with the same Message-ID.
    """
    total = 0
    while True:
        sent, seen = _send_batch(now, limit)
        total += sent
        if seen < limit:
            return total


@transaction.atomic
def _send_batch(now: datetime, limit: int) -> tuple[int, int]:
    # The notice too: two senders, each with one of its channels and blind to the other's, would never call it received.
    due = NoticeDelivery.objects.select_for_update(no_key=True, of=("self", "notice"), skip_locked=True)
    due = due.filter(delivered_at=None, next_attempt_at__lte=now).select_related("notice")
    batch = list(due.order_by("next_attempt_at", "notice__key", "address")[:limit])
    if not batch:
        return 0, 0
    portal = [delivery for delivery in batch if delivery.channel == _Channel.PORTAL]
    for delivery in portal:
        delivery.evidence = {"shown_from": now.isoformat(), "notice": str(delivery.notice.public_id)}
        delivery.delivered_at = now
    _send_mail([delivery for delivery in batch if delivery.channel == _Channel.EMAIL], now)
    bulk.update(batch, ["attempts", "evidence", "delivered_at", "next_attempt_at"])
    _deem_received({delivery.notice_id: delivery.notice for delivery in batch}, now)
    return sum(1 for delivery in batch if delivery.delivered_at), len(batch)


def _send_mail(deliveries: list[NoticeDelivery], now: datetime) -> None:
    if not deliveries:
        return
    line = get_connection()
    try:
        line.open()
    except OSError as error:
        for delivery in deliveries:
            _failed(delivery, error, now)
        return
    for delivery in deliveries:
        notice = delivery.notice
        message_id = f"<{notice.public_id}.{delivery.pk}@{_MAIL_DOMAIN}>"
        message = EmailMessage(
            subject=notice.subject,
            body=notice.body,
            from_email=settings.DEFAULT_FROM_EMAIL,
            to=[delivery.address],
            headers={"Message-ID": message_id},
            connection=line,
        )
        try:
            message.send()
        except OSError as error:  # SMTPException is one
            _failed(delivery, error, now)
        else:
            delivery.attempts += 1
            delivery.evidence = {"message_id": message_id, "handed_over_at": now.isoformat()}
            delivery.delivered_at = now
    line.close()


def _failed(delivery: NoticeDelivery, error: OSError, now: datetime) -> None:
    logger.warning("notice %s to %s: %s", delivery.notice.key, delivery.address, error)
    delivery.attempts += 1
    delivery.evidence = {"error": f"{type(error).__name__}: {error}"}
    delivery.next_attempt_at = now + outbox.backoff(delivery.attempts)


def _deem_received(notices: dict[int, Notice], now: datetime) -> None:
    """Mark the notices that now have evidence on two channels; the later of the two is the instant of receipt."""
    channels: defaultdict[int, dict[str, datetime]] = defaultdict(dict)
    done = NoticeDelivery.objects.filter(notice__in=notices, delivered_at__isnull=False).order_by("delivered_at")
    for notice_id, channel, at in done.values_list("notice_id", "channel", "delivered_at"):
        if at is not None:
            channels[notice_id].setdefault(channel, at)
    received = []
    for notice_id, delivered in channels.items():
        notice = notices[notice_id]
        if len(delivered) >= CHANNELS_NEEDED and notice.deemed_received_at is None:
            notice.deemed_received_at = max(delivered.values())
            received.append(notice)
    bulk.update(received, ["deemed_received_at"])
    Event.objects.bulk_create(
        events.new(
            "notices",
            notice.kind,
            {"notice": str(notice.public_id), "subject": notice.subject},
            client_id=notice.client_id,
            now=now,
        )
        for notice in received
    )
