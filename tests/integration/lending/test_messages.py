"""Notices, outbox and events: sent with evidence, tried again, numbered without gaps."""

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.conf import settings as live_settings
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from lending import events, notices, outbox
from lending.models import Client, Event, Notice, NoticeDelivery, OutboxMessage
from tests.factories import lending as make

NOW = make.NOW
SECOND = dt.timedelta(seconds=1)


def enqueue(client: Client, key: str = "call:1", body: str = "Pay 5 USD") -> Notice:
    letter = notices.Letter(client=client, kind="margin_call", subject="Margin call", body=body, key=key)
    return notices.enqueue([letter], now=NOW)[0]


# --- notices --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_notice_goes_to_every_user_and_the_portal_and_is_then_received() -> None:
    client = make.ClientFactory()
    make.borrower("alice", client)
    make.borrower("bob", client)
    notice = enqueue(client)
    assert notice.deemed_received_at is None
    assert notices.send_due(now=NOW + SECOND) == 3
    assert sorted(message.to[0] for message in mail.outbox) == ["alice@client.example", "bob@client.example"]
    notice.refresh_from_db()
    assert notice.deemed_received_at == NOW + SECOND
    email = NoticeDelivery.objects.filter(channel="email").order_by("address")[0]
    assert email.evidence["message_id"] == f"<{notice.public_id}.{email.pk}@plimsoll.example>"
    assert notices.send_due(now=NOW + 2 * SECOND) == 0


@pytest.mark.django_db
def test_one_channel_is_not_enough(settings: LazySettings) -> None:
    settings.EMAIL_BACKEND = "tests.integration.lending.test_messages.NoConnection"
    client = make.ClientFactory()
    make.borrower("alice", client)
    notice = enqueue(client)
    assert notices.send_due(now=NOW) == 1  # the portal
    notice.refresh_from_db()
    assert notice.deemed_received_at is None
    email = NoticeDelivery.objects.get(channel="email")
    assert (email.attempts, email.evidence) == (1, {"error": "ConnectionRefusedError: no mail server"})
    assert notices.send_due(now=NOW) == 0  # it waits before it tries again
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert notices.send_due(now=NOW + SECOND) == 1
    notice.refresh_from_db()
    assert notice.deemed_received_at == NOW + SECOND


class NoConnection:
    """A mail backend whose server is gone."""

    def __init__(self, **options: Any) -> None: ...

    def open(self) -> None:
        raise ConnectionRefusedError("no mail server")


@pytest.mark.django_db
def test_a_client_without_users_is_never_deemed_told() -> None:
    notice = enqueue(make.ClientFactory())
    assert notices.send_due(now=NOW) == 1
    notice.refresh_from_db()
    assert notice.deemed_received_at is None


@pytest.mark.django_db
def test_the_same_key_notifies_once() -> None:
    client = make.ClientFactory()
    assert enqueue(client) == enqueue(client)
    assert NoticeDelivery.objects.count() == 1
    with pytest.raises(notices.UnableToNotify, match="the key call:1 was used for another notice"):
        enqueue(client, body="Pay 6 USD")


@pytest.mark.django_db
def test_many_notices_are_written_and_sent_in_the_statements_of_one(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    clients = [make.ClientFactory() for _ in range(20)]
    for number, client in enumerate(clients):
        make.borrower(f"user{number}", client)
    letters = [
        notices.Letter(client=client, kind="margin_call", subject="Margin call", body="Pay 5 USD", key=f"call:{number}")
        for number, client in enumerate(clients)
    ]
    with django_assert_num_queries(3):
        first = notices.enqueue(letters[:1], now=NOW)
    with django_assert_num_queries(4):  # one is known, and read
        found = notices.enqueue(letters, now=NOW)
    assert [notice.key for notice in found] == [letter.key for letter in letters]
    assert found[0] == first[0]
    assert notices.enqueue(letters, now=NOW) == found
    with CaptureQueriesContext(connection) as taken:
        assert notices.send_due(now=NOW + SECOND) == 40
    assert len(taken) == 7
    assert set(Notice.objects.values_list("deemed_received_at", flat=True)) == {NOW + SECOND}
    assert Event.objects.filter(stream="notices").count() == 20


@pytest.mark.django_db
def test_one_key_for_two_letters_writes_neither() -> None:
    client = make.ClientFactory()
    letter = notices.Letter(client=client, kind="margin_call", subject="Margin call", body="Pay 5 USD", key="call:1")
    assert len(set(notices.enqueue([letter, letter], now=NOW))) == 1
    other = replace(letter, key="call:2", body="Pay 7 USD")
    with pytest.raises(notices.UnableToNotify, match="the key call:2 was used"), transaction.atomic():
        notices.enqueue([other, replace(letter, key="call:2")], now=NOW)
    assert Notice.objects.count() == 1


class Patient(EmailBackend):
    """A mail server that takes its time over a letter."""

    begun, go_on = threading.Event(), threading.Event()

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        self.begun.set()
        self.go_on.wait(10)
        return super().send_messages(messages)


def test_two_senders_never_part_the_channels_of_a_notice(real_db: str, settings: LazySettings) -> None:
    """Each would see its own channel alone, and nobody would ever call the notice received."""
    settings.EMAIL_BACKEND = "tests.integration.lending.test_messages.Patient"
    client = make.ClientFactory()
    make.borrower("alice", client)
    notice = enqueue(client)

    def send() -> None:
        notices.send_due(now=NOW, limit=1)
        connections.close_all()

    slow = threading.Thread(target=send)
    slow.start()
    assert Patient.begun.wait(10)
    with transaction.atomic():
        sent = notices.send_due(now=NOW)
        Patient.go_on.set()
        slow.join()
    assert sent == 0
    notices.send_due(now=NOW + SECOND)
    notice.refresh_from_db()
    assert notice.deemed_received_at == NOW + SECOND


# --- outbox ---------------------------------------------------------------------------------------------------------

carried_out: list[Mapping[str, Any]] = []


def carry_out(payload: Mapping[str, Any], *, now: dt.datetime) -> None:
    """Fail for as long as the payload says, leaving a row behind that must not stay."""
    make.AssetFactory(code="LINK")
    carried_out.append(payload)
    if len(carried_out) <= payload["failures"]:
        raise RuntimeError("the other side is down")


@pytest.fixture
def _handler(settings: LazySettings) -> None:
    carried_out.clear()
    settings.LENDING_OUTBOX_HANDLERS = {"test": "tests.integration.lending.test_messages.carry_out"}


@pytest.mark.django_db
@pytest.mark.usefixtures("_handler")
def test_a_message_is_tried_until_it_is_done_and_waits_longer_each_time() -> None:
    outbox.put("test", {"failures": 2}, key="m1", now=NOW)
    tries = [outbox.deliver_due(now=NOW + seconds * SECOND) for seconds in (0, 0, 1, 2, 3, 9)]
    assert tries == [0, 0, 0, 0, 1, 0]
    message = OutboxMessage.objects.get()
    assert (message.state, message.attempts, message.error) == ("done", 3, "")
    assert len(carried_out) == 3


@pytest.mark.django_db
@pytest.mark.usefixtures("_handler")
def test_a_failed_attempt_leaves_nothing_but_its_reason() -> None:
    outbox.put("test", {"failures": 1}, key="m1", now=NOW)
    outbox.deliver_due(now=NOW)
    assert OutboxMessage.objects.get().error == "RuntimeError: the other side is down"
    assert not make.Asset.objects.filter(code="LINK").exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("_handler")
def test_messages_that_nobody_handles_or_that_change_are_refused() -> None:
    outbox.put("test", {"failures": 0}, key="m1", now=NOW)
    outbox.put("test", {"failures": 0}, key="m1", now=NOW)
    with pytest.raises(outbox.UnableToSend, match="the key m1 was used for another message"):
        outbox.put("test", {"failures": 1}, key="m1", now=NOW)
    with pytest.raises(outbox.UnableToSend, match="no handler is declared for messages of kind fax"):
        outbox.put("fax", {}, key="m2", now=NOW)


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_events_are_numbered_per_stream_and_read_after_a_number() -> None:
    for n in range(3):
        events.emit("calls", "issued", {"n": n}, now=NOW)
    events.emit("loans", "quoted", {}, now=NOW)
    assert events.read("calls", 0) == []
    assert events.relay(now=NOW) == 4
    assert events.relay(now=NOW) == 0
    events.emit("calls", "cured", {"n": 3}, now=NOW)
    assert events.relay(now=NOW) == 1
    assert [(event.seq, event.payload["n"]) for event in events.read("calls", 1)] == [(2, 1), (3, 2), (4, 3)]
    assert [event.seq for event in events.read("calls", 0, limit=2)] == [1, 2]


def test_an_event_that_commits_late_is_numbered_after_what_was_seen(real_db: str) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            events.emit("calls", "slow", {}, now=NOW)
            started.set()
            go_on.wait(10)
        connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    started.wait(10)
    events.emit("calls", "fast", {}, now=NOW)
    assert events.relay(now=NOW) == 1
    go_on.set()
    thread.join()
    assert events.relay(now=NOW) == 1
    # The slow one has the lower id, and the higher number: a reader who saw 1 misses nothing.
    assert [event.kind for event in events.read("calls", 0)] == ["fast", "slow"]
    assert [event.pk for event in events.read("calls", 0)] == sorted(Event.objects.values_list("pk", flat=True))[::-1]


def test_relays_that_meet_number_every_event_once_and_without_gaps(real_db: str) -> None:
    """The marking worker relays what it has just committed, beside the beat."""
    streams, each = ("calls", "client:1", "client:2"), 60

    def say_and_relay(turn: int) -> None:
        for n in range(each):
            events.emit(streams[(turn + n) % len(streams)], "said", {}, now=NOW)
            events.relay(now=NOW)
        connections.close_all()

    threads = [threading.Thread(target=say_and_relay, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events.relay(now=NOW) == 0
    for stream in streams:
        numbers = [event.seq for event in events.read(stream, 0)]
        assert numbers == list(range(1, each + 1))
        assert events.last_seq(stream) == each


def test_listeners_are_woken_once_per_transaction(real_db: str) -> None:
    config = live_settings.DATABASES["default"]
    with psycopg.connect(
        dbname=real_db, user=config["USER"], host=config["HOST"], port=config["PORT"] or None, autocommit=True
    ) as listener:
        listener.execute(f"LISTEN {events.CHANNEL}")
        for _ in range(3):
            events.emit("calls", "issued", {}, now=NOW)
        events.relay(now=NOW)
        heard = list(listener.notifies(timeout=1, stop_after=2))
    assert [notice.payload for notice in heard] == ["calls:3"]
