"""The three files of a desk that comes from its own system."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lending import approvals, takeovers
from lending.models import Approval, Takeover
from tests.cast import NOW, Cast

CUT_OVER = datetime(2021, 5, 19, tzinfo=UTC)
SHA = "ab" * 32
LOAN = {
    "loan": "LB-1", "client": "Harbourside Trading", "product": "term-usd", "principal_agreed": "600000",
    "principal": "500000", "annual_rate": "0.09", "start_date": "2021-02-19", "maturity_date": "2021-08-19",
    "paper": "Loan agreement 17.pdf", "paper_sha256": SHA,
}  # fmt: skip
PLEDGE = {"loan": "LB-1", "asset": "BTC", "quantity": "20"}
INTEREST = {"kind": "interest", "loan": "LB-1", "client": "", "asset": "USD", "amount": "2250.35"}
FEES = {**INTEREST, "kind": "fees", "amount": "120"}
FREE = {"kind": "free", "loan": "", "client": "Harbourside Trading", "asset": "USD", "amount": "1000.50"}


def table(*rows: Mapping[str, str]) -> str:
    """Return rows as CSV, with every column that one of them has."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([f'"{row.get(column, "")}"' for column in columns] for row in rows)]
    return "\n".join(map(",".join, lines))


def files(
    loans: Sequence[Mapping[str, str]] = (LOAN,),
    pledges: Sequence[Mapping[str, str]] = (PLEDGE,),
    balances: Sequence[Mapping[str, str]] = (INTEREST, FEES, FREE),
) -> tuple[str, str, str]:
    """Return the three files: a loan of Harbourside, its coins, and what is due and free."""
    return table(*loans), table(*pledges), table(*balances)


def asked(cast: Cast, *tables: str, now: datetime = NOW) -> Approval:
    """Return the request of operations to take loans over from the system loanbook."""
    return takeovers.ask(
        *(tables or files()), source="loanbook", cut_over_at=CUT_OVER, maker=cast.olga, now=now
    )  # fmt: skip


def taken_over(cast: Cast, *tables: str, now: datetime = NOW) -> Takeover:
    """Have the desk head approve loans that operations asked to have taken over."""
    approval = asked(cast, *tables, now=now)
    approvals.decide(approval, checker=cast.dirk, approve=True, now=now)
    return Takeover.objects.get(public_id=approval.payload["takeover"])
