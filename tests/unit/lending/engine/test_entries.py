"""Worked bookings: every recipe with its signed postings."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from lending.engine import entries
from lending.engine.chart import AccountKind, Category
from lending.engine.entries import AccountKey, Draft, Dues, Heading, Line, UnableToDraft

D = Decimal
AT = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)
HEADING = Heading(key="k", effective_at=AT, book_id=1, cause="test", client_id=7, loan_id=9)


def postings(draft: Draft) -> dict[str, str]:
    """Return account -> net amount, as a T-account would show it."""
    totals: dict[str, Decimal] = {}
    for line in draft.lines:
        totals[line.account.text()] = totals.get(line.account.text(), D(0)) + line.amount
    return {account: f"{amount.normalize():f}" for account, amount in totals.items()}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (
            lambda: entries.deposit(HEADING, asset="BTC", quantity=D(2), custodian="paper"),
            {"custody/BTC/@paper": "2", "client_free/BTC/c7": "-2"},
        ),
        (
            lambda: entries.pledge(HEADING, asset="BTC", quantity=D(2), margin_account_id=3),
            {"client_free/BTC/c7": "2", "client_pledged/BTC/c7/m3": "-2"},
        ),
        (
            lambda: entries.release(HEADING, asset="BTC", quantity=D("0.5"), margin_account_id=3),
            {"client_pledged/BTC/c7/m3": "0.5", "client_free/BTC/c7": "-0.5"},
        ),
        (
            lambda: entries.hold(HEADING, asset="BTC", quantity=D(1), margin_account_id=3),
            {"client_pledged/BTC/c7/m3": "1", "liquidation_hold/BTC/c7/m3": "-1"},
        ),
        (
            lambda: entries.unhold(HEADING, asset="BTC", quantity=D(1), margin_account_id=3),
            {"liquidation_hold/BTC/c7/m3": "1", "client_pledged/BTC/c7/m3": "-1"},
        ),
        (
            lambda: entries.pledge(HEADING, asset="BTC", quantity=D(2), margin_account_id=3, title=True),
            {"client_free/BTC/c7": "2", "collateral_to_return/BTC/c7/m3": "-2"},
        ),
        (
            lambda: entries.release(HEADING, asset="BTC", quantity=D("0.5"), margin_account_id=3, title=True),
            {"collateral_to_return/BTC/c7/m3": "0.5", "client_free/BTC/c7": "-0.5"},
        ),
        (
            lambda: entries.hold(HEADING, asset="BTC", quantity=D(1), margin_account_id=3, title=True),
            {"collateral_to_return/BTC/c7/m3": "1", "liquidation_hold/BTC/c7/m3": "-1"},
        ),
        (
            lambda: entries.unhold(HEADING, asset="BTC", quantity=D(1), margin_account_id=3, title=True),
            {"liquidation_hold/BTC/c7/m3": "1", "collateral_to_return/BTC/c7/m3": "-1"},
        ),
        (
            lambda: entries.withdrawal_request(HEADING, asset="USD", quantity=D(50)),
            {"client_free/USD/c7": "50", "withdrawals_pending/USD/c7": "-50"},
        ),
        (
            lambda: entries.withdrawal(HEADING, asset="USD", quantity=D(50), custodian="paper"),
            {"withdrawals_pending/USD/c7": "50", "custody/USD/@paper": "-50"},
        ),
        (
            lambda: entries.withdrawal_failure(HEADING, asset="USD", quantity=D(50)),
            {"withdrawals_pending/USD/c7": "50", "client_free/USD/c7": "-50"},
        ),
        (
            lambda: entries.disbursement(HEADING, asset="USD", principal=D(100_000), origination_fee=D(1_000)),
            {"loan_principal/USD/c7/l9": "100000", "client_free/USD/c7": "-99000", "fee_income/USD": "-1000"},
        ),
        (
            lambda: entries.opening_loan(HEADING, asset="USD", owed=Dues(fees=D(5), interest=D(20), principal=D(975))),
            {
                "fees_receivable/USD/c7/l9": "5",
                "interest_receivable/USD/c7/l9": "20",
                "loan_principal/USD/c7/l9": "975",
                "opening_balance/USD": "-1000",
            },
        ),
        (
            lambda: entries.opening_balance(HEADING, asset="USD", quantity=D(7), custodian="paper"),
            {"custody/USD/@paper": "7", "client_free/USD/c7": "-7"},
        ),
        (
            lambda: entries.opening_balance(
                HEADING, asset="BTC", quantity=D(2), custodian="paper", margin_account_id=3
            ),
            {"custody/BTC/@paper": "2", "client_pledged/BTC/c7/m3": "-2"},
        ),
        (
            lambda: entries.fee(HEADING, asset="USD", amount=D(25)),
            {"fees_receivable/USD/c7/l9": "25", "fee_income/USD": "-25"},
        ),
        (
            lambda: entries.accrual(HEADING, asset="USD", amount=D("27.77")),
            {"interest_receivable/USD/c7/l9": "27.77", "interest_income/USD": "-27.77"},
        ),
        (
            lambda: entries.accrual(HEADING, asset="USD", amount=D("-0.01"), default=True),
            {"interest_receivable/USD/c7/l9": "-0.01", "default_interest_income/USD": "0.01"},
        ),
        (
            lambda: entries.repayment(HEADING, asset="USD", paid=Dues(D(5), D(20), D(975))),
            {
                "client_free/USD/c7": "1000",
                "fees_receivable/USD/c7/l9": "-5",
                "interest_receivable/USD/c7/l9": "-20",
                "loan_principal/USD/c7/l9": "-975",
            },
        ),
        (
            lambda: entries.waterfall(
                HEADING, asset="USD", paid=Dues(interest=D(20), principal=D(900)), margin_account_id=3, surplus=D(80)
            ),
            {
                "sale_proceeds/USD/c7/m3": "1000",
                "interest_receivable/USD/c7/l9": "-20",
                "loan_principal/USD/c7/l9": "-900",
                "client_free/USD/c7": "-80",
            },
        ),
        (
            lambda: entries.shortfall(HEADING, asset="USD", unpaid=Dues(D(1), D(2), D(300))),
            {
                "deficiency_claim/USD/c7/l9": "303",
                "deficiency_allowance/USD/c7/l9": "-303",
                "credit_loss/USD": "303",
                "fees_receivable/USD/c7/l9": "-1",
                "interest_receivable/USD/c7/l9": "-2",
                "loan_principal/USD/c7/l9": "-300",
            },
        ),
        (
            lambda: entries.write_off(HEADING, asset="USD", amount=D(303)),
            {"deficiency_allowance/USD/c7/l9": "303", "deficiency_claim/USD/c7/l9": "-303"},
        ),
        (
            lambda: entries.recovery(HEADING, asset="USD", amount=D(40)),
            {
                "client_free/USD/c7": "40",
                "recovery/USD": "-40",
                "deficiency_allowance/USD/c7/l9": "40",
                "deficiency_claim/USD/c7/l9": "-40",
            },
        ),
        (
            lambda: entries.recovery(HEADING, asset="USD", amount=D(40), claim_stands=False),
            {"client_free/USD/c7": "40", "recovery/USD": "-40"},
        ),
        (
            lambda: entries.unmatched_deposit(
                replace(HEADING, client_id=None), asset="BTC", quantity=D(2), custodian="p"
            ),
            {"custody/BTC/@p": "2", "deposits_pending/BTC": "-2"},
        ),
        (
            lambda: entries.matched_deposit(HEADING, asset="BTC", quantity=D(2)),
            {"deposits_pending/BTC": "2", "client_free/BTC/c7": "-2"},
        ),
        (
            lambda: entries.sale(
                HEADING,
                asset="BTC",
                quantity=D("1.5"),
                proceeds_asset="USD",
                proceeds=D(60_000),
                margin_account_id=3,
                dealer="harbour",
                liquidation_fee=D(600),
            ),
            {
                "liquidation_hold/BTC/c7/m3": "1.5",
                "exchange/BTC": "0",
                "dealer_settlement/BTC/@harbour": "-1.5",
                "dealer_settlement/USD/@harbour": "60000",
                "exchange/USD": "0",
                "sale_proceeds/USD/c7/m3": "-59400",
                "fee_income/USD": "-600",
            },
        ),
        (
            lambda: entries.sale(
                HEADING,
                asset="BTC",
                quantity=D("0.5"),
                proceeds_asset="USD",
                proceeds=D(0),
                margin_account_id=3,
                dealer="harbour",
            ),
            {"liquidation_hold/BTC/c7/m3": "0.5", "exchange/BTC": "0", "dealer_settlement/BTC/@harbour": "-0.5"},
        ),
        (
            lambda: entries.settlement(
                HEADING,
                asset="BTC",
                quantity=D("0.5"),
                cash_asset="USD",
                cash=D(0),
                dealer="harbour",
                custodian="paper",
            ),
            {"dealer_settlement/BTC/@harbour": "0.5", "custody/BTC/@paper": "-0.5"},
        ),
        (
            lambda: entries.conversion(
                HEADING,
                paid_asset="USD",
                paid=D(59_400),
                bought_asset="USDC",
                bought=D(60_000),
                margin_account_id=3,
            ),
            {
                "sale_proceeds/USD/c7/m3": "59400",
                "exchange/USD": "-59400",
                "exchange/USDC": "60000",
                "sale_proceeds/USDC/c7/m3": "-60000",
            },
        ),
        (
            lambda: entries.settlement(
                HEADING,
                asset="BTC",
                quantity=D("1.5"),
                cash_asset="USD",
                cash=D(60_000),
                dealer="harbour",
                custodian="paper",
            ),
            {
                "dealer_settlement/BTC/@harbour": "1.5",
                "custody/BTC/@paper": "-1.5",
                "custody/USD/@paper": "60000",
                "dealer_settlement/USD/@harbour": "-60000",
            },
        ),
        (
            lambda: entries.capital(HEADING, asset="USD", amount=D(10), custodian="paper"),
            {"custody/USD/@paper": "10", "capital/USD": "-10"},
        ),
        (
            lambda: entries.funding(HEADING, asset="USD", amount=D(10), custodian="paper", lender="bank"),
            {"custody/USD/@paper": "10", "funding/USD/@bank": "-10"},
        ),
        (
            lambda: entries.funding_cost(HEADING, asset="USD", amount=D(10), lender="bank"),
            {"funding_cost/USD": "10", "funding/USD/@bank": "-10"},
        ),
    ],
)
def test_a_recipe_books(recipe: Callable[[], Draft], expected: dict[str, str]) -> None:
    assert postings(recipe()) == expected


def test_a_reversal_mirrors_what_was_posted() -> None:
    original = entries.deposit(HEADING, asset="BTC", quantity=D(2), custodian="paper")
    mirrored = entries.reversal(replace(HEADING, key="reversal:k"), original.lines)
    assert postings(mirrored) == {"custody/BTC/@paper": "-2", "client_free/BTC/c7": "2"}


def test_amounts_of_38_digits_stay_exact() -> None:
    quantity = D("12345678901234567890.123456789012345678")
    draft = entries.deposit(HEADING, asset="BTC", quantity=quantity, custodian="paper")
    assert sorted(line.amount for line in draft.lines) == [quantity.copy_negate(), quantity]


@pytest.mark.parametrize(
    "recipe",
    [
        lambda: entries.deposit(HEADING, asset="BTC", quantity=D(0), custodian="paper"),
        lambda: entries.deposit(HEADING, asset="BTC", quantity=D("NaN"), custodian="paper"),
        lambda: entries.deposit(HEADING, asset="BTC", quantity=D("1e-19"), custodian="paper"),
        lambda: entries.repayment(HEADING, asset="USD", paid=Dues(D(5), D(-1), D(10))),
        lambda: entries.deposit(replace(HEADING, client_id=None), asset="BTC", quantity=D(1), custodian="paper"),
        lambda: entries.accrual(replace(HEADING, loan_id=None), asset="USD", amount=D(1)),
        lambda: entries.deposit(
            replace(HEADING, effective_at=AT.replace(tzinfo=None)), asset="BTC", quantity=D(1), custodian="paper"
        ),
        lambda: entries.accrual(HEADING, asset="USD", amount=D(0)),
    ],
)
def test_a_recipe_refuses(recipe: Callable[[], Draft]) -> None:
    with pytest.raises(UnableToDraft):
        recipe()


def test_a_draft_balances_per_asset_not_in_total() -> None:
    btc, usd = (AccountKey(AccountKind.CUSTODY, asset, party="paper") for asset in ("BTC", "USD"))
    with pytest.raises(UnableToDraft, match="sum to zero"):
        entries.draft(HEADING, "odd", Line(btc, D(1)), Line(usd, D(-1)))


def test_a_draft_refuses_a_category_on_the_wrong_account() -> None:
    income = AccountKey(AccountKind.INTEREST_INCOME, "USD")
    with pytest.raises(UnableToDraft, match="does not belong"):
        entries.draft(HEADING, "odd", Line(entries.custody("USD", "paper"), D(1)), Line(income, D(-1)))


def test_the_content_hash_knows_content_and_nothing_else() -> None:
    one = entries.deposit(HEADING, asset="BTC", quantity=D("2"), custodian="paper")
    same = replace(one, lines=(one.lines[1], replace(one.lines[0], amount=D("2.000"))))
    assert one.content_hash() == same.content_hash()
    others = [
        entries.deposit(HEADING, asset="BTC", quantity=D("2.000000000000000001"), custodian="paper"),
        entries.deposit(HEADING, asset="ETH", quantity=D(2), custodian="paper"),
        entries.deposit(HEADING, asset="BTC", quantity=D(2), custodian="other"),
        *(
            entries.deposit(replace(HEADING, **change), asset="BTC", quantity=D(2), custodian="paper")
            for change in ({"cause": "x"}, {"book_id": 2}, {"client_id": 8}, {"loan_id": None}, {"key": "k2"})
        ),
        replace(one, lines=tuple(replace(line, category=Category.TRADE) for line in one.lines)),
    ]
    assert len({draft.content_hash() for draft in (one, *others)}) == len(others) + 1
