"""The chains: sealed late, never blocking a writer, and every way of tampering shows."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, transaction

from lending import audit, ledger
from lending.engine import entries
from lending.engine.entries import Heading
from lending.models import AuditSeal, Seal
from tests.factories.lending import AT, AssetFactory, BookFactory, ClientFactory

D = Decimal


@pytest.fixture
def heading(real_db: str) -> Heading:
    AssetFactory(code="BTC")
    client = ClientFactory()
    heading = Heading(key="d0", effective_at=AT, book_id=BookFactory().pk, client_id=client.pk)
    for n in range(6):
        deposit(heading, n)
        audit.write("client.noted", actor=None, obj=client, after={"n": n}, now=AT)
    _until_nobody_older_runs()
    return heading


def _until_nobody_older_runs() -> None:
    """Wait for transactions of other databases of the server too: the sealer stays behind the oldest of them all."""
    deadline = time.monotonic() + 60
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (ours,) = cursor.fetchone()
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] > ours:
                return
            time.sleep(0.05)


def deposit(heading: Heading, n: int, asset: str = "BTC") -> None:
    draft = entries.deposit(replace(heading, key=f"d{n}"), asset=asset, quantity=D(n + 1), custodian="paper")
    ledger.post(draft, now=AT)


@pytest.fixture
def tamper(heading: Heading) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
    """The owner with the triggers switched off: what an intruder with the owner's password could do."""
    config = connection.settings_dict
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"] or None, user="owner", dbname=config["NAME"], autocommit=True
    ) as owner:
        cursor = owner.cursor()
        for table in ("entry", "posting", "seal", "auditrecord", "auditseal"):
            cursor.execute(f"ALTER TABLE lending_{table} DISABLE TRIGGER USER")
        yield cursor


def test_links_are_gapless_and_verify(heading: Heading) -> None:
    assert ledger.oldest_unsealed() == AT
    assert ledger.seal(now=AT, limit=4) == 8
    assert ledger.seal(now=AT) == 4
    assert ledger.seal(now=AT) == 0
    assert list(Seal.objects.order_by("seq").values_list("seq", flat=True)) == list(range(1, 7))
    assert list(AuditSeal.objects.order_by("seq").values_list("seq", flat=True)) == list(range(1, 7))
    assert ledger.oldest_unsealed() is None
    assert ledger.verify_seals() == []


def test_a_running_transaction_is_not_overtaken(heading: Heading) -> None:
    """An entry that commits after a younger one was sealed must not slip in behind the chain."""
    AssetFactory(code="ETH")
    posted, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            deposit(heading, 10)
            posted.set()
            assert go_on.wait(30)
        connection.close()

    writer = threading.Thread(target=slow)
    writer.start()
    assert posted.wait(30)
    deposit(heading, 11, "ETH")  # in other accounts: it does not wait
    sealed_meanwhile = ledger.seal(now=AT)
    go_on.set()
    writer.join()
    assert sealed_meanwhile == 12
    assert ledger.seal(now=AT) == 2
    assert Seal.objects.count() == 8
    assert ledger.verify_seals() == []


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE lending_posting SET amount = amount * 2", "do not say what was hashed"),
        ("UPDATE lending_posting SET category = 'trade' WHERE id = 3", "do not say what was hashed"),
        ("UPDATE lending_entry SET content_hash = 'x' WHERE idempotency_key = 'd3'", "was changed"),
        ("UPDATE lending_entry SET recorded_at = recorded_at - interval '1 day'", "was changed"),
        ("DELETE FROM lending_posting WHERE id IN (SELECT max(id) FROM lending_posting)", "do not say what was hashed"),
        ("DELETE FROM lending_seal WHERE seq = 3", "a link is missing"),
        ("UPDATE lending_seal SET previous_hash = hash WHERE seq = 2", "does not continue"),
        (
            "UPDATE lending_auditrecord SET after = '{}' WHERE id IN (SELECT min(id) FROM lending_auditrecord)",
            "changed",
        ),
        (
            "UPDATE lending_seal s SET entry_id = o.entry_id FROM lending_seal o WHERE s.seq + o.seq = 5 AND s.seq > 1",
            "was changed",
        ),
        (
            """INSERT INTO lending_auditrecord (action, object_kind, object_id, before, after, reason, request_id,
            happened_at, txid) VALUES ('forged', '', '', '{}', '{}', '', '', now(), 5)""",
            "slipped in behind",
        ),
    ],
)
def test_tampering_shows(
    heading: Heading, tamper: psycopg.Cursor[tuple[object, ...]], statement: str, reason: str
) -> None:
    ledger.seal(now=AT)
    if "SET entry_id" in statement:
        tamper.execute("ALTER TABLE lending_seal DROP CONSTRAINT lending_seal_entry_id_key")
    assert ledger.verify_seals() == []
    tamper.execute(statement)
    assert any(reason in broken.reason for broken in ledger.verify_seals())


def test_the_hash_of_the_ledger_knows_every_posting_and_no_id(
    heading: Heading, tamper: psycopg.Cursor[tuple[object, ...]]
) -> None:
    before = ledger.ledger_hash()
    ledger.seal(now=AT)
    assert ledger.ledger_hash() == before
    tamper.execute("UPDATE lending_posting SET id = id + 1000")
    assert ledger.ledger_hash() == before
    tamper.execute("UPDATE lending_posting SET amount = amount + 1 WHERE id IN (SELECT min(id) FROM lending_posting)")
    assert ledger.ledger_hash() != before
