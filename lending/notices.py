"""
Notices to clients: by e-mail and in the portal, each channel with its evidence.

A notice is deemed received when evidence on two channels is complete; the clocks of margin calls start there.
"""

import logging
from collections import defaultdict
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction

from lending import events, ids, outbox
from lending.models import Client, ClientUser, MarginAccount, Notice, NoticeDelivery

logger = logging.getLogger(__name__)

LIMIT = 500
CHANNELS_NEEDED = 2
_MAIL_DOMAIN = "plimsoll.example"
_Channel = NoticeDelivery.Channel


class UnableToNotify(Exception):
    """A notice can not be sent; the message says why."""


@transaction.atomic
def enqueue(
    client: Client,
    kind: str,
    subject: str,
    body: str,
    *,
    key: str,
    now: datetime,
    margin_account: MarginAccount | None = None,
) -> Notice:
    """
    Write a notice down, in the transaction that decided it, with a delivery per channel; the same key once.

    It goes by e-mail to every user of the client who can sign in, and into the portal.

    Raises
    ------
    UnableToNotify
        If the key was used for another notice.
    """
    notice, made = Notice.objects.get_or_create(
        key=key,
        defaults={
            "public_id": ids.derived("notice", key),
            "client": client,
            "margin_account": margin_account,
            "kind": kind,
            "subject": subject,
            "body": body,
            "created_at": now,
        },
    )
    if not made:
        if (notice.client_id, notice.kind, notice.body) != (client.pk, kind, body):
            raise UnableToNotify(f"the key {key} was used for another notice")
        return notice
    users = ClientUser.objects.filter(client=client, user__is_active=True).order_by("user__email")
    addresses = list(users.values_list("user__email", flat=True))
    if not addresses:
        logger.warning("notice %s: %s has no active user, so no e-mail goes out", key, client)
    deliveries = [(_Channel.PORTAL, "portal"), *((_Channel.EMAIL, address) for address in addresses)]
    NoticeDelivery.objects.bulk_create(
        NoticeDelivery(notice=notice, channel=channel, address=address, next_attempt_at=now)
        for channel, address in deliveries
    )
    return notice


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
    due = NoticeDelivery.objects.select_for_update(of=("self",), skip_locked=True)
    due = due.filter(delivered_at=None, next_attempt_at__lte=now).select_related("notice")
    batch = list(due.order_by("next_attempt_at", "notice__key", "address")[:limit])
    if not batch:
        return 0, 0
    portal = [delivery for delivery in batch if delivery.channel == _Channel.PORTAL]
    for delivery in portal:
        delivery.evidence = {"shown_from": now.isoformat(), "notice": str(delivery.notice.public_id)}
        delivery.delivered_at = now
    _send_mail([delivery for delivery in batch if delivery.channel == _Channel.EMAIL], now)
    NoticeDelivery.objects.bulk_update(batch, ["attempts", "evidence", "delivered_at", "next_attempt_at"])
    _deem_received({delivery.notice_id: delivery.notice for delivery in batch}, now)
    return sum(1 for delivery in batch if delivery.delivered_at), len(batch)


def _send_mail(deliveries: list[NoticeDelivery], now: datetime) -> None:
    if not deliveries:
        return
    connection = get_connection()
    try:
        connection.open()
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
            connection=connection,
        )
        try:
            message.send()
        except OSError as error:  # SMTPException is one
            _failed(delivery, error, now)
        else:
            delivery.attempts += 1
            delivery.evidence = {"message_id": message_id, "handed_over_at": now.isoformat()}
            delivery.delivered_at = now
    connection.close()


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
    for notice_id, delivered in channels.items():
        notice = notices[notice_id]
        if len(delivered) < CHANNELS_NEEDED or notice.deemed_received_at is not None:
            continue
        notice.deemed_received_at = max(delivered.values())
        notice.save(update_fields=["deemed_received_at"])
        events.emit(
            "notices",
            notice.kind,
            {"notice": str(notice.public_id), "subject": notice.subject},
            client_id=notice.client_id,
            now=now,
        )
