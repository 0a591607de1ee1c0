"""A loan is not paid at maturity while its LTV is low: risk asks, the head of risk agrees, and it is sold for that."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import approvals, corrections, dunning, ledger, margin_accounts, notices, repayments
from lending.engine import accounts, money
from lending.models import Approval, ClientUser, Loan, LoanState, Obligation, Product, Repayment, Role
from otc import fills, ports, quotes, rfqs, settlement
from risk import default_sales, invariants, prices, two_keys
from risk.models import LIVE_ORDER_STATES, SaleCause
from tests.factories.dealers import ScriptedDealer
from tests.factories.defaults import agreed, in_default, in_default_in_a_pool
from tests.factories.lending import ProductFactory
from tests.factories.otc import CODES, DealerFactory
from tests.factories.risk import Desk, staff, wrongful

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_it_is_sold_for_its_default_by_two_persons_and_says_why(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    its_page, door = f"/admin/lending/loan/{loan.pk}/change/", f"/admin/defaults/{loan.pk}/"
    assert "is active: nothing is sold for a default" in desk.page(desk.risk, door, reason="Early")
    loan = in_default(desk, loan)
    desk.minutes(2)
    assert (desk.orders(loan), desk.state(loan)) == ([], "healthy")
    assert f'hx-get="{door}"' in desk.page(desk.risk, its_page)
    assert "Ask to sell for the default" in desk.page(desk.risk, door)
    assert "Ask to sell for the default" not in desk.page(desk.manager, door)
    assert "Refused: say why" in desk.page(desk.risk, door, reason=" ")
    assert "Refused: the reason has 404 characters" in desk.page(desk.risk, door, reason="why " * 100 + "?why")
    assert "waits on the page Approvals" in desk.page(desk.risk, door, reason="Nothing came, nobody answers")
    assert "Refused: it was asked for already" in desk.page(desk.second, door, reason="Me too")
    asked = Approval.objects.get(kind="sell_for_default")
    button = f"/admin/lending/approval/{asked.pk}/approve/"
    assert "can not decide it" in desk.page(desk.risk, button, reason="")
    assert "Approved by you" in desk.page(desk.second, button, reason="so be it")
    desk.step()
    cause = SaleCause.objects.get()
    assert (cause.kind, cause.call, cause.loan) == ("maturity_default", None, loan)
    (order,) = desk.orders(loan)
    owed = desk.payoff(loan)
    assert owed < order.quantity * 40_000 < owed * Decimal("1.05")  # the payoff and what selling costs, and no more
    borrower = ClientUser.objects.get(client=loan.client).user
    assert "In default: collateral is being sold" in desk.page(borrower, f"/portal/loans/{loan.public_id}/")
    assert "Pay a loan in default" in desk.page(borrower, "/portal/")
    assert "Two persons of the desk have agreed" in desk.page(borrower, "/portal/notices/")
    assert "Maturity Default" in desk.page(desk.risk, f"/console/accounts/{loan.margin_account.public_id}/")
    assert "Nothing came, nobody answers" in desk.page(desk.second, door)
    desk.sell_out(loan, price="39900")
    loan.refresh_from_db()
    cause.refresh_from_db()
    assert (loan.state, cause.outcome) == (LoanState.REPAID, "debt_gone")
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) > 0  # what was over is the client's
    assert (wrongful(), invariants.check()) == ([], [])


def test_who_pays_before_it_is_sold_stops_it(desk: Desk) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    desk.heard = False
    desk.now += dt.timedelta(seconds=1)
    agreed(desk, loan)
    desk.step(BTC="39000")
    assert desk.orders(loan) == []  # what had arrived by then may be known to the custodian alone
    desk.heard = True
    desk.step()
    (order,) = desk.orders(loan)
    desk.pay(loan, "21500")
    desk.step()
    order.refresh_from_db()
    loan.refresh_from_db()
    assert (order.state, order.filled_quantity, loan.state) == ("cancelled", 0, LoanState.REPAID)
    assert desk.pledged(loan, "BTC") == 1
    assert SaleCause.objects.get().outcome == "debt_gone"
    assert invariants.check() == []


def test_what_all_collateral_leaves_unpaid_is_a_shortfall(desk: Desk) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    agreed(desk, loan)
    desk.step(BTC="20000")  # past the liquidation level as well: one sale is under way, and no call is made beside it
    (order,) = desk.orders(loan)
    assert (order.quantity, order.plan["full_close"]) == (1, True)
    assert not loan.margin_account.margin_calls.exists()
    desk.sell_out(loan, price="19500")
    loan.refresh_from_db()
    assert (loan.state, SaleCause.objects.get().outcome) == (LoanState.WORKOUT, "shortfall")
    assert (wrongful(), invariants.check()) == ([], [])


def test_in_a_pool_only_the_loan_in_default_is_sold_for(desk: Desk) -> None:
    loan, other = in_default_in_a_pool(desk)
    cause = agreed(desk, loan)
    desk.step()
    (order,) = desk.orders(loan)
    assert order.quantity * 40_000 < desk.payoff(loan) * Decimal("1.05")
    desk.sell_out(loan, price="39900")
    cause.refresh_from_db()
    states = dict(Loan.objects.values_list("pk", "state"))
    assert (states, cause.outcome) == ({loan.pk: LoanState.REPAID, other.pk: LoanState.ACTIVE}, "debt_gone")
    assert (wrongful(), invariants.check()) == ([], [])


def test_what_it_brings_beyond_its_loan_is_free_and_pays_no_other(desk: Desk) -> None:
    loan, other = in_default_in_a_pool(desk)
    agreed(desk, loan)
    desk.step()
    for code in CODES:
        DealerFactory(code=code)
    with ports.using({code: ScriptedDealer(code, price=Decimal(39_900)) for code in CODES}):
        rfqs.open_due(now=desk.now)
        desk.step(seconds=60)
        for verb in (rfqs.open_due, quotes.collect_due, quotes.accept_due):
            verb(now=desk.now)
        desk.pay(loan, "21500")  # while a bid has been accepted: too late to stop that
        before = ledger.owed(accounts.client_free("USD", loan.client_id))
        for verb in (fills.poll_due, settlement.settle_due):
            verb(now=desk.now)
    sale = Repayment.objects.get(kind="liquidation")
    assert (sale.loan, sale.surplus) == (loan, sale.amount)
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == before + sale.amount
    assert not Repayment.objects.filter(loan=other).exists()


def test_one_that_was_paid_in_time_ends_it_and_the_next_has_a_letter_of_its_own(desk: Desk) -> None:
    line: Product = ProductFactory(tenor="open", notice_days=5, schedule_kind="interest_only", terms=desk.terms)
    loan = in_default(desk, desk.loan("20000", product=line, BTC="1"), part="100")
    row = Obligation.objects.get(loan=loan, state="defaulted")
    agreed(desk, loan)
    letter, missing = notices.Notice.objects.get(kind="default_sale").body, money.quantize_up(row.asks - row.paid, 2)
    assert f"; {missing} USD of it has not arrived" in letter
    desk.step()
    (order,) = desk.orders(loan)
    desk.deposit(loan, "USD", str(missing))
    late = repayments.record(loan, missing, key="late", received_at=row.due_at, now=desk.now)
    desk.step()
    order.refresh_from_db()
    loan.refresh_from_db()
    assert (order.state, loan.state) == ("cancelled", LoanState.ACTIVE)
    assert (SaleCause.objects.get().outcome, invariants.check()) == ("default_undone", [])
    # It was another's: the grace runs again, and what was told of the first default is told of no other.
    asked = corrections.ask_reversal(late, cause="wrong", reason="Quayside's", maker=desk.operations, now=desk.now)
    approvals.decide(asked, checker=staff(Role.OPERATIONS), approve=True, now=desk.now)
    row.refresh_from_db()
    desk.now = row.default_at
    dunning.work_due(now=desk.now)
    loan.refresh_from_db()
    assert loan.state == LoanState.DEFAULTED
    with pytest.raises(default_sales.UnableToSell, match="no evidence of delivery on two channels"):
        default_sales.ask(loan, reason="Again", maker=desk.risk, now=desk.now)


def test_what_restores_the_margin_of_a_pool_comes_before_it(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    agreed(desk, loan)
    desk.step()
    (first,) = desk.orders(loan)
    desk.step(BTC="21500")
    call = desk.call(loan)  # what is sold for one loan leaves the others' margin as it is
    desk.step(BTC="17000")  # past the gap limit
    first.refresh_from_db()
    assert (first.state, first.filled_quantity) == ("cancelled", 0)
    (second,) = desk.orders(loan)[1:]
    assert (second.cause.kind, second.cause.call) == ("liquidation_level", call)
    assert second.ordered_at == second.cause.declared_at  # at the instant that decided it
    assert invariants.check() == []
    desk.steps(3, BTC="40000")  # nothing was sold, and the price is back: now the default's turn comes again
    live = [order.cause.kind for order in desk.orders(loan) if order.state in LIVE_ORDER_STATES]
    assert live == ["maturity_default"]
    desk.sell_out(loan, price="39900")
    loan.refresh_from_db()
    assert (loan.state, wrongful(), invariants.check()) == (LoanState.REPAID, [], [])


def test_two_persons_sell_for_the_margin_on_degraded_marks_while_it_waits(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    desk.step(BTC="21500")
    call, account = desk.call(loan), loan.margin_account
    assert agreed(desk, loan).episode > call.episode
    crash = {"alder": "17300", "birch": "17000", "cedar": "16650"}
    desk.steps(2, BTC=crash)
    assert (desk.orders(loan), desk.state(loan)) == ([], "liquidate")
    asked = two_keys.request(two_keys.SALE_ON_DEGRADED, account, call.episode, maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    desk.step(BTC=crash)
    (order,) = desk.orders(loan)
    assert (order.cause.kind, invariants.check()) == ("liquidation_level", [])


def test_what_stops_it(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    with pytest.raises(default_sales.UnableToSell, match="is active"):
        default_sales.ask(loan, reason="Early", maker=desk.risk, now=desk.now)
    loan = in_default(desk, loan)
    delivered = notices.Notice.objects.get(kind="loan_default")
    notices.Notice.objects.filter(pk=delivered.pk).update(deemed_received_at=None)
    with pytest.raises(default_sales.UnableToSell, match="no evidence of delivery on two channels"):
        default_sales.ask(loan, reason="Nothing came", maker=desk.risk, now=desk.now)
    notices.Notice.objects.filter(pk=delivered.pk).update(deemed_received_at=delivered.deemed_received_at)
    asked = default_sales.ask(loan, reason="Nothing came", maker=desk.risk, now=desk.now)
    desk.pay(loan, "21500")
    said = desk.page(desk.second, f"/admin/lending/approval/{asked.pk}/approve/", reason="so be it")
    assert "Refused: it is repaid: nothing is sold for a default" in said
    assert not SaleCause.objects.exists()


def test_it_waits_for_good_marks_and_for_a_frozen_account(desk: Desk) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    agreed(desk, loan)
    desk.steps(3, BTC={"alder": "28000", "birch": "27500", "cedar": "26950"})
    assert (desk.orders(loan), desk.state(loan), desk.call(loan).state) == ([], "accelerated", "notified")
    margin_accounts.MarginAccount.objects.filter(pk=loan.margin_account_id).update(frozen=True)
    desk.steps(3, BTC="40000")
    assert desk.orders(loan) == []
    margin_accounts.MarginAccount.objects.filter(pk=loan.margin_account_id).update(frozen=False)
    desk.step()
    assert len(desk.orders(loan)) == 1


def test_the_database_asks_for_two_persons(desk: Desk) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    asked = default_sales.ask(loan, reason="Nothing came", maker=desk.risk, now=desk.now)
    snapshot = prices.snapshot(prices.current(now=desk.now), now=desk.now)
    known = {"client": loan.client, "margin_account": loan.margin_account, "episode": 1, "loan": loan}
    known |= {"snapshot": snapshot, "declared_at": desk.now, "kind": "maturity_default"}
    with pytest.raises(DatabaseError, match="agreement of two persons"), transaction.atomic():
        SaleCause.objects.create(**known, approval=asked)  # nobody has agreed yet
    for lacks in ({"approval": None}, {"approval": asked, "loan": None}):
        with pytest.raises(DatabaseError, match="agreement"), transaction.atomic():
            SaleCause.objects.create(**{**known, **lacks})
