"""
Two loans that are paid as their schedules say, one to its end and one not: every entry on the accounts it belongs on.

Both are funded on 19 May 2021 at 00:00 UTC until 19 August, ACT/360, origination fee 0.5 %, secured by 25 BTC. What is
lent stays in the client's free balance, and the client pays from there. Debits stand left, credits right.

Equal parts of the principal: 300,000 USD at 12 %, that is 100.00 a day at first; the desk starts with 600,000.

           custody USD                     client free USD                    principal
    (1)   600,000.00 |              (2)            | 298,500.00       (2) 300,000.00 |
    (5)     7,633.34 |              (3) 103,100.00 |                  (3)            | 100,000.00
        -------------+---           (4) 102,000.00 |                  (4)            | 100,000.00
          607,633.34 |              (5)            |   7,633.34       (6)            | 100,000.00
                                    (6) 101,033.34 |                      -----------+-----------
                                        -----------+-----------                    0 |
                                                 0 |

         interest receivable             income
    (a)   3,100.00 |              (2)     | 1,500.00 fee              (a) 31 days of 100.00
    (3)            | 3,100.00     (a)     | 3,100.00                  (b) 30 days of 66.6666...
    (b)   2,000.00 |              (b)     | 2,000.00                  (c) 31 days of 33.3333..., and the rounding
    (4)            | 2,000.00     (c)     | 1,033.34
    (c)   1,033.34 |                 -----+---------
    (6)            | 1,033.34             | 7,633.34
        -----------+---------
                 0 |

(1) capital; (2) the loan is funded; (3), (4) two instalments; (5) 7,633.34 arrive and (6) pay the last one. What is
left at the custodian is the capital and the income.

Interest only, and the second one is not paid: 500,000 USD at 9 %, that is 125.00 a day, and 14 % in default, that is
194.4444...; three days of grace; the desk starts with 1,000,000.

           custody USD                     client free USD                    principal
    (1) 1,000,000.00 |              (2)            | 497,500.00       (2) 500,000.00 |
    (4)    12,569.45 |              (3)   3,875.00 |                  (5)            | 500,000.00
        -------------+---           (4)            |  12,569.45           -----------+-----------
        1,012,569.45 |              (5) 506,194.45 |                               0 |
                                        -----------+-----------
                                                 0 |

         interest receivable             income
    (a)   3,875.00 |              (2)     |  2,500.00 fee             (a) 31 days of 125.00
    (3)            | 3,875.00     (a), (b)|  8,125.00 interest        (b) 34 days of 125.00, to 23 July
    (b)   4,250.00 |              (c)     |  1,944.45 in default      (c) 10 days of 194.4444...
    (c)   1,944.45 |                 -----+----------
    (5)            | 6,194.45             | 12,569.45
        -----------+---------
                 0 |

(3) the first interest; the second, due on 19 July, is late on the 20th and in default on the 23rd; (4) on 2 August
12,569.45 arrive and (5) pay the loan off.
"""

import pytest
from django.db.models import Sum

from lending.models import LoanState, Posting, ScheduleKind
from tests.factories import lending as make
from tests.worked_examples.story import FUNDED, D, Story

pytestmark = pytest.mark.django_db


def scheduled(kind: str, *, principal: str, annual_rate: str, grace_days: int = 0) -> Story:
    product = make.ProductFactory(code=kind, schedule_kind=kind, grace_days=grace_days)
    return Story(make.active_loan(now=FUNDED, days=92, principal=principal, annual_rate=annual_rate, product=product))


def test_equal_parts_to_the_last_one() -> None:
    # (1) capital, (2) funding
    story = scheduled(ScheduleKind.EQUAL_PRINCIPAL, principal="300000", annual_rate="0.12")
    assert story.t() == {"custody": D(600_000), "free": D(-298_500), "principal": D(300_000), "income": D(-1_500)}

    # (a) and (3): the first part with its interest
    story.until("06-19")
    assert story.loan.interest_due == D("3100.00")
    story.pays("103100")
    assert story.t() == {"custody": D(600_000), "free": D(-195_400), "principal": D(200_000), "income": D(-4_600)}

    # (b) and (4): the second
    story.until("07-19")
    story.pays("102000")
    assert story.states() == ["met", "met", "expected"]

    # (c), then (5) and (6): the last
    story.until("08-19")
    assert (story.loan.state, story.loan.interest_due) == (LoanState.MATURED, D("1033.34"))
    make.give(story.loan.client, "USD", "7633.34", now=story.now)
    story.pays("101033.34")
    assert story.loan.state == LoanState.REPAID
    assert story.states() == ["met", "met", "met"]
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D("607633.34"), "income": D("-7633.34")}


def test_an_interest_that_is_not_paid_puts_the_loan_in_default() -> None:
    story = scheduled(ScheduleKind.INTEREST_ONLY, principal="500000", annual_rate="0.09", grace_days=3)
    story.until("06-19")
    story.pays("3875")
    assert story.t() == {"custody": D(1_000_000), "free": D(-493_625), "principal": D(500_000), "income": D(-6_375)}

    story.until("07-20")
    assert story.states() == ["met", "late", "expected"]
    assert story.loan.state == LoanState.ACTIVE
    story.until("07-23")
    assert story.states() == ["met", "defaulted", "cancelled"]
    assert story.loan.state == LoanState.DEFAULTED
    assert story.loan.interest_due == D("4250.00")

    story.until("08-02")
    make.give(story.loan.client, "USD", "12569.45", now=story.now)
    story.pays("506194.45")
    assert story.loan.state == LoanState.REPAID
    story.closes()
    assert story.t() == {"custody": D("1012569.45"), "income": D("-12569.45")}
    default = Posting.objects.filter(category="default_interest").aggregate(total=Sum("amount"))
    assert default["total"] == D("-1944.45")


def test_equal_instalments_to_the_last_one() -> None:
    """
    300,000 USD at 12 %: 102,051.41 a month, which is what 300,000.00 are worth over 31, 30 and 31 days.

               client free USD                       principal                   interest receivable
        (2)            | 298,500.00       (2) 300,000.00 |               (a)  3,100.00 |             31 days
        (3) 102,051.41 |                  (3)            |  98,951.41    (3)           |  3,100.00
        (4) 102,051.41 |                  (4)            | 100,040.92    (b)  2,010.49 |             30 days
        (5)            |   7,654.24       (5)            | 101,007.67    (4)           |  2,010.49
        (5) 102,051.42 |                      -----------+-----------    (c)  1,043.75 |             31 days
            -----------+-----------                    0 |               (5)           |  1,043.75
                     0 |                                                     ----------+----------
                                                                                     0 |
    """
    story = scheduled(ScheduleKind.EQUAL_INSTALMENT, principal="300000", annual_rate="0.12")
    for days, left, interest in (
        (("06-14", "06-19"), D("201048.59"), D("3100.00")), (("07-14", "07-19"), D("101007.67"), D("2010.49")),
    ):  # fmt: skip
        assert story.on(*days).interest_due == interest
        story.pays("102051.41")
        assert story.owed() == (left, 0, 0)
    assert story.on("08-14", "08-19").interest_due == D("1043.75")
    make.give(story.loan.client, "USD", "7654.24", now=story.now)
    story.pays("102051.42")
    assert story.states() == ["met", "met", "met"]
    story.closes()
    assert (story.loan.state, story.t()) == (LoanState.CLOSED, {"custody": D("607654.24"), "income": D("-7654.24")})


def test_interest_alone_and_the_principal_at_the_end() -> None:
    """500,000 USD at 9 %, 125.00 a day: 31, 30 and 31 days of it, and the principal with the last."""
    story = scheduled(ScheduleKind.INTEREST_ONLY, principal="500000", annual_rate="0.09")
    make.give(story.loan.client, "USD", "14000", now=story.now)  # the fee of 2,500.00, and 11,500.00 of interest
    for announced, due, amount in (("06-14", "06-19", 3_875), ("07-14", "07-19", 3_750), ("08-14", "08-19", 503_875)):
        story.on(announced, due)
        story.pays(D(amount))
    assert story.states() == ["met", "met", "met"]
    story.closes()
    assert (story.loan.state, story.t()) == (LoanState.CLOSED, {"custody": D(1_014_000), "income": D(-14_000)})
