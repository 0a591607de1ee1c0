"""One loan from its quote on, day after day, and its T-accounts: what every worked example is told with."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

from django.db.models import Sum

from lending import (
    approvals,
    benchmarks,
    capitalisations,
    collateral,
    custody,
    draws,
    dunning,
    interest,
    ledger,
    loans,
    permits,
    recalls,
    repayments,
    resets,
    rolling,
)
from lending.engine import entries
from lending.engine.chart import PROFIT_AND_LOSS_KINDS, AccountKind
from lending.models import Draw, LedgerBalance, Loan, LoanState, Obligation, Repayment, Role, User
from tests.factories import lending as make

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal

Step = Callable[..., object]
_NAMES = {
    AccountKind.CLIENT_FREE: "free", AccountKind.LOAN_PRINCIPAL: "principal",
    AccountKind.INTEREST_RECEIVABLE: "interest", AccountKind.FEES_RECEIVABLE: "fees",
    AccountKind.DEALER_SETTLEMENT: "dealer", AccountKind.DEFICIENCY_CLAIM: "claim",
    AccountKind.DEFICIENCY_ALLOWANCE: "allowance", **dict.fromkeys(PROFIT_AND_LOSS_KINDS, "income"),
}  # fmt: skip


def at(day: str) -> dt.datetime:
    """Return the start of a day of 2021, as in 06-19."""
    return dt.datetime.fromisoformat(f"2021-{day}T00:00+00:00")


def fixed(day: str, rate: str, *, now: dt.datetime) -> None:
    """Have two persons record what SOFR was fixed at."""
    asked = benchmarks.ask(
        "SOFR", "Overnight", f"date,rate\n2021-{day},{rate}", reason="its page",
        maker=make.staff("olga", Role.OPERATIONS), now=now,
    )  # fmt: skip
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=now)


class Story:
    """A loan that is funded on 19 May 2021, the people around it, and the day that it is."""

    def __init__(self, loan: Loan, *also: Step) -> None:
        self.now, self.loan = FUNDED, loan
        self.signer = make.borrower(f"signer{loan.client_id}", loan.client)
        self.manager, self.olga = loan.client.relationship_manager, make.staff("olga", Role.OPERATIONS)
        self.head = make.staff("rolf", Role.RISK_HEAD)
        may_happen: dict[Step, bool] = {
            interest.accrue_due: True, resets.work_due: loan.floats, capitalisations.work_due: loan.capitalises,
            rolling.roll_due: not loan.has_fixed_end, **dict.fromkeys(also, True), dunning.work_due: True,
        }  # fmt: skip
        self.steps = [step for step, does in may_happen.items() if does]

    # --- time ---

    def until(self, day: str) -> Loan:
        """Let the days pass, each with what the platform does at its start."""
        while self.now < at(day):
            self.now = self.now.replace(hour=0) + DAY
            self.look()
        return self.read()

    def on(self, *days: str) -> Loan:
        """Have the platform look on some days only; nothing happens in between."""
        for day in days:
            self.now = at(day)
            self.look()
        return self.read()

    def look(self) -> None:
        for step in self.steps:
            step(now=self.now)

    def read(self) -> Loan:
        self.loan = Loan.objects.select_related("asset", "client").get(pk=self.loan.pk)
        return self.loan

    # --- what people do ---

    def pays(self, amount: str | Decimal, *, on: dt.datetime | None = None) -> Repayment:
        """Have the client pay out of the free balance; the same on the same day is one payment."""
        self.now = on or self.now
        key = f"pay:{self.loan.pk}:{self.now}"
        row = repayments.record(self.read(), D(amount), key=key, received_at=self.now, now=self.now)
        self.read()
        return row

    def wires(self, amount: str | Decimal) -> None:
        """Have the client send just what is to be paid, and pay it."""
        make.give(self.loan.client, "USD", amount, now=self.now)
        self.pays(amount)

    def draws(self, amount: str) -> Draw:
        """Have the client's signer ask for an amount, and operations pay it out."""
        row = draws.ask(self.loan, D(amount), by=self.signer, now=self.now)
        found = draws.pay_out(row, permit=self.permit(amount), actor=self.olga, now=self.now)
        self.read()
        return found

    def permit(self, amount: str) -> permits.Permit:
        return make.draw_permit(self.loan, amount=D(amount), now=self.now)

    def agreed(self, asked: approvals.Approval, *, by: User | None = None) -> None:
        """Have a second person agree to what was asked."""
        approvals.decide(asked, approve=True, checker=by or self.head, now=self.now, reason="read")
        self.read()

    def recalled(self) -> None:
        self.agreed(recalls.ask(self.loan, reason="funding is needed", maker=self.manager, now=self.now))

    def sells(self, bitcoin: str, dollars: str | Decimal) -> repayments.WaterfallResult:
        """Sell collateral as a settled fill does: hold it, sell it, apply what it brought."""
        loan, proceeds = self.loan, D(dollars)
        if loan.state != LoanState.LIQUIDATING:
            loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="liquidation level", now=self.now)
        make.sold(loan, bitcoin, proceeds, now=self.now)
        found = repayments.apply(proceeds, loan, key=f"apply:{self.now}", cause="liquidation level", now=self.now)
        self.read()
        return found

    def settles(self, bitcoin: str, dollars: str | Decimal) -> None:
        """Let coins go to the dealer, and the dealer's money come."""
        heading = entries.Heading(key=f"settled:{self.now}", effective_at=self.now, book_id=self.loan.book_id)
        draft = entries.settlement(
            heading, asset="BTC", quantity=D(bitcoin), cash_asset="USD", cash=D(dollars), dealer="harbour",
            custodian="paper",
        )  # fmt: skip
        ledger.post(draft, now=self.now)

    def goes_out(self) -> None:
        """Send what was asked for, until the last lost answer is found."""
        for minutes in (0, 1, 5, 10):
            custody.send_due(now=self.now + dt.timedelta(minutes=minutes))

    def closes(self) -> None:
        """Give back what is left of the collateral, and close the loan."""
        account, bitcoin = self.loan.margin_account, make.asset("BTC")
        for pledge in account.pledges.filter(quantity__gt=0):
            make.allowed(self.loan.client, "BTC", "bc1-client")
            collateral.release(
                account, bitcoin, pledge.quantity, key=f"release:{account.pk}:{pledge.quantity}", now=self.now,
                destination="bc1-client",
                permit=make.release_permit(account, "BTC", pledge.quantity, now=self.now), maker=self.olga,
                checker=self.head,
            )  # fmt: skip
        assert loans.close_due(now=self.now) == 1
        self.read()

    # --- what stands then ---

    def left(self) -> dict[str, Decimal]:
        """Return every account of the ledger that is not at zero, debits positive."""
        rows = LedgerBalance.objects.values_list("account__kind", "account__asset__code").annotate(Sum("amount"))
        return {f"{kind} {asset}": amount for kind, asset, amount in rows.order_by() if amount}

    def t(self) -> dict[str, Decimal]:
        """Return what is not at zero in USD, but for the capital, with all income and expense as one."""
        found: defaultdict[str, Decimal] = defaultdict(Decimal)
        for account, amount in self.left().items():
            kind, asset = account.split()
            if asset == "USD" and kind != AccountKind.CAPITAL:
                found[_NAMES.get(AccountKind(kind), kind)] += amount
        return {name: amount for name, amount in found.items() if amount}

    def owed(self) -> tuple[Decimal, Decimal, Decimal]:
        return self.loan.principal_outstanding, self.loan.interest_due, self.loan.fees_due

    def asks(self) -> list[tuple[str, str, str, Decimal]]:
        """Return what is or was to be paid, in order."""
        rows = Obligation.objects.filter(loan=self.loan).order_by("due_at", "pk")
        return [(row.due_at.date().isoformat(), row.kind, row.state, row.asks) for row in rows]

    def states(self) -> list[str]:
        """Return the states of what was to be paid, in order."""
        return [state for _, _, state, _ in self.asks()]
