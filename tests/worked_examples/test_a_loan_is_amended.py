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
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db.models import Sum

from lending import amendments, collateral, dunning, interest, ledger, loans, repayments, term_sheets
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.engine.chart import PROFIT_AND_LOSS_KINDS, AccountKind
from lending.models import Loan, LoanState, Obligation, Posting, Role
from lending.other_terms import Wanted
from tests.factories import lending as make
from tests.independent.naive_loan import NaiveLoan

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal


def until(day: dt.date, now: dt.datetime) -> dt.datetime:
    """Let the days pass, each with what the platform does at its start."""
    now = now.replace(hour=0)
    while now.date() < day:
        now += DAY
        interest.accrue_due(now=now)
        amendments.work_due(now=now)
        dunning.work_due(now=now)
    return now


def agreed(loan: Loan, wanted: Wanted, *, now: dt.datetime) -> Loan:
    """Have both sides agree on other terms, and return the loan as it runs then."""
    made = amendments.propose(
        loan, wanted, reason="as agreed", expires_at=now + DAY, maker=loan.made_by, now=now - DAY / 24
    )
    amendments.approve(made, by=make.staff("rhea", Role.RISK), now=now - DAY / 48)
    amendments.sign(made, by=loan.accepted_by, read=made.sheet.fingerprint, now=now)
    return Loan.objects.get(pk=loan.pk)


def t(loan: Loan) -> dict[str, Decimal]:
    """Return the balances of the T-accounts that are not zero, debits positive."""
    client, key = loan.client_id, loan.pk
    income = Posting.objects.filter(account__kind__in=PROFIT_AND_LOSS_KINDS).aggregate(total=Sum("amount"))
    found = {
        "custody": ledger.balance(accounts.custody("USD", "paper")),
        "free": ledger.balance(accounts.client_free("USD", client)),
        "principal": ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, "USD", client, key)),
        "interest": ledger.balance(accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, "USD", client, key)),
        "income": income["total"],
    }
    return {name: balance for name, balance in found.items() if balance}


def test_another_rate_in_the_middle_of_a_month_then_a_later_maturity(custodian: PaperCustodian) -> None:
    # (1) capital, (2) funding
    loan = make.active_loan(now=FUNDED, days=61, principal="360000", annual_rate="0.09")
    assert t(loan) == {"custody": D(720_000), "free": D(-358_200), "principal": D(360_000), "income": D(-1_800)}

    # (a): the old rate, to the signature
    signed_at = until(dt.date(2021, 6, 3), FUNDED) + DAY / 2
    loan = agreed(loan, Wanted(annual_rate=D("0.06")), now=signed_at)
    assert (loan.interest_posted, loan.annual_rate) == (D("1395.00"), D("0.06"))
    assert t(loan)["interest"] == D(1_395)

    # A week before it falls due it is announced; amended, the same debt falls due a month later.
    now = until(dt.date(2021, 7, 15), signed_at)
    assert list(Obligation.objects.order_by("pk").values_list("state", flat=True)) == ["replaced", "noticed"]
    loan = agreed(loan, Wanted(maturity_date=dt.date(2021, 8, 18)), now=now + DAY / 4)
    until(dt.date(2021, 7, 25), now)
    loan.refresh_from_db()
    assert (loan.state, loan.maturity_date) == (LoanState.ACTIVE, dt.date(2021, 8, 18))

    # (b): the new rate, to the new maturity; what was asked for is what the books have
    now = until(dt.date(2021, 8, 18), now)
    loan.refresh_from_db()
    assert (loan.state, loan.interest_due) == (LoanState.MATURED, D("5925.00"))
    paper = NaiveLoan(
        start=FUNDED, lent=D(360_000), day_count="ACT/360",
        rates=[(FUNDED, Fraction(9, 100)), (signed_at, Fraction(6, 100))],
        default_rates=[(FUNDED, Fraction(14, 100))], default_at=now + DAY,
    )  # fmt: skip
    assert loan.interest_posted == paper.earned(now) == D("5925.00")
    last = Obligation.objects.get(state="due")
    assert (last.due_date, last.interest, last.amount) == (loan.maturity_date, D("5925.00"), D("365925.00"))

    # (3) and (4): paid off, and closed
    make.give(loan.client, "USD", "7725", now=now)
    repayments.record(loan, D("365925"), key="last", received_at=now, now=now)
    loan.refresh_from_db()
    assert (loan.state, t(loan)) == (LoanState.REPAID, {"custody": D(727_725), "income": D(-7_725)})
    make.allowed(loan.client, "BTC", "bc1-client")
    collateral.release(
        loan.margin_account, make.asset("BTC"), D(25), key="release:1", destination="bc1-client", now=now,
        permit=make.release_permit(loan.margin_account, "BTC", "25", now=now),
        maker=make.staff("olga", Role.OPERATIONS), checker=make.staff("rhea", Role.RISK),
    )  # fmt: skip
    assert loans.close_due(now=now) == 1
    assert list(Obligation.objects.order_by("pk").values_list("state", flat=True)) == ["replaced", "replaced", "met"]
    assert [sheet.accepted is not None for sheet in term_sheets.versions(loan)] == [True] * 3
