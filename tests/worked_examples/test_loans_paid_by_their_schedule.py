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

import datetime as dt
from decimal import Decimal

import pytest
from django.db.models import Sum

from lending import collateral, dunning, interest, ledger, loans, repayments
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.engine.chart import PROFIT_AND_LOSS_KINDS, AccountKind
from lending.models import Loan, LoanState, Obligation, Posting, Role, ScheduleKind
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal


class Story:
    """One loan, day after day, and its T-accounts."""

    def __init__(self, kind: str, *, principal: str, annual_rate: str, grace_days: int = 0) -> None:
        self.now = FUNDED
        product = make.ProductFactory(code=kind, schedule_kind=kind, grace_days=grace_days)
        self.loan = make.active_loan(now=FUNDED, days=92, principal=principal, annual_rate=annual_rate, product=product)

    def until(self, day: dt.date) -> None:
        """Let the days pass, each with what the platform does at its start."""
        while self.now.date() < day:
            self.now += DAY
            interest.accrue_due(now=self.now)
            dunning.work_due(now=self.now)
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def pays(self, amount: str) -> None:
        """Have the client pay out of the free balance."""
        repayments.record(self.loan, D(amount), key=f"pay:{self.now}", received_at=self.now, now=self.now)
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def closes(self) -> None:
        """Give the collateral back, and close the loan."""
        account, bitcoin = self.loan.margin_account, make.asset("BTC")
        make.allowed(self.loan.client, "BTC", "bc1-client")
        permit = make.release_permit(account, "BTC", "25", now=self.now)
        maker, checker = make.staff("olga", Role.OPERATIONS), make.staff("rhea", Role.RISK)
        collateral.release(
            account, bitcoin, D(25), permit=permit, maker=maker, checker=checker, key="release:1",
            destination="bc1-client", now=self.now,
        )  # fmt: skip
        assert loans.close_due(now=self.now) == 1
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def t(self) -> dict[str, Decimal]:
        """Return the balances of the T-accounts that are not zero, debits positive."""
        client, loan = self.loan.client_id, self.loan.pk
        income = Posting.objects.filter(account__kind__in=PROFIT_AND_LOSS_KINDS).aggregate(total=Sum("amount"))
        found = {
            "custody": ledger.balance(accounts.custody("USD", "paper")),
            "free": ledger.balance(accounts.client_free("USD", client)),
            "principal": ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, "USD", client, loan)),
            "interest": ledger.balance(accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, "USD", client, loan)),
            "income": income["total"],
        }
        return {name: balance for name, balance in found.items() if balance}

    def obligations(self) -> list[str]:
        """Return the states of what was to be paid, in order."""
        return list(Obligation.objects.order_by("due_at").values_list("state", flat=True))


def test_equal_parts_to_the_last_one(custodian: PaperCustodian) -> None:
    # (1) capital, (2) funding
    story = Story(ScheduleKind.EQUAL_PRINCIPAL, principal="300000", annual_rate="0.12")
    assert story.t() == {"custody": D(600_000), "free": D(-298_500), "principal": D(300_000), "income": D(-1_500)}

    # (a) and (3): the first part with its interest
    story.until(dt.date(2021, 6, 19))
    assert story.loan.interest_due == D("3100.00")
    story.pays("103100")
    assert story.t() == {"custody": D(600_000), "free": D(-195_400), "principal": D(200_000), "income": D(-4_600)}

    # (b) and (4): the second
    story.until(dt.date(2021, 7, 19))
    story.pays("102000")
    assert story.obligations() == ["met", "met", "expected"]

    # (c), then (5) and (6): the last
    story.until(dt.date(2021, 8, 19))
    assert (story.loan.state, story.loan.interest_due) == (LoanState.MATURED, D("1033.34"))
    make.give(story.loan.client, "USD", "7633.34", now=story.now)
    story.pays("101033.34")
    assert story.loan.state == LoanState.REPAID
    assert story.obligations() == ["met", "met", "met"]
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D("607633.34"), "income": D("-7633.34")}


def test_an_interest_that_is_not_paid_puts_the_loan_in_default(custodian: PaperCustodian) -> None:
    story = Story(ScheduleKind.INTEREST_ONLY, principal="500000", annual_rate="0.09", grace_days=3)
    story.until(dt.date(2021, 6, 19))
    story.pays("3875")
    assert story.t() == {"custody": D(1_000_000), "free": D(-493_625), "principal": D(500_000), "income": D(-6_375)}

    story.until(dt.date(2021, 7, 20))
    assert story.obligations() == ["met", "late", "expected"]
    assert story.loan.state == LoanState.ACTIVE
    story.until(dt.date(2021, 7, 23))
    assert story.obligations() == ["met", "defaulted", "cancelled"]
    assert story.loan.state == LoanState.DEFAULTED
    assert story.loan.interest_due == D("4250.00")

    story.until(dt.date(2021, 8, 2))
    make.give(story.loan.client, "USD", "12569.45", now=story.now)
    story.pays("506194.45")
    assert story.loan.state == LoanState.REPAID
    story.closes()
    assert story.t() == {"custody": D("1012569.45"), "income": D("-12569.45")}
    default = Posting.objects.filter(category="default_interest").aggregate(total=Sum("amount"))
    assert default["total"] == D("-1944.45")
