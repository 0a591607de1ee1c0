"""A batch looks its accounts up one by one: joining them all would cost more with every client that comes."""

import re
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection

from lending import ledger
from lending.engine import entries
from lending.engine.entries import Heading
from lending.models import LedgerAccount
from tests.factories.lending import AT, AssetFactory, BookFactory, ClientFactory


@pytest.mark.parametrize("analyzed_when", ["empty", "full"])
def test_a_batch_never_scans_the_accounts(real_db: str, monkeypatch: pytest.MonkeyPatch, analyzed_when: str) -> None:
    config = connection.settings_dict
    btc, client = AssetFactory(code="BTC"), ClientFactory()

    def analyze() -> None:
        with psycopg.connect(host=config["HOST"], user="owner", dbname=config["NAME"], autocommit=True) as owner:
            owner.execute("ANALYZE lending_ledgeraccount")

    if analyzed_when == "empty":
        analyze()
    LedgerAccount.objects.bulk_create(
        LedgerAccount(key=f"other/{n}", kind="client_free", asset=btc, client=client, opened_at=AT) for n in range(4000)
    )
    if analyzed_when == "full":
        analyze()
    heading = Heading("d0", AT, BookFactory().pk, client_id=client.pk)
    ledger.post(entries.deposit(heading, asset="BTC", quantity=Decimal(1), custodian="paper"), now=AT)
    plans: list[str] = []
    run = ledger._execute

    def explain(sql: str, parameters: list[Any], *, prepare: bool = False) -> tuple[Any, ...]:
        if sql == ledger._POST_MANY:
            with psycopg.Cursor(connection.connection) as cursor:
                plans.append("\n".join(row[0] for row in cursor.execute("EXPLAIN " + sql, parameters).fetchall()))
        return run(sql, parameters, prepare=prepare)

    monkeypatch.setattr(ledger, "_execute", explain)
    drafts = [
        entries.deposit(
            Heading(f"d{n}", AT, heading.book_id, client_id=client.pk),
            asset="BTC",
            quantity=Decimal(1),
            custodian="paper",
        )
        for n in range(1, 1001)
    ]
    ledger.post_many(drafts, now=AT)
    assert plans
    for plan in plans:
        assert re.search(r"Index Scan using lending_ledgeraccount_key\S* on lending_ledgeraccount", plan), plan
        assert "Seq Scan on lending_ledgeraccount" not in plan
