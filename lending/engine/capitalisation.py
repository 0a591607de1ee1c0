"""Interest that becomes principal: the entry that moves it, with neither cash nor income."""

from decimal import Decimal

from lending.engine.accounts import of_loan
from lending.engine.chart import AccountKind
from lending.engine.drafts import Draft, Heading, Line, draft
from lending.engine.lines import client_of, credit, loan_of

# The kinds of entries by which interest becomes principal, and what each says of when.
KINDS = {"capitalisation": "at the end of its period", "capitalisation_correction": "counted anew"}


def capitalisation(heading: Heading, *, asset: str, amount: Decimal, late: bool = False) -> Draft:
    """Return the entry by which interest that is due becomes principal; a `late` one corrects another, by any sign."""
    owner = (asset, client_of(heading), loan_of(heading))
    return draft(
        heading,
        "capitalisation_correction" if late else "capitalisation",
        Line(of_loan(AccountKind.LOAN_PRINCIPAL, *owner), amount),
        credit(of_loan(AccountKind.INTEREST_RECEIVABLE, *owner), amount),
    )
