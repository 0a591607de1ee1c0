"""
A loan whose rate follows a benchmark and steps up, from its quote to its end: each entry on the accounts it belongs on.

360,000 USD for three months, ACT/360, SOFR plus 2 %, at least 3 %, reset every month by the fixing of two days before,
from 1 August on 1 % more; origination fee 0.5 %, secured by 25 BTC. The desk starts with 720,000. SOFR is fixed at 4 %
when it is quoted: 6 %, 60.00 a day from 19 May. On 17 June it is 5 %: 7 %, 70.00 a day from 19 June, which is known on
23 June only, when four days were posted at 60.00 already. On 17 July nothing is published; the last fixing, 0.5 % of
14 July, comes to the floor: 3 %, 30.00 a day from 19 July, and 40.00 from 1 August. Debits stand left, credits right.

           custody USD                     client free USD                    principal
    (1)   720,000.00 |              (2)            | 358,200.00       (2) 360,000.00 |
    (3)     6,870.00 |              (3)            |   6,870.00       (6)            | 360,000.00
        -------------+---           (4)   1,860.00 |                      -----------+-----------
          726,870.00 |              (5)   2,100.00 |                               0 |
                                    (6) 361,110.00 |
                                        -----------+-----------
                                                 0 |

         interest receivable             income
    (a)   1,860.00 |              (2)     | 1,800.00 fee        (a) 31 days of 60.00, to 19 June
    (4)            | 1,860.00     (a)     | 1,860.00
    (b)     240.00 |              (b)     |   240.00            (b) 4 days of 60.00, posted before the fixing was known
    (c)      40.00 |              (c)     |    40.00            (c) 10.00 more for each of these days, in its own day
    (d)   1,820.00 |              (d)     | 1,820.00            (d) 26 days of 70.00, to 19 July
    (5)            | 2,100.00
    (e)     390.00 |              (e)     |   390.00            (e) 13 days of 30.00, to 1 August
    (f)     720.00 |              (f)     |   720.00            (f) 18 days of 40.00, to 19 August
    (6)            | 1,110.00
        -----------+---------         ----+---------
                 0 |                      | 6,870.00

(1) capital; (2) the loan is funded; (3) what is missing arrives; (4), (5) the interest of a period is paid on its day;
(6) on 19 August the loan is paid off. What is left at the custodian is the capital and the income.
"""

import datetime as dt

import pytest
from django.db.models import Sum

from lending import dunning, interest, loans, offers, repayments, resets, workouts
from lending.engine.chart import AccountKind
from lending.models import Correction, Entry, LoanState, Obligation, Posting, Role
from tests.factories import lending as make
from tests.worked_examples.story import DAY, FUNDED, D, Story, fixed

pytestmark = pytest.mark.django_db


def paid(story: Story, amount: str) -> None:
    """Have the client pay something out of the free balance, as it was asked to."""
    assert Obligation.objects.get(loan=story.loan, due_at=story.now).amount == D(amount)
    story.pays(amount)


def test_a_rate_that_is_reset_late_then_at_its_floor_then_stepped_up() -> None:
    fixed("05-17", "0.04", now=FUNDED)
    product = make.ProductFactory(
        code="floating", benchmark="SOFR", spread=D("0.02"), rate_floor=D("0.03"), reset_months=1, fixing_lag_days=2,
        schedule_kind="interest_only",
    )  # fmt: skip
    client = make.ClientFactory()
    offer = offers.quote(
        client=client, product=product, principal=D(360_000), annual_rate=None, maturity_date=dt.date(2021, 8, 19),
        step_up=D("0.01"), step_up_date=dt.date(2021, 8, 1), quoted_until=FUNDED + DAY, now=FUNDED,
        made_by=client.relationship_manager,
    )  # fmt: skip
    # (1) capital, (2) funding, (3) what will be missing
    story = Story(make.funded(offer, now=FUNDED))
    make.give(client, "USD", "6870", now=FUNDED)
    assert story.t() == {"custody": D(726_870), "free": D(-365_070), "principal": D(360_000), "income": D(-1_800)}

    # (a) and (4): the first period, at the rate of its sheet; what the reset of this day is by is not known yet
    story.until("06-18")
    story.now += DAY
    for step in (interest.accrue_due, dunning.work_due):
        step(now=story.now)
    paid(story, "1860")

    # (b): nobody has looked for four days, and then the fixing comes; (c): the difference, each day's in its day
    story.now += 4 * DAY
    interest.accrue_due(now=story.now)
    assert story.t()["interest"] == D(240)
    fixed("06-17", "0.05", now=story.now)
    assert resets.work_due(now=story.now) == 1
    loan = story.read()
    assert (story.t()["interest"], loan.interest_due, loan.annual_rate) == (D(280), D(280), D("0.07"))
    late = Entry.objects.filter(idempotency_key__contains="reset:2021-06-19").order_by("effective_at")
    assert [entry.effective_at.day for entry in late] == [19, 20, 21, 22]
    assert Correction.objects.get(kind=Correction.Kind.RATE).interest == D(40)

    # (d) and (5): what was announced five days before is what the books have
    story.until("07-14")
    fixed("07-14", "0.005", now=story.now)
    story.until("07-19")
    paid(story, "2100")
    assert (story.loan.annual_rate, story.t()["free"]) == (D("0.03"), D(-361_110))

    # (e), (f) and (6): at the floor, then stepped up; the whole is due
    story.until("08-19")
    paid(story, "361110")
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D(726_870), "income": D(-6_870)}


def test_interest_that_becomes_principal_month_by_month() -> None:
    """
    360,000 USD at 6 %, ACT/360, for three months, its interest becoming principal; the desk starts with 720,000.

               principal                        interest receivable             income
        (2) 360,000.00 |                 (a)   1,860.00 |              (2)     | 1,800.00 fee
        (A)   1,860.00 |                 (A)            | 1,860.00     (a)     | 1,860.00  31 days on 360,000.00
        (B)   1,809.30 |                 (b)   1,809.30 |              (b)     | 1,809.30  30 days on 361,860.00
        (6)            | 363,669.30      (B)            | 1,809.30     (c)     | 1,878.96  31 days on 363,669.30
            -----------+-----------      (c)   1,878.96 |                  ----+---------
                     0 |                 (6)            | 1,878.96             | 7,348.26
                                             -----------+---------
                                                      0 |

    (A) on 19 June and (B) on 19 July what is due becomes principal, with neither cash nor income; (6) on 19 August
    365,548.26 pay the loan off, of which 358,200.00 were paid out and 7,348.26 arrive.
    """
    product = make.ProductFactory(code="growing", schedule_kind="capitalised")
    story = Story(make.active_loan(product=product, principal="360000", annual_rate="0.06", days=92, now=FUNDED))
    make.give(story.loan.client, "USD", "7348.26", now=FUNDED)
    story.until("06-19")
    assert (story.t()["principal"], "interest" in story.t()) == (D("361860"), False)
    assert interest.payoff(story.loan, now=story.now + DAY).total == D("361920.31")
    story.until("07-19")
    assert (story.t()["principal"], "interest" in story.t()) == (D("363669.30"), False)
    assert story.t()["free"] == D("-365548.26")
    story.until("08-19")
    paid(story, "365548.26")
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D("727348.26"), "income": D("-7348.26")}
    assert Entry.objects.filter(kind="capitalisation").count() == 2


def test_interest_that_became_principal_is_sold_for_and_lost() -> None:
    """
    The same loan, called on 24 June: 10 BTC bring 161,000.00, it runs on, and on 24 July all is sold for 150,000.00.

               principal                        interest receivable             income and loss
        (2) 360,000.00 |                 (a)   1,860.00 |              (2)     | 1,800.00 fee
        (A)   1,860.00 |                 (A)            | 1,860.00     (a)     | 1,860.00  31 days on 360,000.00
        (3)            | 160,698.45      (b)     301.55 |              (b)     |   301.55   5 days on 361,860.00
        (B)     838.18 |                 (3)            |   301.55     (c)     |   838.18  25 days on 201,161.55
        (4)            | 149,831.67      (c)     838.18 |              (d)     |   168.33   5 days on 201,999.73
        (5)            |  52,168.06      (B)            |   838.18     (5) 52,168.06 |
            -----------+-----------      (d)     168.33 |                  --------+--------
                     0 |                 (4)            |   168.33       47,200.00 |
                                             -----------+---------
                                                      0 |

    (3) and (4) are what the sales paid, (5) what they left unpaid. Of the 52,168.06, 2,698.18 had never been lent: they
    were interest, 1,860.00 and 838.18, and are income above. Lost is what was paid out and did not come back.
    """
    product = make.ProductFactory(code="growing", schedule_kind="capitalised")
    story = Story(make.active_loan(product=product, principal="360000", annual_rate="0.06", days=92, now=FUNDED))
    story.on("06-19", "06-24")
    sold = story.sells("10", "161000")
    assert (sold.interest, sold.principal, sold.surplus) == (D("301.55"), D("160698.45"), 0)
    loans.transition(story.loan, LoanState.ACTIVE, actor=None, cause="sale over: restored", now=story.now)
    story.on("07-19")
    assert story.owed() == (D("201999.73"), 0, 0)
    assert str(Obligation.objects.get().due_date) == "2021-08-19"

    story.on("07-24")
    assert story.sells("15", "150000").interest == D("168.33")
    assert repayments.shortfall(story.loan, key="loss:1", cause="level", now=story.now) == D("52168.06")
    rhea = make.staff("rhea", Role.RISK)
    story.agreed(workouts.ask(story.read(), closes=True, reason="nothing is left", maker=rhea, now=story.now))
    assert story.loan.state == LoanState.CLOSED
    rows = Posting.objects.filter(account__kind=AccountKind.LOAN_PRINCIPAL).values_list("entry__kind")
    assert dict(rows.annotate(Sum("amount")).order_by()) == {
        "disbursement": 360_000, "capitalisation": D("2698.18"), "waterfall": D("-310530.12"),
        "shortfall": D("-52168.06"),
    }  # fmt: skip
    # The dealer has not paid yet; what was lent is still in the client's balance.
    assert story.left() == {
        "capital USD": -720_000, "custody USD": 720_000, "client_free USD": -358_200, "dealer_settlement USD": 311_000,
        "fee_income USD": -1_800, "interest_income USD": D("-3168.06"), "credit_loss USD": D("52168.06"),
        "custody BTC": 25, "dealer_settlement BTC": -25,
    }  # fmt: skip
