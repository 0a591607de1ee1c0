"""
What PostgreSQL refuses by itself, asked by psql as the runtime role: no code of ours stands in between.

Each attempt must fail with the message of the rule that is meant; the last tests show that the same statements pass
when they are in order, so that a refusal can not be a typing mistake.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from lending import ledger, offers
from lending.engine import entries
from lending.engine.entries import Heading
from lending.models import Approval, Entry, Loan, Posting
from risk.models import LiquidationOrder, MarginCall, PriceSnapshot, SaleCause
from tests.factories import lending as make
from tests.factories.lending import AT, AssetFactory, BookFactory, LoanFactory, UserFactory

D = Decimal
PSQL = shutil.which("psql", path=os.pathsep.join([os.environ.get("PSQL_DIR", ""), os.environ["PATH"]]))


def psql(sql: str, *, role: str = "app") -> subprocess.CompletedProcess[str]:
    """Run statements in one psql session that stops at the first error."""
    assert PSQL, "the embedded PostgreSQL brings psql; with another server it must be on PATH"
    at = connection.settings_dict
    where = ["--host", at["HOST"] or "localhost", "--username", role, "--dbname", at["NAME"]]
    port = ["--port", str(at["PORT"])] if at["PORT"] else []
    return subprocess.run(
        [PSQL, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", *where, *port],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refused(sql: str, *, role: str = "app") -> str:
    """Return what PostgreSQL said when it refused."""
    done = psql(sql, role=role)
    assert done.returncode != 0, f"this went through:\n{sql}"
    return done.stderr


@dataclass(frozen=True)
class Books:
    """A posted deposit, and what a hand-written entry needs."""

    entry: int
    posting: int
    btc: int
    usd: int
    book: int
    custody: int
    free: int
    client: int
    loan: Loan

    def new_entry(self, key: str) -> str:
        return (
            "INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid) "
            f"VALUES ('{key}', 'by hand', now(), now(), '', 0);"
        )

    def posting_of(self, key: str, account: int | str, amount: str, **other: int) -> str:
        asset, client, book = (other.get(name, getattr(self, name)) for name in ("btc", "client", "book"))
        return (
            "INSERT INTO lending_posting (entry_id, account_id, asset_id, amount, client_id, book_id, category, cause) "
            f"SELECT id, {account}, {asset}, {amount}, {client}, {book}, 'balance_sheet', '' "
            f"FROM lending_entry WHERE idempotency_key = '{key}';\n"
        )

    def pair(self, key: str, amount: str = "1") -> str:
        return self.posting_of(key, self.custody, amount) + self.posting_of(key, self.free, f"-{amount}")


@pytest.fixture
def books(real_db: str) -> Books:
    btc, usd, book = AssetFactory(code="BTC"), AssetFactory(code="USD"), BookFactory()
    loan = LoanFactory()
    heading = Heading(key="deposit:1", effective_at=AT, book_id=book.pk, client_id=loan.client_id)
    entry = ledger.post(entries.deposit(heading, asset="BTC", quantity=D(2), custodian="paper"), now=AT)
    custody = Posting.objects.get(entry=entry, account__kind="custody")
    free = Posting.objects.get(entry=entry, account__kind="client_free")
    return Books(
        entry=entry.pk,
        posting=custody.pk,
        btc=btc.pk,
        usd=usd.pk,
        book=book.pk,
        custody=custody.account_id,
        free=free.account_id,
        client=loan.client_id,
        loan=loan,
    )


NOT_GRANTED = (
    "UPDATE lending_posting SET amount = amount + 1;",
    "DELETE FROM lending_posting;",
    "TRUNCATE lending_posting;",
    "UPDATE lending_entry SET effective_at = now();",
    "DELETE FROM lending_entry;",
    "TRUNCATE lending_entry CASCADE;",
    "UPDATE lending_ledgerbalance SET amount = 0;",
    "INSERT INTO lending_ledgerbalance (account_id, amount, guard) VALUES (-1, 0, 0);",
    "UPDATE lending_ledgeraccount SET kind = 'custody';",
    "UPDATE lending_seal SET hash = '';",
    "DELETE FROM lending_auditrecord;",
    "UPDATE lending_auditrecord SET action = '';",
    "DELETE FROM lending_loanevent;",
    "UPDATE lending_event SET payload = '{}';",
    "UPDATE lending_event SET happened_at = now();",
    "DELETE FROM lending_event;",
    "INSERT INTO lending_loantransition (from_state, to_state) VALUES ('quoted', 'active');",
    "DELETE FROM lending_lopsided;",
    "SET session_replication_role = replica;",
    "ALTER TABLE lending_posting DISABLE TRIGGER ALL;",
    "DROP TRIGGER lending_posting_taken ON lending_posting;",
    "CREATE OR REPLACE FUNCTION lending_take_postings() RETURNS trigger LANGUAGE sql AS 'SELECT NULL';",
)


def test_the_runtime_role_is_not_allowed(books: Books) -> None:
    for statement in NOT_GRANTED:
        assert any(words in refused(statement) for words in ("permission denied", "must be owner"))


TABLES_OF_THE_PAST = (
    "lending_entry",
    "lending_posting",
    "lending_ledgeraccount",
    "lending_auditrecord",
    "lending_seal",
    "lending_auditseal",
    "lending_loanevent",
)


def test_not_even_the_owner_empties_a_table_of_the_past(books: Books) -> None:
    for table in TABLES_OF_THE_PAST:
        said = refused(f"TRUNCATE {table} CASCADE;", role="owner")
        assert "TRUNCATE on" in said
        assert "is refused: what was written stays" in said


CHANGES_OF_THE_PAST = (
    "UPDATE lending_posting SET amount = amount + 1;",
    "UPDATE lending_posting SET entry_id = entry_id;",
    "DELETE FROM lending_posting;",
    "UPDATE lending_entry SET recorded_at = now();",
    "DELETE FROM lending_entry;",
)


def test_not_even_the_owner_changes_what_was_posted(books: Books) -> None:
    for statement in CHANGES_OF_THE_PAST:
        assert "is refused: what was written stays, corrections are new rows" in refused(statement, role="owner")


def test_an_unbalanced_entry(books: Books) -> None:
    said = refused(
        f"BEGIN; {books.new_entry('lopsided')} {books.posting_of('lopsided', books.custody, '1')} "
        f"{books.posting_of('lopsided', books.free, '-0.5')} COMMIT;"
    )
    assert "do not sum to zero: 0.500000000000000000 of BTC in book lending" in said
    assert Entry.objects.count() == 1


def test_an_entry_that_balances_only_across_assets(books: Books) -> None:
    account = (
        "INSERT INTO lending_ledgeraccount (key, kind, asset_id, party, stripe, opened_at) "
        f"VALUES ('usd', 'custody', {books.usd}, '', 0, now()) RETURNING id \\gset\n"
    )
    legs = books.posting_of("mixed", books.custody, "1") + books.posting_of("mixed", ":id", "-1", btc=books.usd)
    said = refused(f"BEGIN; {account} {books.new_entry('mixed')} {legs} COMMIT;")
    assert "do not sum to zero" in said


def test_an_entry_that_balances_only_across_books(books: Books) -> None:
    legs = books.posting_of("two books", books.custody, "1") + books.posting_of(
        "two books", books.free, "-1", book=BookFactory(code="other").pk
    )
    assert "do not sum to zero" in refused(f"BEGIN; {books.new_entry('two books')} {legs} COMMIT;")


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_or_one_legged_entry(books: Books, count: int) -> None:
    leg = books.posting_of("empty", books.custody, "1") if count else ""
    said = refused(f"BEGIN; {books.new_entry('empty')} {leg} COMMIT;")
    assert "has fewer than two postings" in said or "do not sum to zero" in said
    assert "entry empty has fewer than two postings" in said or count == 1


def test_a_late_pair_on_an_old_entry(books: Books) -> None:
    said = refused(f"BEGIN; {books.pair('deposit:1')} COMMIT;")
    assert "was written by another transaction: it takes no more postings" in said


def test_a_late_pair_after_lying_about_the_transaction(books: Books) -> None:
    """The stamp of an entry is the database's: what the writer says about it does not matter."""
    lie = books.new_entry("liar").replace(", 0);", ", 4611686018427387904);")
    done = psql(f"BEGIN; {lie} {books.pair('liar')} COMMIT;")
    assert done.returncode == 0, done.stderr
    said = refused(f"{books.posting_of('liar', books.custody, '1')}")
    assert "was written by another transaction" in said


@pytest.mark.parametrize(
    "trick",
    [
        "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED;",
        "SET CONSTRAINTS ALL IMMEDIATE;",
        "SAVEPOINT a; RELEASE SAVEPOINT a;",
    ],
)
def test_an_entry_that_turns_lopsided_after_it_was_looked_at(books: Books, trick: str) -> None:
    whole = books.new_entry("trick") + books.pair("trick")
    said = refused(f"BEGIN; {whole} {trick} {books.posting_of('trick', books.custody, '5')} COMMIT;")
    assert "do not sum to zero: 5.000000000000000000 of BTC" in said
    assert not Entry.objects.filter(idempotency_key="trick").exists()


def test_a_posting_in_a_savepoint_that_is_rolled_back_leaves_its_entry_lopsided(books: Books) -> None:
    said = refused(
        f"BEGIN; {books.new_entry('half')} {books.posting_of('half', books.custody, '1')} "
        f"{books.posting_of('half', books.custody, '1')} SAVEPOINT s; {books.posting_of('half', books.free, '-2')} "
        "ROLLBACK TO s; COMMIT;"
    )
    assert "do not sum to zero: 2.000000000000000000 of BTC" in said


def test_a_posting_in_another_asset_than_its_account(books: Books) -> None:
    said = refused(
        f"BEGIN; {books.new_entry('odd')} {books.posting_of('odd', books.custody, '1', btc=books.usd)} "
        f"{books.posting_of('odd', books.free, '-1', btc=books.usd)} COMMIT;"
    )
    assert "is in another asset, or there is no such account" in said


def test_a_posting_that_names_another_client_than_its_account(books: Books) -> None:
    leg = books.posting_of("stranger", books.free, "-1", client=LoanFactory().client_id)
    said = refused(f"BEGIN; {books.new_entry('stranger')} {books.posting_of('stranger', books.custody, '1')} {leg}")
    assert "names another client than its owner" in said


def test_a_posting_that_refers_to_nothing(books: Books) -> None:
    for other in ({"book": 999}, {"client": 999}):
        leg = books.posting_of("nowhere", books.custody, "1", **other)
        said = refused(f"BEGIN; {books.new_entry('nowhere')} {leg} {books.posting_of('nowhere', books.free, '-1')}")
        assert "which do not belong together" in said
    said = refused(f"BEGIN; {books.new_entry('nowhere')} {books.posting_of('nowhere', 999, '1')}")
    assert "there is no such account" in said
    said = refused(books.posting_of("deposit:1", books.custody, "1").replace("SELECT id,", "SELECT id + 1,"))
    assert "was written by another transaction" in said


def test_what_postings_refer_to_is_never_deleted(books: Books) -> None:
    for table in ("asset", "book", "client", "loan", "marginaccount", "ledgeraccount"):
        assert f"DELETE on lending_{table} is refused" in refused(f"DELETE FROM lending_{table};", role="owner")


def test_a_clients_balance_below_zero(books: Books) -> None:
    said = refused(
        f"BEGIN; {books.new_entry('theft')} {books.posting_of('theft', books.free, '2.000000000000000001')} "
        f"{books.posting_of('theft', books.custody, '-2.000000000000000001')} COMMIT;"
    )
    assert 'violates check constraint "balance_within_guard"' in said


def test_an_undeclared_step_of_a_loan(books: Books) -> None:
    said = refused(f"UPDATE lending_loan SET state = 'repaid' WHERE id = {books.loan.pk};")
    assert "a loan can not go from quoted to repaid" in said


def test_a_shard_and_a_touch_are_the_databases_own(books: Books) -> None:
    account = books.loan.margin_account
    done = psql(f"UPDATE lending_marginaccount SET shard = 63, touched_xid = 1 WHERE id = {account.pk};")
    assert done.returncode == 0, done.stderr
    before = account.touched_xid
    account.refresh_from_db()
    assert account.shard == account.pk % 64
    assert account.touched_xid > before


def test_the_maker_as_checker_of_an_approval(books: Books) -> None:
    maker = UserFactory()
    approval = Approval.objects.create(
        kind="release", payload={}, payload_hash=b"", maker=maker, requested_at=AT, expires_at=AT
    )
    update = f"UPDATE lending_approval SET state = 'approved', checker_id = {{}} WHERE id = {approval.pk};"
    assert "approval_maker_is_not_checker" in refused(update.format(maker.pk))
    assert "approval_decided_by_a_checker" in refused(update.format("NULL"))
    assert psql(update.format(UserFactory().pk)).returncode == 0


def test_the_maker_as_checker_of_a_loan(books: Books) -> None:
    loan = make.quoted_loan()
    signer = make.borrower("alice", loan.client)
    by_hand = f"UPDATE lending_loan SET state = 'accepted', accepted_by_id = {signer.pk} WHERE id = {loan.pk};"
    assert "loan is accepted by whoever accepted its newest term sheet" in refused(by_hand)
    offers.accept(loan, by=signer, now=loan.quoted_until - timedelta(minutes=1))
    update = f"UPDATE lending_loan SET state = 'approved', approved_by_id = {{}} WHERE id = {loan.pk};"
    assert "loan_maker_is_not_checker" in refused(update.format(loan.made_by_id))
    assert "loan_active_was_approved" in refused(update.format("NULL"))
    assert psql(update.format(UserFactory().pk)).returncode == 0


def test_the_maker_as_checker_of_a_release_and_of_a_withdrawal(books: Books) -> None:
    maker, account = UserFactory().pk, books.loan.margin_account_id
    release = (
        "INSERT INTO lending_pledgemovement (key, client_id, margin_account_id, asset_id, kind, quantity, "
        "effective_at, recorded_at, entry_id, maker_id, checker_id) "
        f"VALUES ('r', {books.client}, {account}, {books.btc}, 'release', 1, now(), now(), {books.entry}, {{}}, {{}});"
    )
    for makers in ((maker, maker), (maker, "NULL"), ("NULL", maker), ("NULL", "NULL")):
        assert "release_by_maker_and_checker" in refused(release.format(*makers))
    withdrawal = (
        "INSERT INTO lending_withdrawal (public_id, key, asset_id, quantity, destination, purpose, state, maker_id, "
        "checker_id, requested_at, attempts, next_attempt_at, custodian_ref) VALUES (gen_random_uuid(), 'w', "
        f"{books.btc}, 1, '', '', 'requested', {{}}, {{}}, now(), 0, now(), '');"
    )
    assert "withdrawal_maker_is_not_checker" in refused(withdrawal.format(maker, maker))
    assert "withdrawal_checked_was_made" in refused(withdrawal.format("NULL", maker))


@pytest.fixture
def order(books: Books) -> LiquidationOrder:
    account = books.loan.margin_account
    snapshot = PriceSnapshot.objects.create(as_of=AT, marks={})
    call = MarginCall.objects.create(
        client_id=books.client,
        margin_account=account,
        episode=1,
        level="call",
        ltv=D("0.71"),
        debt_usd=D(71),
        weighted_collateral_usd=D(100),
        snapshot=snapshot,
        cure_asset_id=books.usd,
        cash_cure=D(11),
        cure_period_s=3600,
        issued_at=AT,
    )
    cause = SaleCause.objects.create(
        client_id=books.client,
        margin_account=account,
        episode=1,
        kind=SaleCause.Kind.EXPIRED_CALL,
        call=call,
        snapshot=snapshot,
        declared_at=AT,
    )
    return LiquidationOrder.objects.create(
        client_id=books.client,
        margin_account=account,
        episode=1,
        slice=1,
        asset_id=books.btc,
        cause=cause,
        quantity=D(1),
        mark_price=D(35_000),
        snapshot=snapshot,
        ordered_at=AT,
    )


def test_an_over_fill(order: LiquidationOrder) -> None:
    fill = f"UPDATE risk_liquidationorder SET filled_quantity = filled_quantity + {{}} WHERE id = {order.pk};"
    assert psql(fill.format("0.6")).returncode == 0
    assert 'violates check constraint "order_not_over_filled"' in refused(fill.format("0.400000000000000001"))
    assert psql(fill.format("0.4")).returncode == 0


def test_a_second_open_call_in_an_episode(order: LiquidationOrder) -> None:
    columns = [field.column for field in MarginCall._meta.concrete_fields if field.column not in {"id", "public_id"}]
    picked = ", ".join(columns)
    copy = f"INSERT INTO risk_margincall (public_id, {picked}) SELECT gen_random_uuid(), {{}} FROM risk_margincall;"
    again = refused(copy.format(picked))
    assert "call_once_per_episode" in again or "one_open_call" in again
    next_episode = ", ".join("2" if column == "episode" else column for column in columns)
    assert 'violates unique constraint "one_open_call"' in refused(copy.format(next_episode))


def test_what_is_in_order_goes_through(books: Books) -> None:
    done = psql(f"BEGIN; {books.new_entry('fine')} {books.pair('fine')} COMMIT;")
    assert done.returncode == 0, done.stderr
    assert ledger.balance(entries.AccountKey(entries.AccountKind.CLIENT_FREE, "BTC", client_id=books.client)) == D(-3)
