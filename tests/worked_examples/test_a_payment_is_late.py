"""
A payment that is unpaid when its grace is over: its late fee, and how all of it goes once it was paid in time.

300,000 USD at 12 %, ACT/360, for 92 days from 19 May 2021, 00:00 UTC: 100.00 a day, 17 % in default. Interest is paid
every month, with two days of grace; what is unpaid then costs 5 % of it, once. The first 3,100.00 are asked for on 19
June. 1,100.00 of them arrive on 20 June; on 22 June, 00:00, the rest of 2,000.00 puts the loan in default.

              fees     interest    principal    paid
    20 June            1,100.00                  1,100.00   (1)
    22 June  100.00                                         (f) 5 % of 2,000.00
    23 June  100.00    2,441.67     7,458.33    10,000.00   (2) 34 days of 100.00 and one of 141.67 less 1,100.00

           fees receivable                interest receivable                late fees (income)
    (f)    100.00 |                (i)  3,541.67 |                            |   100.00 (f)
    (2)           |   100.00       (1)           |  1,100.00           (r) 100.00 |
    (r)           |   100.00       (2)           |  2,441.67           -----------+---------
    (2')   100.00 |                                                             0 |
        ----------+---------
                0 |

Then it comes to be known that 2,000.00 had arrived on 21 June. There was no default: (r) takes the fee back, (2') what
(2) paid of it, and (2) pays 400.00 of interest and 9,600.00 of principal.
"""

from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import corrections, dunning, interest, ledger, loans, repayments, replays
from lending.engine import accounts
from lending.engine.chart import AccountKind, Category
from lending.models import Entry, Loan, LoanState, Notice, Obligation, Posting
from otc import pnl
from tests.factories import lending as make
from tests.worked_examples.story import DAY, FUNDED, D, Story, at

pytestmark = pytest.mark.django_db


class Late(Story):
    """One loan that is paid late, and what that costs."""

    def __init__(self, *, late_fee: str = "0.05", kind: str = "interest_only") -> None:
        product = make.ProductFactory(
            code=f"late-{kind}", origination_fee=D(0), schedule_kind=kind, grace_days=2, late_fee=D(late_fee)
        )
        super().__init__(make.active_loan(now=FUNDED, days=92, principal="300000", annual_rate="0.12", product=product))
        make.give(self.loan.client, "USD", "20000", now=FUNDED)

    def first(self) -> Obligation:
        return Obligation.objects.filter(loan=self.loan).order_by("due_at")[0]

    def fees(self) -> tuple[Decimal, Decimal]:
        """Return what is receivable of fees, and what late fees have earned."""
        key = accounts.of_loan(AccountKind.FEES_RECEIVABLE, "USD", self.loan.client_id, self.loan.pk)
        earned = Posting.objects.filter(loan=self.loan, category=Category.LATE_FEE).values_list("amount", flat=True)
        return ledger.balance(key), -sum(earned, D(0))

    def parts(self) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Return fees, interest and principal of each payment as it stands."""
        rows = replays.standing(self.loan)
        found = replays.parts_now(rows)
        return [(part.fees, part.interest, part.principal) for part in (found[row.pk] for row in rows)]


def test_late_then_in_default_then_paid_in_time_after_all() -> None:
    story = Late()
    story.until("06-20")
    told = Notice.objects.get(kind="payment_due").body
    assert "Not paid by 22 Jun 2021 00:00 UTC, the loan is in default, and a late fee of 155.00 USD is charged" in told
    assert "a late fee of 155.00 USD is charged" in Notice.objects.get(kind="payment_late").body
    story.pays("1100")
    assert (story.first().state, story.fees()) == ("late", (0, 0))

    story.until("06-22")
    assert (story.loan.state, story.loan.fees_due, story.fees()) == (LoanState.DEFAULTED, 100, (100, 100))
    assert story.first().late_fee == 100
    assert "A late fee of 100.00 USD was charged." in Notice.objects.get(kind="loan_default").body
    assert interest.payoff(story.loan, now=story.now).fees == 100  # and so it counts in the LTV
    dunning.work_due(now=story.now)
    assert Entry.objects.filter(kind="late_fee").count() == 1
    explained = pnl.explain(None, FUNDED, story.now + DAY)
    assert (explained.lines["late_fee"], explained.residual) == (100, 0)

    story.until("06-23")
    story.pays("10000")
    assert story.parts() == [(0, 1_100, 0), (100, D("2441.67"), D("7458.33"))]
    assert story.fees() == (0, 100)

    story.until("06-24")
    arrived = {"received_at": at("06-21"), "reason": "the bank's statement"}
    story.agreed(corrections.ask_payment(story.loan, D(2_000), **arrived, maker=story.olga, now=story.now))
    assert (story.loan.state, story.loan.fees_due, story.fees()) == (LoanState.ACTIVE, 0, (0, 0))
    assert story.parts() == [(0, 1_100, 0), (0, 2_000, 0), (0, 400, 9_600)]
    assert (story.first().state, story.first().late_fee, story.first().late_fee_entry) == ("met", 0, None)
    explained = pnl.explain(None, FUNDED, story.now + DAY)
    assert (explained.lines["late_fee"], explained.lines["default_interest"], explained.residual) == (0, 0, 0)
    # What is put right once more finds no fee: the ledger has it and its reversal.
    assert replays.plan(story.loan, taken_back=replays.standing(story.loan)[-1]).life.facts.fees == ()


def test_what_arrived_before_the_fee_does_not_pay_it() -> None:
    story = Late()
    story.until("06-21")
    interest.accrue_due(now=FUNDED + 34 * DAY)
    dunning.work_due(now=FUNDED + 34 * DAY + DAY / 24)  # somebody looks an hour late
    story.read()
    assert story.loan.fees_due == 155
    repayments.record(
        story.loan, D(1_000), key="early", received_at=FUNDED + 34 * DAY + DAY / 48, now=FUNDED + 34 * DAY + DAY / 12
    )
    story.read()
    assert (story.loan.fees_due, story.parts()) == (155, [(0, 1_000, 0)])
    repayments.record(story.loan, D(1_000), key="later", received_at=FUNDED + 35 * DAY, now=FUNDED + 35 * DAY)
    story.read()
    assert (story.loan.fees_due, story.parts()) == (0, [(0, 1_000, 0), (155, 845, 0)])


def test_a_fee_is_charged_once_and_not_for_what_ends_a_loan() -> None:
    story = Late()
    story.until("06-22")
    assert (story.loan.state, story.first().late_fee) == (LoanState.DEFAULTED, 155)
    for state in (LoanState.LIQUIDATING, LoanState.ACTIVE):  # a sale that leaves debt does not heal a default
        loans.transition(story.loan, state, actor=None, cause="a sale", now=story.now)
    story.until("06-23")
    assert (story.loan.state, story.loan.fees_due, story.fees()) == (LoanState.DEFAULTED, 155, (155, 155))

    row = story.first()
    for change, says in (
        ({"late_fee": 0, "late_fee_entry": None}, "goes with the reversal of its entry"),
        ({"late_fee": D(1)}, "charged once, by an entry"), ({"late_fee_entry": None}, "charged once, by an entry"),
    ):  # fmt: skip
        with pytest.raises(DatabaseError, match=says), transaction.atomic():
            Obligation.objects.filter(pk=row.pk).update(**change)
    with pytest.raises(DatabaseError, match="a loan runs by its term sheet"), transaction.atomic():
        Loan.objects.filter(pk=story.loan.pk).update(late_fee=D("0.01"))

    bullet = Late(kind="bullet")
    bullet.until("08-22")
    assert (bullet.loan.state, bullet.loan.fees_due) == (LoanState.DEFAULTED, 0)
    free = Late(late_fee="0", kind="equal_principal")
    free.until("06-22")
    assert (free.loan.state, free.loan.fees_due) == (LoanState.DEFAULTED, 0)
