"""
The recipes of the books: pure functions that return balanced entries.

Every recipe takes a Heading (natural key, effective_at, book, cause, client, loan) and amounts > 0 in units of their
asset, and raises UnableToDraft where that does not make an entry. Debits are positive: what the desk has or is owed
grows with +, what it owes to a client grows with -.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from lending.engine import money
from lending.engine.accounts import (
    client_free,
    client_pledged,
    collateral_to_return,
    custody,
    deposits_pending,
    house,
    liquidation_hold,
    of_loan,
    sale_proceeds,
    withdrawals_pending,
)
from lending.engine.chart import AccountKind, Category
from lending.engine.drafts import AccountKey, Draft, Heading, Line, UnableToDraft, draft
from lending.engine.lines import check_not_negative, check_positive, client_of, credit, loan_of, move

__all__ = ["AccountKey", "Draft", "Dues", "Heading", "Line", "UnableToDraft", "draft"]


@dataclass(frozen=True, slots=True)
class Dues:
    """Parts of what a loan owes, or of what was paid on it, in the loan's asset; make-whole is owed once it is paid."""

    fees: Decimal = money.ZERO
    interest: Decimal = money.ZERO
    principal: Decimal = money.ZERO
    make_whole: Decimal = money.ZERO

    @property
    def total(self) -> Decimal:
        with money.exact():
            return self.fees + self.interest + self.principal + self.make_whole


# --- clients' money and collateral ----------------------------------------------------------------------------------


def deposit(heading: Heading, *, asset: str, quantity: Decimal, custodian: str) -> Draft:
    """Return the entry of a confirmed deposit: it is the client's to use."""
    client_id = client_of(heading)
    return move(heading, "deposit", client_free(asset, client_id), custody(asset, custodian), quantity)


def unmatched_deposit(heading: Heading, *, asset: str, quantity: Decimal, custodian: str) -> Draft:
    """Return the entry of a deposit that nobody could be found for: held, and nobody's to use."""
    return move(heading, "unmatched_deposit", deposits_pending(asset), custody(asset, custodian), quantity)


def matched_deposit(heading: Heading, *, asset: str, quantity: Decimal) -> Draft:
    """Return the entry that gives an unmatched deposit to the client it was found to belong to."""
    target = client_free(asset, client_of(heading))
    return move(heading, "matched_deposit", target, deposits_pending(asset), quantity)


def withdrawal_request(heading: Heading, *, asset: str, quantity: Decimal) -> Draft:
    """Return the entry that sets an amount aside for a withdrawal, so that it can not be spent twice."""
    client_id = client_of(heading)
    source, target = client_free(asset, client_id), withdrawals_pending(asset, client_id)
    return move(heading, "withdrawal_request", target, source, quantity)


def withdrawal(heading: Heading, *, asset: str, quantity: Decimal, custodian: str) -> Draft:
    """Return the entry of a withdrawal that the custodian has carried out."""
    pending = withdrawals_pending(asset, client_of(heading))
    return move(heading, "withdrawal", custody(asset, custodian), pending, quantity)


def withdrawal_failure(heading: Heading, *, asset: str, quantity: Decimal) -> Draft:
    """Return the entry that gives the amount of a failed withdrawal back to the client."""
    client_id = client_of(heading)
    pending = withdrawals_pending(asset, client_id)
    return move(heading, "withdrawal_failure", client_free(asset, client_id), pending, quantity)


def pledge(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int, title: bool = False) -> Draft:
    """Return the entry that makes a free balance collateral; by `title` it is the desk's, which owes as much of it."""
    source, target = client_free(asset, client_of(heading)), _secures(heading, asset, margin_account_id, title)
    return move(heading, "title_transfer" if title else "pledge", target, source, quantity)


def release(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int, title: bool = False) -> Draft:
    """Return the entry that gives collateral back to the client's free balance, or by `title` as much of its kind."""
    source, target = _secures(heading, asset, margin_account_id, title), client_free(asset, client_of(heading))
    return move(heading, "title_return" if title else "release", target, source, quantity)


def hold(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int, title: bool = False) -> Draft:
    """Return the entry that sets collateral aside for a sale that was ordered."""
    held = liquidation_hold(asset, client_of(heading), margin_account_id)
    return move(heading, "hold", held, _secures(heading, asset, margin_account_id, title), quantity)


def unhold(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int, title: bool = False) -> Draft:
    """Return the entry that puts collateral back that was ordered for sale and will not be sold."""
    held = liquidation_hold(asset, client_of(heading), margin_account_id)
    return move(heading, "unhold", _secures(heading, asset, margin_account_id, title), held, quantity)


def _secures(heading: Heading, asset: str, margin_account_id: int, title: bool) -> AccountKey:
    return (collateral_to_return if title else client_pledged)(asset, client_of(heading), margin_account_id)


# --- loans ----------------------------------------------------------------------------------------------------------


def disbursement(heading: Heading, *, asset: str, principal: Decimal, origination_fee: Decimal = money.ZERO) -> Draft:
    """Return the entry that lends the principal into the client's free balance, less the origination fee."""
    client_id, loan_id = client_of(heading), loan_of(heading)
    check_positive(heading, principal)
    with money.exact():
        return draft(
            heading,
            "disbursement",
            Line(of_loan(AccountKind.LOAN_PRINCIPAL, asset, client_id, loan_id), principal),
            Line(client_free(asset, client_id), origination_fee - principal),
            credit(house(AccountKind.FEE_INCOME, asset), origination_fee, Category.ORIGINATION_FEE),
        )


def fee(
    heading: Heading, *, asset: str, amount: Decimal, category: Category = Category.LATE_FEE, corrects: bool = False
) -> Draft:
    """Return the entry that charges a fee to a loan; one that `corrects` what was charged before has any sign."""
    if not corrects:
        check_positive(heading, amount)
    receivable = of_loan(AccountKind.FEES_RECEIVABLE, asset, client_of(heading), loan_of(heading))
    income = credit(house(AccountKind.FEE_INCOME, asset), amount, category)
    name = "late_fee" if category == Category.LATE_FEE else "fee"
    return draft(heading, f"{name}_correction" if corrects else name, Line(receivable, amount), income)


def accrual(heading: Heading, *, asset: str, amount: Decimal, default: bool = False, late: bool = False) -> Draft:
    """Return the entry of interest that was earned; a `late` one corrects what was posted before, by any sign."""
    receivable = of_loan(AccountKind.INTEREST_RECEIVABLE, asset, client_of(heading), loan_of(heading))
    kind = AccountKind.DEFAULT_INTEREST_INCOME if default else AccountKind.INTEREST_INCOME
    category = Category.DEFAULT_INTEREST if default else Category.INTEREST
    name = "accrual_correction" if late else "accrual"
    return draft(heading, name, Line(receivable, amount), credit(house(kind, asset), amount, category))


def repayment(heading: Heading, *, asset: str, paid: Dues) -> Draft:
    """Return the entry that pays dues out of the client's free balance; a surplus simply stays there."""
    check_positive(heading, paid.total)
    source = client_free(asset, client_of(heading))
    return draft(heading, "repayment", Line(source, paid.total), *_discharge(heading, asset, paid))


def reallocation(heading: Heading, *, asset: str, change: Dues, surplus: Decimal) -> Draft:
    """Return the entry that moves what a payment paid between dues and surplus: signed, and together zero."""
    owed = _discharge(heading, asset, change, signed=True)
    return draft(heading, "reallocation", *owed, credit(client_free(asset, client_of(heading)), surplus))


def waterfall(
    heading: Heading, *, asset: str, paid: Dues, margin_account_id: int, surplus: Decimal = money.ZERO
) -> Draft:
    """Return the entry that applies the proceeds of sales to a loan; the surplus is the client's at once."""
    client_id = client_of(heading)
    if surplus < 0:
        raise UnableToDraft(f"{heading.key}: a surplus of {surplus}")
    with money.exact():
        total = paid.total + surplus
    check_positive(heading, total)
    return draft(
        heading,
        "waterfall",
        Line(sale_proceeds(asset, client_id, margin_account_id), total),
        *_discharge(heading, asset, paid),
        credit(client_free(asset, client_id), surplus),
    )


def shortfall(heading: Heading, *, asset: str, unpaid: Dues) -> Draft:
    """
    Return the entry that takes the loss on what the collateral did not cover.

    The client goes on owing it as a deficiency claim, which the allowance beside it values at nothing.
    """
    check_positive(heading, unpaid.total)
    return draft(
        heading,
        "shortfall",
        Line(_claim(heading, asset), unpaid.total),
        *_discharge(heading, asset, unpaid),
        Line(house(AccountKind.CREDIT_LOSS, asset), unpaid.total, Category.CREDIT_LOSS),
        credit(_allowance(heading, asset), unpaid.total),
    )


def write_off(heading: Heading, *, asset: str, amount: Decimal) -> Draft:
    """Return the entry that gives a deficiency claim up: claim and allowance go, the loss was taken before."""
    return move(heading, "write_off", _claim(heading, asset), _allowance(heading, asset), amount)


def recovery(heading: Heading, *, asset: str, amount: Decimal, claim_stands: bool = True) -> Draft:
    """Return the entry of money that a client paid on a deficiency claim, whether it stands or was written off."""
    check_positive(heading, amount)
    paid = (
        Line(client_free(asset, client_of(heading)), amount),
        credit(house(AccountKind.RECOVERY, asset), amount, Category.RECOVERY),
    )
    served = (Line(_allowance(heading, asset), amount), credit(_claim(heading, asset), amount))
    return draft(heading, "recovery", *paid, *(served if claim_stands else ()))


# --- taken over from another system -----------------------------------------------------------------------------------


def opening_loan(heading: Heading, *, asset: str, owed: Dues) -> Draft:
    """Return the entry that takes a running loan on the books: what its client owes on it, and nothing earned by it."""
    check_positive(heading, owed.total)  # of a line nothing may be drawn
    owing = _discharge(heading, asset, owed)
    put_in = credit(house(AccountKind.OPENING_BALANCE, asset), owed.total, Category.CAPITAL)
    return draft(heading, "loan_taken_over", *(Line(line.account, line.amount.copy_negate()) for line in owing), put_in)


def opening_balance(
    heading: Heading, *, asset: str, quantity: Decimal, custodian: str, margin_account_id: int | None = None,
    title: bool = False,
) -> Draft:  # fmt: skip
    """Return the entry of what is a client's, free or pledged, and is to be at the custodian: else that is a break."""
    client_id = client_of(heading)
    owed = client_free(asset, client_id)
    if margin_account_id is not None:
        owed = _secures(heading, asset, margin_account_id, title)
    return move(heading, "balance_taken_over", owed, custody(asset, custodian), quantity)


# --- sales ----------------------------------------------------------------------------------------------------------


def sale(
    heading: Heading,
    *,
    asset: str,
    quantity: Decimal,
    proceeds_asset: str,
    proceeds: Decimal,
    margin_account_id: int,
    dealer: str,
    liquidation_fee: Decimal = money.ZERO,
) -> Draft:
    """
    Return the trade-date entry of held collateral sold to a dealer for the client's account.

    Coins go from the hold through the desk's exchange account to what is owed to the dealer, money the other way
    into the client's sale proceeds: two linked movements, each zero in its own asset, and the exchange accounts end
    where they were because the desk is an agent. The liquidation fee comes out of the proceeds. An order's part of a
    fill can be worth less than a cent: then its proceeds are zero and only the coins move.
    """
    check_positive(heading, quantity)
    check_not_negative(heading, proceeds)
    if not 0 <= liquidation_fee <= proceeds:
        raise UnableToDraft(f"{heading.key}: a liquidation fee of {liquidation_fee} on {proceeds}")
    client_id = client_of(heading)
    bought = sale_proceeds(proceeds_asset, client_id, margin_account_id)
    return draft(
        heading,
        "sale",
        Line(liquidation_hold(asset, client_id, margin_account_id), quantity),
        *_through_exchange(asset, quantity),
        credit(house(AccountKind.DEALER_SETTLEMENT, asset, dealer), quantity),
        Line(house(AccountKind.DEALER_SETTLEMENT, proceeds_asset, dealer), proceeds),
        *_through_exchange(proceeds_asset, proceeds),
        credit(bought, proceeds),
        Line(bought, liquidation_fee),
        credit(house(AccountKind.FEE_INCOME, proceeds_asset), liquidation_fee, Category.LIQUIDATION_FEE),
    )


def conversion(
    heading: Heading, *, paid_asset: str, paid: Decimal, bought_asset: str, bought: Decimal, margin_account_id: int
) -> Draft:
    """Return the entry in which the desk itself changes sale proceeds into the asset of the loan, at its mark."""
    check_positive(heading, paid, bought)
    owner = (client_of(heading), margin_account_id)
    return draft(
        heading,
        "conversion",
        Line(sale_proceeds(paid_asset, *owner), paid),
        credit(house(AccountKind.EXCHANGE, paid_asset), paid, Category.TRADE),
        Line(house(AccountKind.EXCHANGE, bought_asset), bought, Category.TRADE),
        credit(sale_proceeds(bought_asset, *owner), bought),
    )


def settlement(
    heading: Heading, *, asset: str, quantity: Decimal, cash_asset: str, cash: Decimal, dealer: str, custodian: str
) -> Draft:
    """Return the settlement-date entry: coins leave custody for the dealer, the dealer's money, if any, arrives."""
    check_positive(heading, quantity)
    check_not_negative(heading, cash)
    return draft(
        heading,
        "settlement",
        Line(house(AccountKind.DEALER_SETTLEMENT, asset, dealer), quantity),
        credit(custody(asset, custodian), quantity),
        Line(custody(cash_asset, custodian), cash),
        credit(house(AccountKind.DEALER_SETTLEMENT, cash_asset, dealer), cash),
    )


# --- the desk's own -------------------------------------------------------------------------------------------------


def capital(heading: Heading, *, asset: str, amount: Decimal, custodian: str) -> Draft:
    """Return the entry of capital that the owners pay in."""
    check_positive(heading, amount)
    return draft(
        heading,
        "capital",
        Line(custody(asset, custodian), amount),
        credit(house(AccountKind.CAPITAL, asset), amount, Category.CAPITAL),
    )


def custody_difference(heading: Heading, *, asset: str, difference: Decimal, custodian: str) -> Draft:
    """Return the entry that brings custody to what a custodian has: the desk's cost, or its gain where it is more."""
    cost = house(AccountKind.EXECUTION_COST, asset)
    lines = (Line(custody(asset, custodian), difference), credit(cost, difference, Category.EXECUTION_COST))
    return draft(heading, "custody_difference", *lines)


def funding(heading: Heading, *, asset: str, amount: Decimal, custodian: str, lender: str) -> Draft:
    """Return the entry of money that a lender lends to the desk."""
    owed = house(AccountKind.FUNDING, asset, lender)
    return move(heading, "funding", owed, custody(asset, custodian), amount)


def funding_cost(heading: Heading, *, asset: str, amount: Decimal, lender: str) -> Draft:
    """Return the entry of interest that the desk owes to a lender."""
    check_positive(heading, amount)
    return draft(
        heading,
        "funding_cost",
        Line(house(AccountKind.FUNDING_COST, asset), amount, Category.FUNDING),
        credit(house(AccountKind.FUNDING, asset, lender), amount),
    )


def bank_charge(heading: Heading, *, asset: str, amount: Decimal, bank: str) -> Draft:
    """Return the entry of what a bank took from the desk's cash for its own work."""
    check_positive(heading, amount)
    return draft(
        heading,
        "bank_charge",
        Line(house(AccountKind.EXECUTION_COST, asset), amount, Category.EXECUTION_COST),
        credit(custody(asset, bank), amount),
    )


def reversal(heading: Heading, lines: Iterable[Line]) -> Draft:
    """Return the entry that takes back lines that were posted."""
    return draft(heading, "reversal", *(credit(line.account, line.amount, line.category) for line in lines))


# --- parts ----------------------------------------------------------------------------------------------------------


def _discharge(heading: Heading, asset: str, paid: Dues, *, signed: bool = False) -> tuple[Line, ...]:
    if not signed and min(paid.fees, paid.interest, paid.principal, paid.make_whole) < 0:
        raise UnableToDraft(f"{heading.key}: {paid} has a negative part")
    owner = (asset, client_of(heading), loan_of(heading))
    fees = of_loan(AccountKind.FEES_RECEIVABLE, *owner)
    return (
        # Charged and paid in one: the client's statement shows both.
        Line(fees, paid.make_whole),
        credit(house(AccountKind.FEE_INCOME, asset), paid.make_whole, Category.MAKE_WHOLE),
        credit(fees, paid.make_whole),
        credit(fees, paid.fees),
        credit(of_loan(AccountKind.INTEREST_RECEIVABLE, *owner), paid.interest),
        credit(of_loan(AccountKind.LOAN_PRINCIPAL, *owner), paid.principal),
    )


def _claim(heading: Heading, asset: str) -> AccountKey:
    return of_loan(AccountKind.DEFICIENCY_CLAIM, asset, client_of(heading), loan_of(heading))


def _allowance(heading: Heading, asset: str) -> AccountKey:
    return of_loan(AccountKind.DEFICIENCY_ALLOWANCE, asset, client_of(heading), loan_of(heading))


def _through_exchange(asset: str, amount: Decimal) -> tuple[Line, Line]:
    account = house(AccountKind.EXCHANGE, asset)
    return Line(account, amount, Category.TRADE), credit(account, amount, Category.TRADE)
