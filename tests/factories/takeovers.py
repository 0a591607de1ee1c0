"""The three files of a desk that comes from its own system."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from lending import approvals, benchmarks, takeovers
from lending.models import Approval, Benchmark, Takeover
from tests.cast import NOW, Cast
from tests.factories.lending import ProductFactory

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


OPEN = {
    **LOAN,
    "loan": "OT-1",
    "product": "open-usd",
    "principal": "360000",
    "start_date": "2021-02-10",
    "maturity_date": "",
}
FLOATING = {
    **LOAN, "loan": "FR-1", "product": "sofr-usd", "principal": "360000", "annual_rate": "0.06", "fixing": "0.04",
    "start_date": "2021-02-25", "maturity_date": "2021-08-25",
}  # fmt: skip
GROWING = {
    **LOAN, "loan": "CA-1", "principal": "360000", "principal_agreed": "300000", "schedule_kind": "capitalised",
    "next_due_date": "2021-05-24",
}  # fmt: skip
LINE = {
    **LOAN, "loan": "RL-1", "product": "line-usd", "principal_agreed": "500000", "principal": "360000",
    "limit": "720000", "start_date": "2021-05-01", "maturity_date": "",
}  # fmt: skip
EVERY_KIND = (OPEN, FLOATING, GROWING, LINE)
DUES_OF_EVERY_KIND = (
    {**INTEREST, "loan": "OT-1", "amount": "1000"},
    {**INTEREST, "loan": "FR-1", "amount": "100"},
    {**INTEREST, "loan": "CA-1", "amount": "500"},
    {**INTEREST, "loan": "RL-1", "amount": "0"},
    {**FEES, "loan": "RL-1", "amount": "20"},
    {**INTEREST, "kind": "unused_fee", "loan": "RL-1", "amount": "30.40"},
)


def of_every_kind() -> tuple[str, str, str]:
    """Return the files of a loan without a fixed end, one that floats, one that grows and a line, with what is due."""
    return files(EVERY_KIND, [{**PLEDGE, "loan": row["loan"]} for row in EVERY_KIND], DUES_OF_EVERY_KIND)


def every_product() -> None:
    """Have the desk sell what these loans are, beside its term loans: SOFR is known by its name."""
    ProductFactory(code="open-usd", name="Open term in USD", tenor="open", notice_days=5, schedule_kind="interest_only")
    ProductFactory(
        code="line-usd", name="Line in USD", tenor="revolving", notice_days=10, schedule_kind="interest_only",
        unused_fee=Decimal("0.0072"),
    )  # fmt: skip
    ProductFactory(
        code="sofr-usd", name="Floating term in USD", schedule_kind="interest_only", benchmark="SOFR",
        spread=Decimal("0.02"), rate_floor=Decimal("0.03"), reset_months=1, fixing_lag_days=2,
    )  # fmt: skip
    Benchmark.objects.create(code="SOFR", name="Secured overnight financing rate")


def fixed(table: str, cast: Cast, *, now: datetime) -> None:
    """Have two persons record what SOFR was fixed at."""
    asked = benchmarks.ask("SOFR", "", f"date,rate\n{table}", reason="the publisher's page", maker=cast.olga, now=now)
    approvals.decide(asked, checker=cast.rhea, approve=True, now=now)
