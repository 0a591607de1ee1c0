"""
Live loans from another system, as three files say them: loans, pledges, and balances with what is due on each loan.

They are read together, by the parts that read every table; each error is named by its file, row and column. What is
read is the whole: a loan without its interest or its collateral is an error, not a zero.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from lending import csv_tables, offers, products, schedules, takeover_terms
from lending.csv_tables import Cells, Problem, UnableToRead
from lending.engine import money
from lending.models import Asset, Benchmark, Client, LadderTerms, Loan, LoanOrigin, Product, ScheduleKind
from lending.takeover_clients import Clients
from lending.takeover_terms import FLOATING, LADDER, LINE, PAID_LATE_OR_EARLY, STEP_UP, Ladders

LOANS, PLEDGES, BALANCES = "loans", "pledges", "balances"
LOAN_NEEDED = (
    "loan", "client", "product", "principal_agreed", "principal", "annual_rate", "start_date", "maturity_date", "paper",
    "paper_sha256",
)  # fmt: skip
LOAN_FILLED = tuple(column for column in LOAN_NEEDED if column != "maturity_date")  # not every loan has one
LOAN_MORE = (
    "default_rate", "day_count", "schedule_kind", "frequency_months", "next_due_date", "calendar", "grace_days",
    "to_come", *PAID_LATE_OR_EARLY, *STEP_UP,
)  # fmt: skip
LOAN_COLUMNS = (*LOAN_NEEDED, *LOAN_MORE, "notice_days", *LINE, *FLOATING, "margin_account", *LADDER)
PLEDGE_NEEDED = ("loan", "asset", "quantity")
PLEDGE_COLUMNS = (*PLEDGE_NEEDED, "haircut")
BALANCE_NEEDED = ("kind", "asset", "amount")
BALANCE_COLUMNS = (*BALANCE_NEEDED, "client", "loan")
DUES = ("interest", "fees", "unused_fee")
KINDS = ("free", *DUES)
MOST = 2_000  # rows of one file
_REFERENCE = 60
_PAPER = 120
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(kw_only=True, slots=True)
class LoanRow:
    """
    One loan as it stands at the cut-over, in its product's asset; `terms` are its columns by name.

    Its principal is what is left, or the limit of a line: `outstanding` is what was lent of it and not paid back. What
    is `unused_fee` had accrued on a line and was not charged yet.
    """

    row: int
    reference: str
    client: Client
    product: Product
    terms: dict[str, Any]
    outstanding: Decimal
    principal_agreed: Decimal
    began_date: date
    paper: str
    paper_sha256: str
    to_come: tuple[schedules.Part, ...]
    next_due_date: date | None
    first_due_date: date
    fixing: Decimal | None
    account: str
    ladder: LadderTerms
    interest: Decimal | None = None
    fees: Decimal = money.ZERO
    unused_fee: Decimal | None = None
    pledges: dict[Asset, Decimal] = field(default_factory=dict)
    haircuts: dict[str, Decimal] = field(default_factory=dict)

    @property
    def agreed(self) -> Loan:
        """Return the loan by its terms alone, not saved: to be read."""
        return Loan(asset=self.product.asset, began_date=self.began_date, **self.terms)


@dataclass(frozen=True, slots=True)
class Total:
    """What the files add up to in one asset: to be compared with the system that they come from."""

    asset: str
    loans: int
    principal: Decimal
    interest: Decimal
    fees: Decimal
    pledged: Decimal
    free: Decimal
    unused_fee: Decimal
    limits: Decimal


@dataclass(frozen=True, slots=True)
class Trial:
    """What three files hold, as far as it could be read, and everything that is wrong with them."""

    loans: Sequence[LoanRow]
    free: Mapping[tuple[Client, Asset], Decimal]
    problems: Sequence[Problem]

    @property
    def totals(self) -> list[Total]:
        """Return the sums per asset, by its code."""
        sums: defaultdict[str, list[Any]] = defaultdict(lambda: [0, *[money.ZERO] * 7])
        with money.exact():
            for loan in self.loans:
                found = sums[loan.product.asset.code]
                found[0] += 1
                limit = loan.terms["principal"] if loan.product.is_line else money.ZERO
                parts = (loan.outstanding, loan.interest, loan.fees, None, None, loan.unused_fee, limit)
                for place, part in enumerate(parts, 1):
                    found[place] += part or money.ZERO
                for asset, quantity in loan.pledges.items():
                    sums[asset.code][4] += quantity
            for (_, asset), amount in self.free.items():
                sums[asset.code][5] += amount
        return [Total(code, *found) for code, found in sorted(sums.items())]


def _in_default(cell: Cells, rate: Decimal | None, agreed: Decimal | None) -> Decimal | None:
    """Return what a loan costs in default; None, and a problem noted, where that is no rate."""
    if rate is None:
        return None
    try:
        return offers.rate_in_default(rate, agreed)
    except offers.UnableToQuote as refusal:
        cell.wrong("default_rate", str(refusal))
        return None


def _apart(first: LoanRow, loan: LoanRow) -> str:
    """Return why a loan is not of one pool with the first that names it; "" where it is."""
    if loan.client != first.client:
        return f"{loan.account!r} is another client's, in row {first.row}"
    if any(getattr(loan.ladder, name) != getattr(first.ladder, name) for name in LADDER):
        return f"its ladder is another than that of row {first.row}, its pool"
    if loan.product.pledge_terms_id != first.product.pledge_terms_id:
        return f"its collateral is given otherwise than that of row {first.row}"
    if any(first.haircuts.get(asset.code) != loan.haircuts.get(asset.code) for asset in loan.pledges):
        return f"a haircut of it is another than in row {first.row}, its pool"
    if loan.product.book_id != first.product.book_id:
        return f"it is kept in another book than row {first.row}, its pool"
    return ""


def check(loans: str, pledges: str, balances: str, *, source: str, cut_over_at: datetime, now: datetime) -> Trial:
    """
    Read the three files of a source at an instant, and return what they hold and every error; it writes nothing.

    Raises
    ------
    UnableToRead
        If one of them is no CSV with the columns needed, or the first has no loan; the message names the file.
    """
    reader = _Reader(source, cut_over_at, now)
    for name, columns, needed, filled, text, take in (
        (LOANS, LOAN_COLUMNS, LOAN_NEEDED, LOAN_FILLED, loans, reader.loan),
        (PLEDGES, PLEDGE_COLUMNS, PLEDGE_NEEDED, PLEDGE_NEEDED, pledges, reader.pledge),
        (BALANCES, BALANCE_COLUMNS, BALANCE_NEEDED, BALANCE_NEEDED, balances, reader.balance),
    ):
        try:
            found, wrong = csv_tables.records(text, known=columns, needed=needed, most=MOST, file=name)
        except UnableToRead as refusal:
            raise UnableToRead(f"{name}: {refusal}") from refusal
        if name == LOANS and not found:
            raise UnableToRead(f"{name}: it has no row below the names of its columns")
        reader.problems += wrong
        for number, cells in found:
            take(Cells(reader.problems, name, number, cells, filled))
    reader.finish()
    order = {LOANS: 0, PLEDGES: 1, BALANCES: 2}
    problems = sorted(reader.problems, key=lambda problem: (order[problem.file], problem.row))
    return Trial([row for row in reader.loans.values() if row], reader.free, problems)


class _Reader:
    """What is known before, and what has been read so far."""

    def __init__(self, source: str, cut_over_at: datetime, now: datetime) -> None:
        self.cut_over_at = cut_over_at
        self.problems: list[Problem] = []
        self.loans: dict[str, LoanRow | None] = {}  # None: it stands in the file, and could not be read
        self.free: dict[tuple[Client, Asset], Decimal] = {}
        self._rows: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()
        self._assets = {asset.code: asset for asset in Asset.objects.all()}
        found = Product.objects.select_related("asset", "terms", "book").prefetch_related("haircuts__asset")
        self._products = {product.code: product for product in found}
        self._before = set(LoanOrigin.objects.filter(source=source).values_list("reference", flat=True))
        self._benchmarks = {row.code: row.code for row in Benchmark.objects.order_by("code")}
        self._clients = Clients(now=now)
        self._ladders = Ladders()

    def loan(self, cell: Cells) -> None:
        """Take a row of the loans down."""
        reference, cut_over_at = cell.text("loan", _REFERENCE), self.cut_over_at
        if reference in self._before:
            cell.wrong("loan", f"{reference} was taken over already")
        elif reference in self._rows:
            cell.wrong("loan", f"{reference} stands in row {self._rows[reference]} too")
            return
        client = self._clients.of(cell)
        product = self._products.get(cell["product"])
        if cell["product"] and product is None:
            cell.wrong("product", f"{cell['product']!r} is none of {', '.join(sorted(self._products))}")
        self._rows[reference] = cell.row
        self.loans[reference] = None
        decimals, is_line = product.asset.decimals if product else None, bool(product and product.is_line)
        principal = cell.amount("principal", decimals, zero=is_line)
        agreed = cell.amount("principal_agreed", decimals)
        rate, default_rate = cell.ratio("annual_rate"), cell.ratio("default_rate")
        began, matures = takeover_terms.days(cell, product, cut_over_at)
        paper = cell.text("paper", _PAPER)
        if cell["paper_sha256"] and not _SHA256.fullmatch(cell["paper_sha256"]):
            cell.wrong("paper_sha256", "is no SHA-256: 64 digits from 0 to f")
        in_default = _in_default(cell, rate, default_rate)
        account = cell.text("margin_account", _REFERENCE)
        if product is None:
            return
        kind = takeover_terms.kind(cell, product)
        if principal and agreed and principal > agreed and not (is_line or kind == ScheduleKind.CAPITALISED):
            cell.wrong("principal", "is more than was agreed")
        floats = takeover_terms.floats(cell, product, rate, benchmarks_known=self._benchmarks)
        line = takeover_terms.line(cell, product, principal)
        besides = takeover_terms.step_up(cell, began, matures) | takeover_terms.late_or_early(cell, product)
        more = takeover_terms.more(cell, product)
        months = more["frequency_months"]
        next_due_date = takeover_terms.next_due_date(cell, product, kind, months, began, matures, cut_over_at)
        ladder = self._ladders.of(cell, product)
        parts = takeover_terms.to_come(cell, kind, principal, matures, product.asset.decimals, cut_over_at)
        if client is None or principal is None or agreed is None or in_default is None or began is None:
            return
        if ladder is None or floats is None or line is None or product.has_fixed_end == (matures is None):
            return
        values = {
            **{name: getattr(product, name) for name in products.TERMS},
            "principal": principal, "annual_rate": rate, "maturity_date": matures, "origination_fee": money.ZERO,
            "default_rate": in_default,
            "quoted_until": self.cut_over_at, "payout_address": "", "schedule_kind": kind, **more, **floats.terms,
            **besides, **line,
        }  # fmt: skip
        trial = Loan(asset=product.asset, began_date=began, **values)
        try:
            plan = schedules.taken_over(trial, at=cut_over_at, to_come=parts, next_due_date=next_due_date)
        except schedules.UnableToSchedule as refusal:
            cell.wrong("maturity_date", str(refusal))
            return
        self.loans[reference] = LoanRow(
            row=cell.row, reference=reference, client=client, product=product, terms=values, outstanding=principal,
            principal_agreed=agreed, began_date=began, paper=paper, paper_sha256=cell["paper_sha256"].lower(),
            to_come=parts, next_due_date=next_due_date, first_due_date=plan.rows[0].due_date, fixing=floats.fixing,
            account=account, ladder=ladder, haircuts=products.haircuts(product),
        )  # fmt: skip

    def pledge(self, cell: Cells) -> None:
        """Take a row of the pledges down."""
        loan = self._loan(cell)
        asset = self._asset(cell)
        if asset is not None and asset.kind == Asset.Kind.FIAT:
            cell.wrong("asset", f"{asset.code} is cash: it can not secure a loan")
        quantity = cell.amount("quantity", asset.decimals if asset else None)
        haircut = cell.ratio("haircut")
        if loan is None or asset is None or quantity is None:
            return
        if asset in loan.pledges:
            cell.wrong("asset", f"{asset.code} is pledged for {loan.reference} in another row too")
            return
        loan.pledges[asset] = quantity
        if haircut is not None:
            loan.haircuts[asset.code] = haircut

    def balance(self, cell: Cells) -> None:
        """Take a row of the balances down: what a client has free, or what is due on a loan besides its principal."""
        kind = cell.choice("kind", dict.fromkeys(KINDS, True), None) and cell["kind"]
        asset = self._asset(cell)
        if kind == "free":
            self._free(cell, asset)
        elif kind:
            self._due(cell, kind, asset)

    def finish(self) -> None:
        """Check what only the whole can say: each loan has its interest and its collateral, each pool agrees."""
        pools: defaultdict[str, list[LoanRow]] = defaultdict(list)
        for reference, loan in self.loans.items():
            if loan is None:
                continue
            pools[loan.account or f"\0{reference}"].append(loan)
            if loan.interest is None and (reference, "interest") not in self._told:
                self._note(loan, "loan", "no row of the balances says its interest: say 0 if none is due")
            if loan.terms["unused_fee"] and loan.unused_fee is None and (reference, "unused_fee") not in self._told:
                self._note(loan, "loan", "no row of the balances says its unused_fee: say 0 if none has accrued")
        for loans in pools.values():
            first = loans[0]
            if not any(loan.pledges for loan in loans):
                self._note(first, "loan", "no row of the pledges secures it")
            for loan in loans[1:]:
                if words := _apart(first, loan):
                    self._note(loan, "margin_account", words)

    def _note(self, loan: LoanRow, column: str, words: str) -> None:
        self.problems.append(Problem(loan.row, column, words, LOANS))

    def _free(self, cell: Cells, asset: Asset | None) -> None:
        if not cell["client"]:
            cell.wrong("client", "is missing: whose is it?")
        client = self._clients.of(cell)
        if cell["loan"]:
            cell.wrong("loan", "what is free belongs to a client and to no loan: leave it empty")
        amount = cell.amount("amount", asset.decimals if asset else None, zero=True)
        if client is None or asset is None or amount is None:
            return
        if (client, asset) in self.free:
            cell.wrong("client", f"{client} has {asset.code} free in another row too")
        elif amount:
            self.free[client, asset] = amount

    def _due(self, cell: Cells, kind: str, asset: Asset | None) -> None:
        if not cell["loan"]:
            cell.wrong("loan", "is missing: on which loan is it due?")
        loan = self._loan(cell)
        if (cell["loan"], kind) in self._told:
            cell.wrong("loan", f"the {kind} of {cell['loan']} stand in another row too")
        self._told.add((cell["loan"], kind))
        amount = cell.amount("amount", asset.decimals if asset else None, zero=True)
        if loan is None or asset is None or amount is None:
            return
        if cell["client"] and self._clients.of(cell) != loan.client:
            cell.wrong("client", f"{loan.reference} is a loan of {loan.client}")
        if asset != loan.product.asset:
            cell.wrong("asset", f"{loan.reference} is in {loan.product.asset.code}")
        elif kind == "unused_fee" and not loan.terms["unused_fee"]:
            cell.wrong("kind", f"{loan.reference} has no fee on what is not drawn")
        else:
            setattr(loan, kind, amount)

    def _loan(self, cell: Cells) -> LoanRow | None:
        reference = cell["loan"]
        if reference and reference not in self.loans:
            cell.wrong("loan", f"no row of the loans has the reference {reference!r}")
        return self.loans.get(reference)

    def _asset(self, cell: Cells) -> Asset | None:
        found = self._assets.get(cell["asset"].upper())
        if cell["asset"] and found is None:
            cell.wrong("asset", f"{cell['asset']!r} is none of {', '.join(sorted(self._assets))}")
        return found
