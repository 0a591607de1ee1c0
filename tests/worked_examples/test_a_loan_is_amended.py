"""
A loan that is amended twice, from its offer to its end: every entry on the accounts it belongs on.

360,000 USD at 9 %, ACT/360, that is 90.00 a day, funded on 19 May 2021 at 00:00 UTC until 19 July, origination fee
0.5 %, secured by 25 BTC; the desk starts with 720,000. On 3 June at noon both sides have agreed on 6 %, that is 60.00 a
day, and on 12 July on 18 August as the maturity. Debits stand left, credits right.

           custody USD                     client free USD                    principal
    (1)   720,000.00 |              (2)            | 358,200.00       (2) 360,000.00 |
    (3)     7,725.00 |              (3)            |   7,725.00       (4)            | 360,000.00
        -------------+---           (4) 365,925.00 |                      -----------+-----------
          727,725.00 |                  -----------+-----------                    0 |
                                                 0 |

         interest receivable             income
    (a)   1,395.00 |              (2)     | 1,800.00 fee              (a) 15.5 days of 90.00, to 3 June at noon
    (b)   4,530.00 |              (a)     | 1,395.00                  (b) 75.5 days of 60.00, to 18 August
    (4)            | 5,925.00     (b)     | 4,530.00
        -----------+---------         ----+---------
                 0 |                      | 7,725.00

(1) capital; (2) the loan is funded; (3) on 18 August 7,725.00 arrive and (4) pay the loan off. What is left at the
custodian is the capital and the income.
"""

import datetime as dt
from fractions import Fraction

import pytest

from lending import amendments, term_sheets
from lending.models import Loan, LoanState, Obligation, Role
from lending.other_terms import Wanted
from tests.factories import lending as make
from tests.independent.naive_loan import NaiveLoan
from tests.worked_examples.story import DAY, FUNDED, D, Story

pytestmark = pytest.mark.django_db


def agreed(story: Story, wanted: Wanted) -> Loan:
    """Have both sides agree on other terms, and return the loan as it runs then."""
    loan, now = story.loan, story.now
    made = amendments.propose(
        loan, wanted, reason="as agreed", expires_at=now + DAY, maker=loan.made_by, now=now - DAY / 24
    )
    amendments.approve(made, by=make.staff("rhea", Role.RISK), now=now - DAY / 48)
    amendments.sign(made, by=loan.accepted_by, read=made.sheet.fingerprint, now=now)
    return story.read()


def test_another_rate_in_the_middle_of_a_month_then_a_later_maturity() -> None:
    # (1) capital, (2) funding
    story = Story(make.active_loan(now=FUNDED, days=61, principal="360000", annual_rate="0.09"), amendments.work_due)
    assert story.t() == {"custody": D(720_000), "free": D(-358_200), "principal": D(360_000), "income": D(-1_800)}

    # (a): the old rate, to the signature
    story.until("06-03")
    story.now = signed_at = story.now + DAY / 2
    loan = agreed(story, Wanted(annual_rate=D("0.06")))
    assert (loan.interest_posted, loan.annual_rate) == (D("1395.00"), D("0.06"))
    assert story.t()["interest"] == D(1_395)

    # A week before it falls due it is announced; amended, the same debt falls due a month later.
    story.until("07-15")
    assert story.states() == ["replaced", "noticed"]
    story.now += DAY / 4
    agreed(story, Wanted(maturity_date=dt.date(2021, 8, 18)))
    loan = story.until("07-25")
    assert (loan.state, loan.maturity_date) == (LoanState.ACTIVE, dt.date(2021, 8, 18))

    # (b): the new rate, to the new maturity; what was asked for is what the books have
    loan = story.until("08-18")
    assert (loan.state, loan.interest_due) == (LoanState.MATURED, D("5925.00"))
    paper = NaiveLoan(
        start=FUNDED, lent=D(360_000), day_count="ACT/360",
        rates=[(FUNDED, Fraction(9, 100)), (signed_at, Fraction(6, 100))],
        default_rates=[(FUNDED, Fraction(14, 100))], default_at=story.now + DAY,
    )  # fmt: skip
    assert loan.interest_posted == paper.earned(story.now) == D("5925.00")
    last = Obligation.objects.get(state="due")
    assert (last.due_date, last.interest, last.amount) == (loan.maturity_date, D("5925.00"), D("365925.00"))

    # (3) and (4): paid off, and closed
    make.give(loan.client, "USD", "7725", now=story.now)
    story.pays("365925")
    assert (story.loan.state, story.t()) == (LoanState.REPAID, {"custody": D(727_725), "income": D(-7_725)})
    story.closes()
    assert story.states() == ["replaced", "replaced", "met"]
    assert [sheet.accepted is not None for sheet in term_sheets.versions(story.loan)] == [True] * 3
