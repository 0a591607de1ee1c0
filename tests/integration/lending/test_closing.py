"""Month-end close: what stops it, the lock by two, what PostgreSQL refuses from then on, and where late facts go."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import connection

from lending import access, approvals, closing, corrections, interest, ledger, repayments
from lending.engine import accounts, entries
from lending.engine.chart import AccountKind
from lending.engine.entries import Heading
from lending.models import (
    Approval,
    AuditRecord,
    Entry,
    Loan,
    Period,
    PeriodState,
    PeriodStep,
    Posting,
    Repayment,
    Role,
    User,
)
from tests.factories import lending as make
from tests.factories.bank import BankAccountFactory
from tests.integration.lending.test_guards_from_psql import psql, refused

MAY, JUNE = dt.date(2021, 5, 1), dt.date(2021, 6, 1)
FIRST = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2021, 6, 1, 9, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _no_invariants_of_other_apps(settings) -> None:
    settings.LENDING_INVARIANTS = "lending.invariants.check"


def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


def dana() -> User:
    return make.staff("dana", Role.DESK_HEAD)


def decide(asked: Approval, *, now: dt.datetime = NOW) -> None:
    approvals.decide(asked, checker=dana(), approve=True, now=now)


@pytest.fixture
def loan(db, monkeypatch: pytest.MonkeyPatch) -> Loan:
    # A seal waits for a commit that this test never makes.
    monkeypatch.setattr(closing, "_UNSEALED", "SELECT 0 WHERE %s IS NOT NULL")
    loan = make.active_loan(payout_address="", days=90)
    interest.accrue_due(now=NOW)
    return Loan.objects.get(pk=loan.pk)


def close(month: dt.date = MAY, *, now: dt.datetime = NOW) -> Period:
    decide(closing.ask_close(month, reason="as agreed", maker=olga(), now=now), now=now)
    return Period.objects.get(start_date=month)


def test_a_month_is_closed_by_two_and_opened_again_by_two(loan: Loan) -> None:
    period = close()
    assert (period.state, period.maker, period.checker) == (PeriodState.LOCKED, olga(), dana())
    assert {check["code"] for check in period.checks} >= {"accruals", "seals", "bank_lines", "breaks", "invariants"}
    decide(closing.ask_reopen(MAY, reason="a wrong rate", maker=olga(), now=NOW))
    period.refresh_from_db()
    assert period.state == PeriodState.OPEN
    close()
    assert list(PeriodStep.objects.values_list("state", "reason")) == [
        ("locked", "as agreed"), ("open", "a wrong rate"), ("locked", "as agreed"),
    ]  # fmt: skip
    trail = AuditRecord.objects.filter(action__startswith="period_").order_by("pk")
    assert list(trail.values_list("action", flat=True)) == ["period_locked", "period_reopened", "period_locked"]


def test_whoever_asks_does_not_confirm(loan: Loan) -> None:
    asked = closing.ask_close(MAY, reason="x", maker=dana(), now=NOW)
    with pytest.raises(approvals.UnableToApprove, match="made this request"):
        approvals.decide(asked, checker=dana(), approve=True, now=NOW)
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        approvals.decide(asked, checker=olga(), approve=True, now=NOW)


def test_what_comes_late_counts_from_the_open_month_and_says_so(loan: Loan) -> None:
    close()
    at = FIRST - dt.timedelta(hours=3)
    heading = Heading(key="wire", effective_at=at, book_id=make.BookFactory().pk, client_id=loan.client_id)
    entry = ledger.post(entries.deposit(heading, asset="USD", quantity=Decimal(1000), custodian="paper"), now=NOW)
    assert entry.effective_at == FIRST
    assert set(entry.postings.values_list("cause", flat=True)) == {"dated 2021-05-31 21:00:00 UTC"}
    received = NOW - dt.timedelta(hours=11)
    payment = repayments.record(loan, Decimal(1000), key="late", received_at=received, now=NOW)
    assert (payment.received_at, payment.entry.effective_at) == (received, FIRST)
    assert not Entry.objects.filter(effective_at__lt=FIRST, recorded_at__gte=NOW).exclude(kind="accrual").exists()


def test_a_closed_month_stays_as_it_was_reported_when_its_payments_are_put_right(loan: Loan) -> None:
    """Twice: a payment of May is taken back in June, and another of May is found; the books are right from June on."""
    untouched = make.active_loan(now=loan.start_at, payout_address="", days=90)
    make.give(loan.client, "USD", "300000", now=FIRST - dt.timedelta(days=9))
    received = FIRST - dt.timedelta(days=7, hours=5)
    payment = repayments.record(loan, Decimal(100_000), key="may", received_at=received, now=NOW)
    interest.accrue_due(now=NOW)
    close()
    reported = set(Entry.objects.filter(effective_at__lt=FIRST).values_list("pk", flat=True))
    oscar = make.staff("oscar", Role.OPERATIONS)

    def put_right(asked: Approval) -> Loan:
        approvals.decide(asked, checker=oscar, approve=True, now=NOW)
        row = Loan.objects.get(pk=loan.pk)
        owner = ("USD", row.client_id, row.pk)
        assert ledger.balance(accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, *owner)) == row.interest_due
        assert ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, *owner)) == row.principal_outstanding
        assert set(Entry.objects.filter(effective_at__lt=FIRST).values_list("pk", flat=True)) == reported
        return row

    for found in (FIRST - dt.timedelta(days=8), FIRST - dt.timedelta(days=3, hours=2)):
        asked = corrections.ask_reversal(payment, cause="wrong", reason="another's", maker=olga(), now=NOW)
        after = put_right(asked)
        assert interest.payoff(after, now=NOW).total == interest.payoff(untouched, now=NOW).total
        asked = corrections.ask_payment(
            after, Decimal(50_000), received_at=found, reason="found", maker=olga(), now=NOW
        )
        put_right(asked)
        payment = Repayment.objects.latest("pk")
        assert (payment.received_at, payment.entry.effective_at) == (found, FIRST)
        moved = Posting.objects.filter(entry=payment.entry).values_list("cause", flat=True)
        assert all(f"dated {found:%Y-%m-%d %H:%M:%S} UTC" in cause for cause in moved)


def _draft(key: str, at: dt.datetime, amount: int = 5, cause: str = "") -> entries.Draft:
    heading = Heading(key=key, effective_at=at, book_id=make.BookFactory().pk, cause=cause)
    return entries.capital(heading, asset="USD", amount=Decimal(amount), custodian="paper")


def test_a_key_says_the_same_before_and_after_the_lock(loan: Loan) -> None:
    late = FIRST - dt.timedelta(days=1)
    before = ledger.post(_draft("before", late), now=NOW)
    close()
    assert ledger.post(_draft("before", late), now=NOW) == before
    moved = ledger.post(_draft("after", late, cause="c" * 80), now=NOW)
    assert moved.effective_at == FIRST
    said = Posting.objects.filter(entry=moved).values_list("cause", flat=True)
    assert all(len(words) == 80 and words.endswith("; dated 2021-05-31 00:00:00 UTC") for words in said)
    july = dt.datetime(2021, 7, 1, 9, tzinfo=dt.UTC)
    interest.accrue_due(now=july)
    close(JUNE, now=july)
    assert ledger.post(_draft("after", late, cause="c" * 80), now=july) == moved
    with pytest.raises(ledger.UnableToPost, match="already posted with other content"):
        ledger.post(_draft("after", late, amount=6, cause="c" * 80), now=july)
    many = ledger.post_many([_draft("m1", late), _draft("m2", july)], now=july)
    assert [entry.effective_at for entry in many] == [dt.datetime(2021, 7, 1, tzinfo=dt.UTC), july]


def test_a_reversal_of_a_closed_entry_is_posted_in_the_open_month(loan: Loan) -> None:
    wrong = ledger.post(_draft("wrong", FIRST - dt.timedelta(days=2)), now=NOW)
    close()
    undone = ledger.reverse(wrong, key="undo", now=NOW, cause="typo", effective_at=wrong.effective_at)
    assert (undone.effective_at, undone.reverses) == (FIRST, wrong)


STOPS = {
    "not over": (lambda loan: None, MAY, FIRST - dt.timedelta(seconds=1), "the month is not over yet"),
    "accruals": (
        lambda loan: Loan.objects.filter(pk=loan.pk).update(accrued_at=FIRST - dt.timedelta(hours=1)),
        MAY, NOW, "must be settled first: Loans whose interest is not posted to the end of the month: 1",
    ),
    "invariants": (
        lambda loan: Loan.objects.filter(pk=loan.pk).update(interest_due=1),
        MAY, NOW, "must be settled first: Invariants that do not hold: 1",
    ),
    "order": (lambda loan: None, JUNE, NOW, "May 2021 is to be closed first"),
    "asked twice": (
        lambda loan: closing.ask_close(MAY, reason="x", maker=olga(), now=NOW), MAY, NOW, "asked for already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPS)
def test_what_stops_the_close_is_said(loan: Loan, case: str) -> None:
    spoil, month, now, says = STOPS[case]
    spoil(loan)
    with pytest.raises(closing.UnableToClose, match=says):
        closing.ask_close(month, reason="x", maker=olga(), now=now)
    assert not Period.objects.filter(state=PeriodState.LOCKED).exists()


def test_an_unsealed_entry_stops_the_close(loan: Loan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "_UNSEALED", "SELECT count(*) FROM lending_entry WHERE effective_at < %s")
    with pytest.raises(closing.UnableToClose, match="Entries that no seal vouches for yet"):
        closing.ask_close(MAY, reason="x", maker=olga(), now=NOW)


def test_closing_over_what_is_open_takes_a_reason(loan: Loan) -> None:
    BankAccountFactory()
    with pytest.raises(closing.UnableToClose, match="Bank accounts without a statement to the end of the month: 1"):
        closing.ask_close(MAY, reason=" ", maker=olga(), now=NOW)
    asked = closing.ask_close(MAY, reason="opened yesterday", maker=olga(), now=NOW)
    assert asked.payload["open"] == "Bank accounts without a statement to the end of the month: 1"


def test_what_no_longer_holds_when_it_is_confirmed_stops_it(loan: Loan) -> None:
    asked = closing.ask_close(MAY, reason="x", maker=olga(), now=NOW)
    Loan.objects.filter(pk=loan.pk).update(interest_due=1)
    with pytest.raises(approvals.UnableToApprove, match="Invariants that do not hold: 1"):
        decide(asked)
    asked.refresh_from_db()
    assert asked.state == Approval.State.REQUESTED
    assert not Period.objects.exists()


def test_refusals_to_open_again(loan: Loan) -> None:
    for month, reason, says in (
        (MAY, "x", "no month is locked"),
        (JUNE, "x", "only May 2021 can be opened again"),
        (MAY, " ", "say why"),
    ):
        if says != "no month is locked" and not Period.objects.exists():
            close()
        with pytest.raises(closing.UnableToClose, match=says):
            closing.ask_reopen(month, reason=reason, maker=olga(), now=NOW)
    with pytest.raises(access.UnableToAccess):
        closing.ask_reopen(MAY, reason="x", maker=make.staff("rhea", Role.RISK), now=NOW)


# --- from psql, as the runtime role ---------------------------------------------------------------------------------


def _locked_may() -> tuple[int, int]:
    one, two = olga().pk, dana().pk
    period = Period.objects.create(start_date=MAY, end_at=FIRST)
    Period.objects.filter(pk=period.pk).update(
        state=PeriodState.LOCKED, maker=one, checker=two, reason="x", changed_at=NOW
    )
    return one, two


def test_postgresql_refuses_an_entry_in_a_locked_month(real_db: str) -> None:
    make.asset("USD")
    ledger.post(_draft("first", FIRST - dt.timedelta(days=3)), now=NOW)
    _locked_may()
    for at in ("2021-05-31 23:59:59.999999+00", "2021-04-30 12:00+00", "1999-01-01 00:00+00"):
        said = refused(
            "INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid) "
            f"VALUES ('late', 'by hand', '{at}', now(), '', 0);"
        )
        assert "entry late is dated" in said
        assert "the books are locked until 2021-06-01" in said
    posted = (
        "BEGIN; INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid) "
        "VALUES ('on time', 'by hand', '2021-06-01 00:00+00', now(), '', 0);"
        "INSERT INTO lending_posting (entry_id, account_id, asset_id, amount, book_id, category, cause) "
        "SELECT e.id, p.account_id, p.asset_id, p.amount, p.book_id, p.category, '' FROM lending_entry e, "
        "lending_posting p WHERE e.idempotency_key = 'on time'; COMMIT;"
    )
    assert psql(posted).returncode == 0


BY_HAND = {
    "alone": ("UPDATE lending_period SET state = 'open', checker_id = NULL", "by two persons"),
    "twice the same": ("UPDATE lending_period SET state = 'open', checker_id = maker_id", "period_changed_by_two"),
    "another month": ("UPDATE lending_period SET start_date = '2021-04-01'", "permission denied"),
    "away with it": ("DELETE FROM lending_period", "permission denied"),
    "another past": ("UPDATE lending_periodstep SET reason = 'y'", "permission denied"),
    "no trail": ("DELETE FROM lending_periodstep", "permission denied"),
    "an invented step": (
        ("INSERT INTO lending_periodstep (period_id, state, maker_id, checker_id, reason, checks, happened_at) "
        "SELECT id, 'open', maker_id, checker_id, '', '[]', now() FROM lending_period"),
        "permission denied",
    ),
    "a month born locked": (
        ("INSERT INTO lending_period (start_date, end_at, state, reason, checks) "
        "VALUES ('2021-06-01', '2021-07-01 00:00+00', 'locked', '', '[]')"),
        "a month begins open",
    ),
    "a month of six weeks": (
        ("INSERT INTO lending_period (start_date, end_at, state, reason, checks) "
        "VALUES ('2021-06-01', '2021-07-15 00:00+00', 'open', '', '[]')"),
        "does not end at",
    ),
    "no trigger": ("ALTER TABLE lending_entry DISABLE TRIGGER lending_entry_in_open_period", "must be owner"),
}  # fmt: skip


def test_postgresql_refuses_to_change_a_lock_otherwise(real_db: str) -> None:
    _locked_may()
    for statement, says in BY_HAND.values():
        assert says in refused(f"{statement};"), statement
    assert PeriodStep.objects.count() == 1


def test_months_are_opened_again_in_the_reverse_order(real_db: str) -> None:
    one, two = _locked_may()
    june = Period.objects.create(start_date=JUNE, end_at=closing.end_of(JUNE))
    Period.objects.filter(pk=june.pk).update(state="locked", maker=one, checker=two, changed_at=NOW)
    said = refused("UPDATE lending_period SET state = 'open' WHERE start_date = '2021-05-01';")
    assert "opened again in the reverse one" in said


def test_a_poster_that_has_not_committed_is_waited_for(real_db: str) -> None:
    """Whoever posts into May and commits after the lock would slip behind it: the lock waits, and then fails to see."""
    make.asset("USD")
    ledger.post(_draft("first", FIRST - dt.timedelta(days=3)), now=NOW)
    one, two = olga().pk, dana().pk
    Period.objects.create(start_date=MAY, end_at=FIRST)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        ledger.post(_draft("in flight", FIRST - dt.timedelta(days=1)), now=NOW)
        said = refused(
            "SET lock_timeout = '300ms'; UPDATE lending_period SET state = 'locked', "
            f"maker_id = {one}, checker_id = {two}, changed_at = now();"
        )
        assert "lock timeout" in said
        cursor.execute("COMMIT")
    assert Entry.objects.filter(idempotency_key="in flight").exists()
