"""What stands on an account, exactly; kept by the database from the postings and proved by an invariant."""

from collections.abc import Iterable
from decimal import Decimal

from lending.engine import money
from lending.engine.chart import CLIENT_KINDS
from lending.engine.drafts import AccountKey
from lending.models import LedgerBalance


def balance(key: AccountKey) -> Decimal:
    """Return the balance of an account, debit-positive; zero when nothing was ever posted on it."""
    return balances([key])[key]


def owed(key: AccountKey) -> Decimal:
    """Return what the desk owes on an account, as a number that is not negative for a guarded one."""
    return balance(key).copy_negate() or money.ZERO


def balances(keys: Iterable[AccountKey]) -> dict[AccountKey, Decimal]:
    """Return the balance of each account, debit-positive, over all rows of a house account."""
    wanted = dict.fromkeys(keys, money.ZERO)
    by_text = {key.text(): key for key in wanted}
    of_clients = [text for text, key in by_text.items() if key.kind in CLIENT_KINDS]
    of_house = [key for key in wanted if key.kind not in CLIENT_KINDS]
    rows = LedgerBalance.objects.filter(account__key__in=of_clients).values_list("account__key", "amount")
    for text, amount in rows if of_clients else ():
        wanted[by_text[text]] = amount
    for key in of_house:
        stripes = LedgerBalance.objects.filter(
            account__kind=key.kind,
            account__asset__code=key.asset,
            account__party=key.party,
            account__book=key.book_id,
        )
        with money.exact():
            wanted[key] = sum(stripes.values_list("amount", flat=True), money.ZERO)
    return wanted
