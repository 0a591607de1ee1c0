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
from decimal import Decimal

import pytest
from django.db.models import Sum

from lending import approvals, benchmarks, capitalisations, dunning, interest, ledger, offers, repayments, resets
from lending.engine import accounts
from lending.engine.chart import PROFIT_AND_LOSS_KINDS, AccountKind
from lending.models import Correction, Entry, Loan, LoanState, Obligation, Posting, Role
from tests.factories import lending as make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("custodian")]

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal


def fixed(day: str, rate: str, *, now: dt.datetime) -> None:
    """Have two persons record what SOFR was fixed at."""
    asked = benchmarks.ask(
        "SOFR", "Overnight", f"date,rate\n{day},{rate}", reason="its page", maker=make.staff("olga", Role.OPERATIONS),
        now=now,
    )  # fmt: skip
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=now)


def until(now: dt.datetime, month: int, day: int) -> dt.datetime:
    """Let the days pass, each with what the platform does at its start."""
    while (now.month, now.day) != (month, day):
        now += DAY
        interest.accrue_due(now=now)
        resets.work_due(now=now)
        capitalisations.work_due(now=now)
        dunning.work_due(now=now)
    return now


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


def paid(loan: Loan, amount: str, *, now: dt.datetime) -> Loan:
    """Have the client pay something out of the free balance, as it was asked to."""
    asked = Obligation.objects.get(loan=loan, due_at=now)
    assert asked.amount == D(amount)
    repayments.record(loan, D(amount), key=f"paid:{now.date()}", received_at=now, now=now)
    return Loan.objects.get(pk=loan.pk)


def test_a_rate_that_is_reset_late_then_at_its_floor_then_stepped_up() -> None:
    fixed("2021-05-17", "0.04", now=FUNDED)
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
    loan = make.funded(offer, now=FUNDED)
    make.give(client, "USD", "6870", now=FUNDED)
    assert t(loan) == {"custody": D(726_870), "free": D(-365_070), "principal": D(360_000), "income": D(-1_800)}

    # (a) and (4): the first period, at the rate of its sheet; what the reset of this day is by is not known yet
    now = until(FUNDED, 6, 18)
    now += DAY
    interest.accrue_due(now=now)
    dunning.work_due(now=now)
    loan = paid(loan, "1860", now=now)

    # (b): nobody has looked for four days, and then the fixing comes; (c): the difference, each day's in its day
    now = now + 4 * DAY
    interest.accrue_due(now=now)
    assert t(loan)["interest"] == D(240)
    fixed("2021-06-17", "0.05", now=now)
    assert resets.work_due(now=now) == 1
    loan.refresh_from_db()
    assert (t(loan)["interest"], loan.interest_due, loan.annual_rate) == (D(280), D(280), D("0.07"))
    late = Entry.objects.filter(idempotency_key__contains="reset:2021-06-19").order_by("effective_at")
    assert [entry.effective_at.day for entry in late] == [19, 20, 21, 22]
    assert Correction.objects.get(kind=Correction.Kind.RATE).interest == D(40)

    # (d) and (5): what was announced five days before is what the books have
    fixed("2021-07-14", "0.005", now=until(now, 7, 14))
    loan = paid(loan, "2100", now=(now := until(now, 7, 19)))
    assert (loan.annual_rate, t(loan)["free"]) == (D("0.03"), D(-361_110))

    # (e), (f) and (6): at the floor, then stepped up; the whole is due
    now = until(now, 8, 19)
    loan = paid(loan, "361110", now=now)
    assert loan.state == LoanState.REPAID
    assert t(loan) == {"custody": D(726_870), "income": D(-6_870)}


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
    loan = make.active_loan(product=product, principal="360000", annual_rate="0.06", days=92, now=FUNDED)
    make.give(loan.client, "USD", "7348.26", now=FUNDED)
    now = until(FUNDED, 6, 19)
    assert (t(loan)["principal"], "interest" in t(loan)) == (D("361860"), False)
    assert interest.payoff(Loan.objects.get(pk=loan.pk), now=now + DAY).total == D("361920.31")
    now = until(now, 7, 19)
    assert (t(loan)["principal"], "interest" in t(loan)) == (D("363669.30"), False)
    assert t(loan)["free"] == D("-365548.26")
    now = until(now, 8, 19)
    loan = paid(loan, "365548.26", now=now)
    assert loan.state == LoanState.REPAID
    assert t(loan) == {"custody": D("727348.26"), "income": D("-7348.26")}
    assert Entry.objects.filter(kind="capitalisation").count() == 2
