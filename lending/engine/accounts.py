"""The natural keys of the ledger's accounts, one function per kind of owner."""

from lending.engine.chart import AccountKind
from lending.engine.drafts import AccountKey


def custody(asset: str, custodian: str) -> AccountKey:
    """Return the account of what a custodian holds for the desk and its clients."""
    return AccountKey(AccountKind.CUSTODY, asset, party=custodian)


def client_free(asset: str, client_id: int) -> AccountKey:
    """Return the account of what a client may withdraw, pledge or repay with."""
    return AccountKey(AccountKind.CLIENT_FREE, asset, client_id=client_id)


def client_reserved(asset: str, client_id: int, margin_account_id: int) -> AccountKey:
    """Return the account of what a client has set aside for the calls of a margin account."""
    return AccountKey(AccountKind.CLIENT_RESERVED, asset, client_id=client_id, margin_account_id=margin_account_id)


def deposits_pending(asset: str, client_id: int | None = None) -> AccountKey:
    """Return the account of what arrived and is not yet a client's to use, or nobody's so far."""
    return AccountKey(AccountKind.DEPOSITS_PENDING, asset, client_id=client_id)


def withdrawals_pending(asset: str, client_id: int) -> AccountKey:
    """Return the account of what is on its way out to a client."""
    return AccountKey(AccountKind.WITHDRAWALS_PENDING, asset, client_id=client_id)


def client_pledged(asset: str, client_id: int, margin_account_id: int) -> AccountKey:
    """Return the account of collateral that secures a margin account."""
    return AccountKey(AccountKind.CLIENT_PLEDGED, asset, client_id=client_id, margin_account_id=margin_account_id)


def collateral_to_return(asset: str, client_id: int, margin_account_id: int) -> AccountKey:
    """Return the account of collateral whose title has passed to the desk, which owes as much of the same kind."""
    return AccountKey(AccountKind.COLLATERAL_TO_RETURN, asset, client_id=client_id, margin_account_id=margin_account_id)


def liquidation_hold(asset: str, client_id: int, margin_account_id: int) -> AccountKey:
    """Return the account of collateral that is ordered for sale and not yet sold."""
    return AccountKey(AccountKind.LIQUIDATION_HOLD, asset, client_id=client_id, margin_account_id=margin_account_id)


def sale_proceeds(asset: str, client_id: int, margin_account_id: int) -> AccountKey:
    """Return the account of what sales brought and the waterfall has not yet applied."""
    return AccountKey(AccountKind.SALE_PROCEEDS, asset, client_id=client_id, margin_account_id=margin_account_id)


def of_loan(kind: AccountKind, asset: str, client_id: int, loan_id: int) -> AccountKey:
    """Return one of a loan's own accounts: principal, interest or fees receivable, deficiency claim."""
    return AccountKey(kind, asset, client_id=client_id, loan_id=loan_id)


def house(kind: AccountKind, asset: str, party: str = "") -> AccountKey:
    """Return an account of the desk's own."""
    return AccountKey(kind, asset, party=party)
