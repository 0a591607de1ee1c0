"""
A revolving line, drawn, repaid and drawn again, and ended by its client: every entry on the account it belongs on.

A limit of 300,000 USD at 12 %, ACT/360, and 0.6 % a year on what is not drawn; funded on 19 May 2021 at 00:00 UTC,
origination fee 0.5 % of the limit, interest every month, five days of notice. Days run from 00:00 UTC.

                drawn     interest     not drawn        fee
    19 May          0                    300,000     1,500.00   origination fee
    29 May    150,000                    300,000        50.00   10 days of 5.00
    19 June    90,000     1,050.00       150,000        52.50   21 days of 50.00, and of 2.50
    29 June   120,000       300.00       210,000        35.00   10 days of 30.00, and of 3.50
     9 July   120,000       400.00       180,000        30.00   10 days of 40.00, and of 3.00; notice is given
    14 July         0       200.00       180,000        15.00   5 days; it is paid off

           client free USD                       principal                   fees receivable
    (1)            | 150,000.00       (1) 150,000.00 |               (f)  1,682.50 |
    (2)  62,652.50 |                  (2)            |  60,000.00    (2)           | 1,602.50
    (3)            |  30,000.00       (3)  30,000.00 |               (5)           |    80.00
    (4)            |   3,632.50       (5)            | 120,000.00       -----------+---------
    (5) 120,980.00 |                      -----------+-----------                0 |
        -----------+-----------                    0 |
                 0 |

(1) and (3) are draws; (2) pays what is asked for on 19 June, 2,652.50, and 60,000 beside; (4) the rest arrives, as much
as the line has earned: 1,500.00 of origination, 182.50 on what was not drawn, 1,950.00 of interest.
"""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import (
    access,
    approvals,
    corrections,
    draws,
    dunning,
    interest,
    invariants,
    ledger,
    loans,
    permits,
    recalls,
    repayments,
    replays,
    rolling,
)
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import Draw, Loan, LoanState, MarginAccount, Obligation, Posting, Repayment, Role
from otc import pnl
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal


class Story:
    """One line, day after day, and its T-accounts."""

    def __init__(self) -> None:
        self.now = FUNDED
        product = make.ProductFactory(
            code="line", tenor="revolving", notice_days=5, schedule_kind="interest_only", unused_fee=D("0.006")
        )
        self.loan = make.active_loan(now=FUNDED, days=None, principal="300000", annual_rate="0.12", product=product)
        self.signer = make.borrower(f"signer{self.loan.client_id}", self.loan.client)
        self.olga = make.staff("olga", Role.OPERATIONS)

    def until(self, day: dt.date) -> None:
        """Let the days pass, each with what the platform does at its start."""
        while self.now.date() < day:
            self.now += DAY
            for step in (interest.accrue_due, rolling.roll_due, dunning.work_due):
                step(now=self.now)
        self.read()

    def read(self) -> None:
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def draws(self, amount: str) -> Draw:
        """Have the client's signer ask for an amount, and operations pay it out."""
        row = draws.ask(self.loan, D(amount), by=self.signer, now=self.now)
        found = draws.pay_out(row, permit=self.permit(amount), actor=self.olga, now=self.now)
        self.read()
        return found

    def permit(self, amount: str) -> permits.Permit:
        account = MarginAccount.objects.get(pk=self.loan.margin_account_id)
        until = self.now + dt.timedelta(minutes=1)
        return permits.issue(permits.DRAW, account, self.loan.asset, D(amount), snapshot_id=1, expires_at=until)

    def pays(self, amount: str) -> None:
        repayments.record(self.loan, D(amount), key=f"pay:{self.now}", received_at=self.now, now=self.now)
        self.read()

    def t(self) -> dict[str, Decimal]:
        """Return the balances of the T-accounts that are not zero, debits positive."""
        client, loan = self.loan.client_id, self.loan.pk
        kinds = {
            "principal": AccountKind.LOAN_PRINCIPAL, "interest": AccountKind.INTEREST_RECEIVABLE,
            "fees": AccountKind.FEES_RECEIVABLE,
        }  # fmt: skip
        found = {name: ledger.balance(accounts.of_loan(kind, "USD", client, loan)) for name, kind in kinds.items()}
        found["free"] = ledger.balance(accounts.client_free("USD", client))
        found["custody"] = ledger.balance(accounts.custody("USD", "paper"))
        return {name: balance for name, balance in found.items() if balance}

    def owed(self) -> tuple[Decimal, Decimal, Decimal]:
        return self.loan.principal_outstanding, self.loan.interest_due, self.loan.fees_due


def test_drawn_repaid_drawn_again_and_ended(custodian: PaperCustodian) -> None:
    story = Story()
    assert (story.loan.state, story.owed()) == (LoanState.ACTIVE, (D(0), D(0), D(1_500)))
    assert story.t() == {"custody": D(600_000), "fees": D(1_500)}
    assert draws.available(story.loan) == D(300_000)

    # the first draw
    story.until(dt.date(2021, 5, 29))
    assert story.owed() == (D(0), D(0), D(1_550))
    story.draws("150000")
    assert story.t() == {"custody": D(600_000), "free": D(-150_000), "principal": D(150_000), "fees": D(1_550)}
    assert Obligation.objects.get().asks == D("2652.50")  # known anew with the draw

    # (2): the first month's interest and fees, and a part of the principal, which can be drawn again
    story.until(dt.date(2021, 6, 19))
    assert story.owed() == (D(150_000), D("1050.00"), D("1602.50"))
    story.pays("62652.50")
    assert story.owed() == (D(90_000), D(0), D(0))
    assert Obligation.objects.order_by("due_at")[0].state == "met"
    assert draws.available(story.loan) == D(210_000)

    # the second one
    story.until(dt.date(2021, 6, 29))
    story.draws("30000")
    assert story.owed() == (D(120_000), D("300.00"), D("35.00"))

    story.until(dt.date(2021, 7, 9))
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    asked = Obligation.objects.get(kind="recall")
    assert (asked.due_date, asked.asks) == (dt.date(2021, 7, 14), D("120980.00"))

    # (4) and (5), of the text above
    story.until(dt.date(2021, 7, 14))
    assert (story.loan.state, story.owed()) == (LoanState.MATURED, (D(120_000), D("900.00"), D("80.00")))
    assert draws.available(story.loan) == 0
    make.give(story.loan.client, "USD", "3632.50", now=story.now)
    story.pays("120980")
    assert story.loan.state == LoanState.REPAID
    assert story.t() == {"custody": D("603632.50")}
    explained = pnl.explain(None, FUNDED, story.now + DAY)
    assert (explained.lines["unused_fee"], explained.lines["origination_fee"]) == (D("182.50"), D(1_500))
    assert (explained.lines["interest"], explained.total, explained.residual) == (D(1_950), D("3632.50"), D(0))


def test_a_line_stays_open_when_nothing_is_owed_and_ends_when_its_notice_is_over(custodian: PaperCustodian) -> None:
    story = Story()
    story.draws("1000")
    make.give(story.loan.client, "USD", "1500", now=story.now)
    story.pays("2500")
    assert (story.loan.state, story.owed()) == (LoanState.ACTIVE, (D(0), D(0), D(0)))
    with pytest.raises(repayments.UnableToRepay, match="nothing is owed"):
        make.give(story.loan.client, "USD", "5", now=story.now)
        repayments.record(story.loan, D(5), key="pay:5", received_at=story.now, now=story.now)
    story.until(dt.date(2021, 5, 20))
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    story.read()
    assert Obligation.objects.get(kind="recall").asks == D("30.00")  # six days of 5.00
    story.pays("5")
    assert story.loan.state == LoanState.REPAID
    assert loans.close_due(now=story.now) == 0  # its collateral is still here


def test_an_earlier_payment_is_lived_again_with_the_draws(custodian: PaperCustodian) -> None:
    story = Story()
    story.draws("150000")
    story.until(dt.date(2021, 5, 21))
    assert story.owed() == (D(150_000), D("100.00"), D("1505.00"))
    at = FUNDED + DAY
    repayments.record(story.loan, D("91602.50"), key="late", received_at=at, now=story.now)
    story.read()
    # 1,502.50 of fees until then, a day's 50.00, 90,050.00 of principal; since then a day's 19.9833... on what is left,
    # and the fee on what was not drawn of 4.000833...
    assert story.owed() == (D(59_950), D("19.99"), D("4.01"))
    story.until(dt.date(2021, 5, 22))
    assert story.owed() == (D(59_950), D("39.97"), D("8.01"))
    assert draws.available(story.loan) == D("240050")


def test_a_payment_it_was_drawn_against_is_taken_back(custodian: PaperCustodian) -> None:
    story = Story()
    story.draws("300000")
    story.until(dt.date(2021, 5, 20))
    story.pays("121600")
    assert story.owed() == (D(180_000), D(0), D(0))
    story.draws("120000")
    asked = corrections.ask_reversal(
        Repayment.objects.get(), cause="wrong", reason="another's", maker=story.olga, now=story.now
    )
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=story.now)
    story.read()
    # More than its limit is drawn, by nobody's draw: 100.00 a day until now, 140.00 from now on.
    assert story.owed() == (D(420_000), D("100.00"), D(1_500))
    assert draws.available(story.loan) == 0
    with pytest.raises(draws.UnableToDraw, match="0 USD are available, not 1"):
        draws.ask(story.loan, D(1), by=story.signer, now=story.now)
    row = Draw.objects.create(
        client=story.loan.client, loan=story.loan, amount=D(1), asked_by=story.signer, asked_at=story.now
    )
    with pytest.raises(DatabaseError, match="no more is drawn of a line than its limit leaves"), transaction.atomic():
        Draw.objects.filter(pk=row.pk).update(state="paid_out")
    # Nothing is given for what was drawn beyond it: a day of 2.50 on the 150,000 that are available in the end.
    story.until(dt.date(2021, 5, 21))
    story.pays("271740")
    story.until(dt.date(2021, 5, 22))
    assert story.owed() == (D(150_000), D("50.00"), D("2.50"))


def test_what_was_charged_for_nothing_drawn_is_given_back_with_the_payment(custodian: PaperCustodian) -> None:
    story = Story()
    story.draws("300000")
    story.until(dt.date(2021, 5, 20))
    story.pays("121600")
    story.until(dt.date(2021, 5, 22))
    assert story.owed() == (D(180_000), D("120.00"), D("4.00"))
    story.pays("100")
    story.until(dt.date(2021, 5, 23))
    assert story.owed() == (D(180_000), D("84.00"), D("2.00"))
    asked = corrections.ask_reversal(
        Repayment.objects.order_by("pk")[0], cause="wrong", reason="another's", maker=story.olga, now=story.now
    )
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=story.now)
    story.read()
    # All of it was drawn all the time: 100.00 a day and no fee. What paid 4.00 of one is for the origination fee now.
    assert story.owed() == (D(300_000), D("400.00"), D(1_400))
    assert story.loan.unused_posted == 0
    back = Posting.objects.filter(entry__kind="fee_correction", category="unused_fee").order_by("entry__effective_at")
    assert [(row.entry.effective_at.day, row.amount) for row in back] == [(20, D(2)), (21, D(2)), (22, D(2))]
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11"}] == []
    # Worked out once more, nothing differs.
    assert replays.plan(story.loan, reset_at=FUNDED).unused == ()


def test_what_can_not_be_drawn() -> None:
    story = Story()
    fixed = make.active_loan(make.ClientFactory(), now=FUNDED)
    signer = make.borrower(f"signer{fixed.client_id}", fixed.client)
    for loan, amount, by, says in (
        (fixed, "1", signer, "it is no revolving line"),
        (story.loan, "300000.01", story.signer, "300000 USD are available, not 300000.01"),
        (story.loan, "0", story.signer, "not an amount that USD allows"),
        (story.loan, "0.001", story.signer, "not an amount that USD allows"),
    ):
        with pytest.raises(draws.UnableToDraw, match=says):
            draws.ask(loan, D(amount), by=by, now=FUNDED)
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        draws.ask(story.loan, D(1), by=signer, now=FUNDED)
    row = draws.ask(story.loan, D(100), by=story.signer, now=FUNDED)
    with pytest.raises(draws.UnableToDraw, match="another draw waits"):
        draws.ask(story.loan, D(1), by=story.signer, now=FUNDED)
    with pytest.raises(permits.UnableToVerify, match="the permit is for 99"):
        draws.pay_out(row, permit=story.permit("99"), actor=story.olga, now=FUNDED)
    for wrong in ({"state": "paid_out"}, {"amount": D(5)}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Draw.objects.filter(pk=row.pk).update(**wrong)
    draws.drop_waiting(story.loan, by=story.signer, now=FUNDED)
    with pytest.raises(draws.UnableToDraw, match="no draw waits"):
        draws.pay_out(row, permit=story.permit("100"), actor=story.olga, now=FUNDED)
