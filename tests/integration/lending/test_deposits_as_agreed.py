"""What arrives counts as the signed sheet says, pays the loan that two persons named, and goes as it came."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import (
    approvals,
    collateral,
    corrections,
    custody,
    dunning,
    interest,
    ledger,
    loans,
    matching,
    objections,
    offers,
    repayments,
    rolling,
    term_sheets,
)
from lending.engine import accounts
from lending.models import (
    Deposit,
    DepositAddress,
    Loan,
    MarginAccount,
    Obligation,
    Pledge,
    ProductHaircut,
    Repayment,
    Role,
)
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW, D = make.NOW, Decimal
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)


def offered(loan: Loan, principal: int) -> Loan:
    """Return a second offer into a loan's account."""
    return offers.quote(
        client=loan.client,
        product=loan.product,
        principal=D(principal),
        annual_rate=D("0.09"),
        maturity_date=(NOW + 60 * DAY).date(),
        quoted_until=NOW + HOUR,
        made_by=loan.client.relationship_manager,
        now=NOW,
        margin_account=MarginAccount.objects.get(pk=loan.margin_account_id),
    )


def unmatched(ref: str, amount: int, at: dt.datetime) -> Deposit:
    """Return money that came for nobody."""
    make.asset("USD")
    make.paper().simulate_deposit(ref, address="nobodys", asset="USD", quantity=D(amount), at=at)
    custody.poll_due(now=at + HOUR)
    custody.credit_due(now=at + HOUR)
    return Deposit.objects.get(custodian_ref=ref, state=Deposit.State.UNMATCHED)


def matched(deposit: Deposit, loan: Loan, at: dt.datetime) -> Repayment:
    asked = matching.ask(deposit, loan, reason="ref", maker=make.staff("olga", Role.OPERATIONS), now=at)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=at)
    return Repayment.objects.get()


def test_collateral_that_arrives_counts_with_the_haircut_of_its_sheet() -> None:
    product = make.ProductFactory()
    ProductHaircut.objects.create(product=product, asset=make.asset("BTC"), haircut=D("0.2"))
    account = make.pending_loan(product=product).margin_account
    custody.open_all([account], now=NOW)
    address = account.deposit_addresses.get(purpose="collateral", asset__code="BTC")
    make.paper().simulate_deposit("tx-1", address=address.address, asset="BTC", quantity=D(25), at=NOW)
    custody.poll_due(now=NOW + 2 * HOUR)
    custody.credit_due(now=NOW + 2 * HOUR)
    arrived = Pledge.objects.get(margin_account=account)
    assert (arrived.quantity, arrived.haircut) == (D(25), D("0.2"))


def test_what_was_only_offered_changes_nothing_that_was_signed() -> None:
    product = make.ProductFactory()
    row = ProductHaircut.objects.create(product=product, asset=make.asset("ETH"), haircut=D("0.1"))
    loan = make.active_loan(product=product, opens_pool=True)
    ProductHaircut.objects.filter(pk=row.pk).update(haircut=D("0.5"))
    offer = offered(loan, 1000)
    assert term_sheets.haircuts(loan.margin_account_id)["ETH"] == D("0.1")
    offers.decline(offer, by=loan.accepted_by, reason="", now=NOW)
    make.give(loan.client, "ETH", "10")
    account = MarginAccount.objects.get(pk=loan.margin_account_id)
    collateral.top_up(account, make.asset("ETH"), D(10), key="x", now=NOW)
    assert Pledge.objects.get(margin_account=account, asset__code="ETH").haircut == D("0.1")


def test_a_receipt_pays_the_loan_that_two_persons_named() -> None:
    first = make.active_loan(payout_address="wire:1", days=30, opens_pool=True)
    second = offered(first, 100_000)
    offers.accept(second, by=first.accepted_by, now=NOW)
    offers.approve(second, by=make.staff("rhea", Role.RISK), now=NOW)
    second = offers.collateral_pending(second, actor=None, now=NOW)
    second = loans.fund(second, permit=make.draw_permit(second), actor=make.staff("olga", Role.OPERATIONS), now=NOW)
    assert matched(unmatched("wire-9", 50_000, NOW + DAY), second, NOW + DAY + 2 * HOUR).loan_id == second.pk


def let_in(ref: str, amount: int, loan: Loan, at: dt.datetime) -> Repayment:
    """Return what a wire paid whose sender the custodian objected to, until two persons let it in."""
    address = DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=loan.asset, address=f"its-own-{ref}",
        purpose=DepositAddress.Purpose.REPAYMENT, created_at=NOW,
    ).address  # fmt: skip
    make.paper().simulate_deposit(ref, address=address, asset="USD", quantity=D(amount), at=at, screened=False)
    custody.poll_due(now=at + HOUR)
    custody.credit_due(now=at + HOUR)
    held = Deposit.objects.get(custodian_ref=ref, state=Deposit.State.HELD)
    asked = objections.ask(held, reason="known", maker=make.staff("olga", Role.OPERATIONS), now=at + 2 * HOUR)
    approvals.decide(asked, checker=make.staff("cora", Role.COMPLIANCE), approve=True, now=at + 2 * HOUR)
    return Repayment.objects.get()


@pytest.mark.parametrize("how", ["matched", "let in"])
def test_a_wire_that_was_kept_apart_and_bounces_takes_nobody_elses_money(how: str) -> None:
    loan = make.active_loan(payout_address="wire:1")
    if how == "matched":
        payment = matched(unmatched("wire-9", 100_250, NOW + 2 * DAY), loan, NOW + 2 * DAY + 2 * HOUR)
    else:
        payment = let_in("wire-9", 100_250, loan, NOW + 2 * DAY)
    unmatched("wire-77", 200_000, NOW + 3 * DAY)
    olga, oscar = make.staff("olga", Role.OPERATIONS), make.staff("oscar", Role.OPERATIONS)
    asked = corrections.ask_reversal(payment, cause="bounced", reason="recalled", maker=olga, now=NOW + 4 * DAY)
    approvals.decide(asked, checker=oscar, approve=True, now=NOW + 4 * DAY)
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == 0
    assert ledger.owed(accounts.deposits_pending("USD")) == 200_000


def test_a_period_of_an_open_term_asks_for_interest_after_a_payment_is_taken_back() -> None:
    begin = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
    product = make.ProductFactory(code="open", tenor="open", notice_days=5, schedule_kind="interest_only", grace_days=2)
    loan = make.active_loan(now=begin, days=None, principal="300000", annual_rate="0.12", product=product)
    make.give(loan.client, "USD", "400000", now=begin)
    now = begin

    def until(day: dt.date) -> Loan:
        nonlocal now
        while now.date() < day:
            now += DAY
            for step in (interest.accrue_due, rolling.roll_due, dunning.work_due):
                step(now=now)
        return Loan.objects.select_related("asset", "client").get(pk=loan.pk)

    early = repayments.record(until(dt.date(2021, 6, 10)), D(100_000), key="early", received_at=now, now=now)
    running = until(dt.date(2021, 6, 18))
    asks = Obligation.objects.order_by("due_at")[0].amount
    repayments.record(running, asks, key="june", received_at=now, now=now)
    until(dt.date(2021, 6, 21))
    olga, oscar = make.staff("olga", Role.OPERATIONS), make.staff("oscar", Role.OPERATIONS)
    asked = corrections.ask_reversal(early, cause="wrong", reason="another's", maker=olga, now=now)
    approvals.decide(asked, checker=oscar, approve=True, now=now)
    running = until(dt.date(2021, 6, 22))
    first = Obligation.objects.order_by("due_at")[0]
    if missing := first.asks - first.paid:
        repayments.record(running, missing, key="rest", received_at=now, now=now)
    until(dt.date(2021, 7, 15))
    july = Obligation.objects.order_by("due_at")[1].amount
    assert july == D("5493.40")
