"""The chart of accounts: what each ledger account means, which sign it may have, where it counts in the P&L."""

from enum import StrEnum


class AccountKind(StrEnum):
    """A row of the chart of accounts; one ledger account exists per kind, asset and owner."""

    CUSTODY = "custody"
    DEPOSITS_PENDING = "deposits_pending"
    WITHDRAWALS_PENDING = "withdrawals_pending"
    CLIENT_FREE = "client_free"
    CLIENT_RESERVED = "client_reserved"
    CLIENT_PLEDGED = "client_pledged"
    COLLATERAL_TO_RETURN = "collateral_to_return"
    LIQUIDATION_HOLD = "liquidation_hold"
    SALE_PROCEEDS = "sale_proceeds"
    LOAN_PRINCIPAL = "loan_principal"
    INTEREST_RECEIVABLE = "interest_receivable"
    FEES_RECEIVABLE = "fees_receivable"
    DEFICIENCY_CLAIM = "deficiency_claim"
    DEFICIENCY_ALLOWANCE = "deficiency_allowance"
    DESK_INVENTORY = "desk_inventory"
    EXCHANGE = "exchange"
    DEALER_SETTLEMENT = "dealer_settlement"
    FUNDING = "funding"
    CAPITAL = "capital"
    OPENING_BALANCE = "opening_balance"
    INTEREST_INCOME = "interest_income"
    DEFAULT_INTEREST_INCOME = "default_interest_income"
    FEE_INCOME = "fee_income"
    SPREAD_INCOME = "spread_income"
    TRADING_INCOME = "trading_income"
    FUNDING_COST = "funding_cost"
    EXECUTION_COST = "execution_cost"
    CREDIT_LOSS = "credit_loss"
    RECOVERY = "recovery"


class Category(StrEnum):
    """What a posting means to the P&L explain; every posting has exactly one."""

    BALANCE_SHEET = "balance_sheet"
    CAPITAL = "capital"
    INTEREST = "interest"
    DEFAULT_INTEREST = "default_interest"
    ORIGINATION_FEE = "origination_fee"
    UNUSED_FEE = "unused_fee"
    LATE_FEE = "late_fee"
    MAKE_WHOLE = "make_whole"
    LIQUIDATION_FEE = "liquidation_fee"
    FUNDING = "funding"
    SPREAD = "spread"
    TRADE = "trade"
    EXECUTION_COST = "execution_cost"
    CREDIT_LOSS = "credit_loss"
    RECOVERY = "recovery"


# Income and expense, and the exchange accounts: an exchange account shows what the desk gave and received of each
# asset in trades, so its postings carry the category `trade`. An agency trade leaves every exchange account as it was.
PROFIT_AND_LOSS_KINDS = frozenset(
    {
        AccountKind.EXCHANGE,
        AccountKind.INTEREST_INCOME,
        AccountKind.DEFAULT_INTEREST_INCOME,
        AccountKind.FEE_INCOME,
        AccountKind.SPREAD_INCOME,
        AccountKind.TRADING_INCOME,
        AccountKind.FUNDING_COST,
        AccountKind.EXECUTION_COST,
        AccountKind.CREDIT_LOSS,
        AccountKind.RECOVERY,
    }
)

# What the owners put in: as money, or as loans that another system kept before. Neither is profit.
EQUITY_KINDS = frozenset({AccountKind.CAPITAL, AccountKind.OPENING_BALANCE})

# What the desk has less what it owes: the change of these balances at their marks, less capital paid in, is the P&L.
# Per asset they are the mirror image of the P&L and equity accounts, because every entry sums to zero.
NET_ASSET_KINDS = frozenset(AccountKind) - PROFIT_AND_LOSS_KINDS - EQUITY_KINDS

# Postings are debit-positive: what is owed to a client is a balance that may never rise above zero, what a borrower
# owes to the desk is one that may never fall below it.
GUARDS = {
    AccountKind.DEPOSITS_PENDING: -1,
    AccountKind.WITHDRAWALS_PENDING: -1,
    AccountKind.CLIENT_FREE: -1,
    AccountKind.CLIENT_RESERVED: -1,
    AccountKind.CLIENT_PLEDGED: -1,
    AccountKind.COLLATERAL_TO_RETURN: -1,
    AccountKind.LIQUIDATION_HOLD: -1,
    AccountKind.SALE_PROCEEDS: -1,
    AccountKind.LOAN_PRINCIPAL: 1,
    AccountKind.INTEREST_RECEIVABLE: 1,
    AccountKind.FEES_RECEIVABLE: 1,
    AccountKind.DEFICIENCY_CLAIM: 1,
    AccountKind.DEFICIENCY_ALLOWANCE: -1,
}

# What secures a margin account and is not held for a sale: the client's own coins under a security interest, or as many
# of the desk's own against the obligation to return as many.
SECURED_KINDS = (AccountKind.CLIENT_PLEDGED, AccountKind.COLLATERAL_TO_RETURN)

# One row per client, loan or margin account; all other kinds are the house's own and are striped over several rows,
# which a guard would not survive. A deposit that nobody claims is pending without a client.
CLIENT_KINDS = frozenset(GUARDS)


def category_fits(kind: AccountKind, category: Category) -> bool:
    """Return whether a posting of this category may stand on an account of this kind."""
    if kind in PROFIT_AND_LOSS_KINDS:
        return category not in {Category.BALANCE_SHEET, Category.CAPITAL}
    if kind in EQUITY_KINDS:
        return category == Category.CAPITAL
    return category == Category.BALANCE_SHEET
