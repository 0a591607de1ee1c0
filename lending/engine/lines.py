"""The parts that recipes of entries are made of: signed lines, and what a heading and an amount must be."""

from decimal import Decimal

from lending.engine.chart import Category
from lending.engine.drafts import AccountKey, Draft, Heading, Line, UnableToDraft, draft


def move(heading: Heading, kind: str, to_credit: AccountKey, to_debit: AccountKey, amount: Decimal) -> Draft:
    """Return the entry that moves an amount above zero between two accounts."""
    check_positive(heading, amount)
    return draft(heading, kind, Line(to_debit, amount), credit(to_credit, amount))


def credit(account: AccountKey, amount: Decimal, category: Category = Category.BALANCE_SHEET) -> Line:
    """Return the line that credits an account, exactly."""
    # A minus sign would round to the precision of whatever context is open.
    return Line(account, amount.copy_negate(), category)


def check_positive(heading: Heading, *amounts: Decimal) -> None:
    """Check that amounts are above zero; UnableToDraft if one is not."""
    for amount in amounts:
        if not (amount.is_finite() and amount > 0):
            raise UnableToDraft(f"{heading.key}: {amount} is not above zero")


def check_not_negative(heading: Heading, amount: Decimal) -> None:
    """Check that an amount is not below zero; UnableToDraft if it is."""
    if not (amount.is_finite() and amount >= 0):
        raise UnableToDraft(f"{heading.key}: {amount} is below zero")


def client_of(heading: Heading) -> int:
    """Return the client of a heading; UnableToDraft if it names none."""
    if heading.client_id is None:
        raise UnableToDraft(f"{heading.key}: the heading names no client")
    return heading.client_id


def loan_of(heading: Heading) -> int:
    """Return the loan of a heading; UnableToDraft if it names none."""
    if heading.loan_id is None:
        raise UnableToDraft(f"{heading.key}: the heading names no loan")
    return heading.loan_id
