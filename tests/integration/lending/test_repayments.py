"""Payments, proceeds and losses: every split is exact, every bad input has its words."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import interest, ledger, loans, repayments, replays
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import Entry, Loan, LoanState, MarginAccount, Repayment
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
DAY = dt.timedelta(days=1)


@pytest.fixture
def loan() -> Loan:
    """Return 500,000 USD at 9 % ACT/360 (125 a day), with the proceeds paid out and 600,000 USD free."""
    row = make.active_loan(payout_address="wire:1")
    make.give(row.client, "USD", "600000")
    return row


def free(loan: Loan) -> Decimal:
    return -ledger.balance(accounts.client_free(loan.asset.code, loan.client_id))


def of_loan(loan: Loan, kind: AccountKind) -> Decimal:
    return ledger.balance(accounts.of_loan(kind, loan.asset.code, loan.client_id, loan.pk))


def pay(loan: Loan, amount: str, *, key: str = "wire:1", at: dt.datetime = NOW + DAY, **more: object) -> Repayment:
    given = {"received_at": at, "now": at, **more}
    return repayments.record(loan, Decimal(amount), key=key, **given)  # type: ignore[arg-type]


def test_a_payment_serves_interest_to_the_second_then_principal(loan: Loan) -> None:
    payment = pay(loan, "100000", at=NOW + DAY + dt.timedelta(hours=12))
    # A day and a half at 125 a day.
    assert (payment.interest, payment.principal, payment.surplus) == (Decimal("187.50"), Decimal("99812.50"), 0)
    loan.refresh_from_db()
    assert (loan.principal_outstanding, loan.interest_due) == (Decimal("400187.50"), 0)
    assert of_loan(loan, AccountKind.LOAN_PRINCIPAL) == Decimal("400187.50")
    assert of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == 0
    assert free(loan) == 500000
    assert loan.state == LoanState.ACTIVE


def test_a_payment_before_the_daily_run_leaves_the_ended_days_their_interest(loan: Loan) -> None:
    pay(loan, "100000", at=NOW + 2 * DAY + dt.timedelta(minutes=1))
    interest.accrue_due(now=NOW + 2 * DAY + dt.timedelta(hours=1))
    booked = Entry.objects.filter(kind="accrual").order_by("effective_at")
    ended = [entry.effective_at for entry in booked if entry.idempotency_key.count(":") == 2]
    midnights = [NOW.replace(hour=0, minute=0, second=0, microsecond=0) + n * DAY for n in (1, 2)]
    assert ended == [midnight - dt.timedelta(microseconds=1) for midnight in midnights]
    loan.refresh_from_db()
    assert (loan.interest_posted, loan.interest_due) == (Decimal("250.09"), 0)


@pytest.mark.parametrize(
    ("day_count", "posted", "days"),
    [
        ("ACT/360", "1583.34", 13),
        ("ACT/365F", "1561.65", 13),
        ("ACT/ACT ISDA", "1561.65", 13),
        ("30/360", "1458.34", 12),
        ("30E/360", "1458.34", 12),
    ],
)
def test_interest_accrues_by_the_loans_day_count(day_count: str, posted: str, days: int) -> None:
    """From 19 May 08:00 to 1 June are 12 2/3 days at 45,000 a year; under 30/360 the 31st earns nothing."""
    loan = make.active_loan(product=make.ProductFactory(code="counted", day_count=day_count))
    for day in range(1, 14):
        interest.accrue_due(now=NOW + day * DAY)
    loan.refresh_from_db()
    assert loan.interest_posted == loan.interest_due == Decimal(posted)
    assert of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == Decimal(posted)
    assert Entry.objects.filter(kind="accrual", postings__loan_id=loan.pk).distinct().count() == days


def test_interest_after_a_part_payment_runs_on_the_rest(loan: Loan) -> None:
    pay(loan, "250125")
    assert interest.payoff(loan.__class__.objects.get(pk=loan.pk), now=NOW + 2 * DAY).pending == Decimal("62.50")
    interest.accrue_due(now=NOW + 2 * DAY)
    loan.refresh_from_db()
    quote = interest.payoff(loan, now=NOW + 2 * DAY)
    assert quote.interest + quote.pending == Decimal("62.50")
    assert quote.total == Decimal("250062.50")


def test_the_payoff_closes_the_loan_and_an_overpayment_stays_with_the_client(loan: Loan) -> None:
    payment = pay(loan, "510000")
    assert (payment.principal, payment.interest, payment.surplus) == (500000, 125, 9875)
    loan.refresh_from_db()
    assert loan.state == LoanState.REPAID
    assert free(loan) == Decimal(99875)
    assert interest.payoff(loan, now=NOW + 9 * DAY).total == 0
    with pytest.raises(repayments.UnableToRepay, match=r"nothing is owed on .*: it is repaid"):
        pay(loan, "1", key="wire:2", at=NOW + 2 * DAY)


def test_the_same_key_pays_once(loan: Loan) -> None:
    first = pay(loan, "1000")
    assert pay(loan, "1000", at=NOW + 2 * DAY) == first
    assert free(loan) == 599000
    with pytest.raises(repayments.UnableToRepay, match=r"the key wire:1 was used for another payment, of 1000"):
        pay(loan, "1001")


@pytest.mark.parametrize(
    ("amount", "more", "message"),
    [
        ("0", {}, "0 USD is not an amount above zero"),
        ("-5", {}, "-5 USD is not an amount above zero"),
        ("NaN", {}, "NaN USD is not an amount above zero"),
        ("10.001", {}, r"10.001 is finer than USD can be paid \(2 decimals\)"),
        ("600000.01", {}, "has 600000 USD free, not 600000.01"),
        ("10", {"received_at": NOW + 2 * DAY, "now": NOW + DAY}, "can not have arrived in the future"),
        ("10", {"received_at": NOW - DAY, "now": NOW}, "before the loan was funded"),
    ],
)
def test_a_payment_that_can_not_be_is_refused_in_words(
    loan: Loan, amount: str, more: dict[str, object], message: str
) -> None:
    with pytest.raises(repayments.UnableToRepay, match=message):
        pay(loan, amount, **more)
    assert not Repayment.objects.exists()
    assert free(loan) == 600000


def test_the_wrong_currency_is_refused(loan: Loan) -> None:
    with pytest.raises(repayments.UnableToRepay, match="this loan is in USD; a payment in USDC can not repay it"):
        pay(loan, "10", asset=make.asset("USDC"))


def test_a_person_can_not_back_date_a_payment_by_more_than_a_day(loan: Loan) -> None:
    olga = make.staff("olga")
    late = NOW + 5 * DAY
    with pytest.raises(repayments.UnableToRepay, match="needs a back-dated entry by two persons"):
        pay(loan, "10", at=NOW + DAY, now=late, actor=olga)
    # The custodian's own report of a deposit is evidence enough.
    assert pay(loan, "10", at=NOW + DAY, now=late).received_at == NOW + DAY


def test_a_payment_before_one_that_was_applied_changes_what_that_one_paid(loan: Loan) -> None:
    later = pay(loan, "1000", at=NOW + 2 * DAY)
    assert (later.interest, later.principal) == (250, 750)
    earlier = pay(loan, "100000", key="wire:2", at=NOW + DAY, now=NOW + 2 * DAY)
    assert (earlier.interest, earlier.principal) == (125, 99875)
    # 400,125 at 9 % over a day are 100.03.
    part = replays.parts_now([later])[later.pk]
    assert (part.interest, part.principal) == (Decimal("100.04"), Decimal("899.96"))
    loan.refresh_from_db()
    assert loan.principal_outstanding == of_loan(loan, AccountKind.LOAN_PRINCIPAL) == Decimal("399225.04")
    assert loan.interest_due == of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == 0
    assert free(loan) == 499000


def test_a_payment_dated_before_the_last_accrual_takes_interest_back(loan: Loan) -> None:
    midnight = dt.datetime(2021, 5, 21, tzinfo=dt.UTC)
    interest.accrue_due(now=midnight)
    before = midnight - dt.timedelta(hours=4)
    payment = pay(loan, "600000", at=before, now=midnight)
    # 1.5 days from funding at 08:00 to 20:00 the next day; 1.6667 days were posted.
    assert (payment.interest, payment.principal) == (Decimal("187.50"), 500000)
    assert of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == 0
    assert ledger.balance(accounts.house(AccountKind.INTEREST_INCOME, "USD")) == Decimal("-187.50")


def test_an_offer_is_not_repaid() -> None:
    loan = make.quoted_loan()
    make.give(loan.client, "USD", "10")
    with pytest.raises(repayments.UnableToRepay, match=r"nothing is owed on .*: it is quoted"):
        pay(loan, "10")


# --- sales and losses -----------------------------------------------------------------------------------------------


def test_proceeds_above_the_debt_belong_to_the_client_at_once() -> None:
    loan = make.active_loan(payout_address="wire:1")
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="expired call", now=NOW)
    make.sold(loan, "10", "520000")
    result = repayments.apply(Decimal(520000), loan, key="fill:1", cause="call 1", now=NOW)
    assert result == repayments.WaterfallResult(
        fees=Decimal(0), interest=Decimal(0), principal=Decimal(500000), surplus=Decimal(20000), short=Decimal(0)
    )
    assert free(loan) == 20000
    assert Loan.objects.get(pk=loan.pk).state == LoanState.REPAID
    again = repayments.apply(Decimal(520000), loan, key="fill:1", cause="call 1", now=NOW)
    assert again == result
    assert free(loan) == 20000


def test_a_late_fill_after_the_payoff_is_all_surplus(loan: Loan) -> None:
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="expired call", now=NOW)
    make.sold(loan, "1", "30000")
    pay(loan, "500000", at=NOW)
    result = repayments.apply(Decimal(30000), loan, key="fill:1", cause="call 1", now=NOW)
    assert (result.principal, result.surplus) == (0, 30000)


def test_proceeds_that_no_sale_brought_are_refused(loan: Loan) -> None:
    with pytest.raises(repayments.UnableToRepay, match="0 USD of sale proceeds stand on the account, not 5"):
        repayments.apply(Decimal(5), loan, key="fill:1", cause="call 1", now=NOW)
    with pytest.raises(repayments.UnableToRepay, match="proceeds of 0 USD are not above zero"):
        repayments.apply(Decimal(0), loan, key="fill:1", cause="call 1", now=NOW)


def test_a_shortfall_is_a_claim_and_a_loss_at_once() -> None:
    loan = make.active_loan(payout_address="wire:1")
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="expired call", now=NOW)
    with pytest.raises(repayments.UnableToRealise, match=r"collateral of .* is left to sell"):
        repayments.shortfall(loan, key="loss:1", cause="call 1", now=NOW)
    make.sold(loan, "25", "450000")
    with pytest.raises(repayments.UnableToRealise, match=r"sale proceeds of .* are not applied yet"):
        repayments.shortfall(loan, key="loss:1", cause="call 1", now=NOW)
    result = repayments.apply(Decimal(450000), loan, key="fill:1", cause="call 1", now=NOW)
    assert result.short == 50000
    later = NOW + dt.timedelta(hours=24)
    # 50,000 at 9 % for a day: 12.50 of interest is lost with the principal.
    assert repayments.shortfall(loan, key="loss:1", cause="call 1", now=later) == Decimal("50012.50")
    loan.refresh_from_db()
    assert loan.state == LoanState.WORKOUT
    assert not loans.owes(loan)
    assert of_loan(loan, AccountKind.DEFICIENCY_CLAIM) == Decimal("50012.50")
    assert ledger.balance(accounts.house(AccountKind.CREDIT_LOSS, "USD")) == Decimal("50012.50")
    assert repayments.shortfall(loan, key="loss:1", cause="call 1", now=later) == 0


def test_a_healthy_loan_has_no_shortfall(loan: Loan) -> None:
    with pytest.raises(repayments.UnableToRealise, match="is active: only a sale or a default ends in a loss"):
        repayments.shortfall(loan, key="loss:1", cause="call 1", now=NOW)


def test_every_payment_raises_the_version(loan: Loan) -> None:
    before = MarginAccount.objects.get(pk=loan.margin_account_id).version
    pay(loan, "10")
    assert MarginAccount.objects.get(pk=loan.margin_account_id).version > before
