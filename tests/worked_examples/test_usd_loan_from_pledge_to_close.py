"""
A USD loan from the first coin to the last: every entry on the accounts it belongs on.

Terms: 500,000 USD for 30 days from 19 May 2021 08:00 UTC at 9 % ACT/360, that is 125.00 a day; origination fee 0.5 %;
secured by 25 BTC. The desk starts with 1,000,000 USD of capital. Debits stand left, credits right.

           custody USD                      client free USD                   custody BTC
    (1) 1,000,000.00 |               (3)            | 497,500.00        (2)  25 |
    (4)              | 497,500.00    (4) 497,500.00 |                   (9)     | 25
    (5)   200,000.00 |               (5)            | 200,000.00           ------+-----
    (7)   302,000.00 |               (6) 200,000.00 |                         0 |
    (10)             |     448.75    (7)            | 302,000.00
        -------------+-----------    (8) 301,551.25 |                 client pledged BTC
        1,004,051.25 |               (10)    448.75 |                   (2)     | 25
                                         -----------+-----------        (9)  25 |
                                                  0 |                      ------+-----
                                                                              0 |

             principal                   interest receivable              income
    (3)   500,000.00 |               (a)   1,250.00 |                (3)         | 2,500.00 fee
    (6)              | 198,750.00    (6)            | 1,250.00       (a), (b)    | 1,551.25 interest
    (8)              | 301,250.00    (b)     301.25 |                        -----+---------
        -------------+-----------    (8)            |   301.25                   | 4,051.25
                   0 |                   -----------+-----------
                                                  0 |

(1) capital; (2) 25 BTC arrive and are pledged; (3) the loan is funded; (4) the proceeds are paid out; (5), (6) after
ten days 200,000 arrive and repay; (7), (8) after four more, at 75.3125 a day, 302,000 arrive and pay off; (9) the
collateral goes back; (10) so does the surplus. (a) and (b) are the daily accruals and what (6) and (8) needed to
bring them to the second. What is left at the custodian is the capital and the income: 1,000,000.00 + 4,051.25.
"""

import datetime as dt
from decimal import Decimal

import pytest
from django.db.models import Sum

from lending import collateral, custody, interest, ledger, loans, margin_accounts, outbox, reconciliation, withdrawals
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.engine.chart import PROFIT_AND_LOSS_KINDS, AccountKind
from lending.models import CustodyBreak, DepositAddress, Entry, Loan, LoanState, Posting, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, 8, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


class Story:
    """One loan, its custodian, and the T-accounts of both."""

    def __init__(self, custodian: PaperCustodian) -> None:
        self.custodian = custodian
        make.asset("USD")
        make.asset("BTC")
        self.loan = make.pending_loan(now=FUNDED - 3 * HOUR, payout_address="wire:client")
        outbox.deliver_due(now=FUNDED - 3 * HOUR)

    def arrives(self, code: str, quantity: str, purpose: str, *, at: dt.datetime) -> None:
        """Have the client send something so that it is confirmed at an instant."""
        address = DepositAddress.objects.get(margin_account=self.loan.margin_account, asset__code=code, purpose=purpose)
        before = 30 * MINUTE if code == "BTC" else MINUTE
        self.custodian.simulate_deposit(
            f"{code}:{at}", address=address.address, asset=code, quantity=Decimal(quantity), at=at - before
        )
        custody.poll_due(now=at)
        custody.credit_due(now=at)
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def nights_pass(self, until: dt.datetime) -> None:
        """Run the daily accrual at each midnight, and once more than needed."""
        day = self.loan.accrued_at or FUNDED
        while (day := day + DAY) <= until + DAY:
            midnight = day.replace(hour=0, minute=0, second=0)
            if midnight <= until:
                interest.accrue_due(now=midnight + MINUTE)
                interest.accrue_due(now=midnight + 2 * MINUTE)
        self.loan = Loan.objects.get(pk=self.loan.pk)

    def goes_out(self, at: dt.datetime) -> None:
        """Send what was asked for, until the last lost answer is found."""
        for minutes in (0, 1, 5, 10):
            custody.send_due(now=at + minutes * MINUTE)

    def t(self) -> dict[str, Decimal]:
        """Return the balances of the T-accounts, debits positive."""
        client, account, loan = self.loan.client_id, self.loan.margin_account_id, self.loan.pk
        income = Posting.objects.filter(account__kind__in=PROFIT_AND_LOSS_KINDS).aggregate(total=Sum("amount"))
        return {
            "custody USD": ledger.balance(accounts.custody("USD", "paper")),
            "custody BTC": ledger.balance(accounts.custody("BTC", "paper")),
            "free USD": ledger.balance(accounts.client_free("USD", client)),
            "pledged BTC": ledger.balance(accounts.client_pledged("BTC", client, account)),
            "principal": ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, "USD", client, loan)),
            "interest": ledger.balance(accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, "USD", client, loan)),
            "income": income["total"] or Decimal(0),
        }


def figures(**values: str) -> dict[str, Decimal]:
    """Return T-account balances by short names."""
    names = {
        "usd": "custody USD",
        "btc": "custody BTC",
        "free": "free USD",
        "pledged": "pledged BTC",
        "principal": "principal",
        "interest": "interest",
        "income": "income",
    }
    return {name: Decimal(values.get(short, "0")) for short, name in names.items()}


def test_the_loan_from_pledge_to_close(custodian: PaperCustodian) -> None:
    story = Story(custodian)

    # (1) capital, (2) collateral
    custodian.simulate_opening("capital", asset="USD", quantity=Decimal(1_000_000), at=FUNDED - 2 * HOUR)
    story.arrives("BTC", "25", "collateral", at=FUNDED - HOUR)
    assert story.t() == figures(usd="1000000", btc="25", pledged="-25")

    # (3) funding, (4) paid out
    olga = make.staff("olga", Role.OPERATIONS)
    story.loan = loans.fund(story.loan, permit=make.draw_permit(story.loan, now=FUNDED), actor=olga, now=FUNDED)
    story.goes_out(FUNDED)
    assert story.t() == figures(usd="502500", btc="25", pledged="-25", principal="500000", income="-2500")

    # (a) ten nights, (5) 200,000 arrive and (6) repay
    part = FUNDED + 10 * DAY
    story.nights_pass(part)
    assert story.loan.interest_due == Decimal("1208.34")  # 9 days and 16 hours, rounded up
    assert interest.payoff(story.loan, now=part).total == Decimal("501250.00")
    story.arrives("USD", "200000", "repayment", at=part)
    assert story.t() == figures(usd="702500", btc="25", pledged="-25", principal="301250", income="-3750")

    # (b) four nights, (7) 302,000 arrive and (8) pay off; the surplus is the client's
    end = part + 4 * DAY
    story.nights_pass(end)
    assert interest.payoff(story.loan, now=end).total == Decimal("301551.25")
    story.arrives("USD", "302000", "repayment", at=end)
    assert story.loan.state == LoanState.REPAID
    assert story.t() == figures(usd="1004500", btc="25", pledged="-25", free="-448.75", income="-4051.25")
    assert loans.close_due(now=end) == 0  # the collateral is not back yet

    # (9) the collateral goes back under a permit, by two persons, (10) and so does the surplus
    rhea = make.staff("rhea", Role.RISK)
    make.allowed(story.loan.client, "BTC", "bc1-client")
    collateral.release(
        story.loan.margin_account,
        make.asset("BTC"),
        Decimal(25),
        permit=make.release_permit(story.loan.margin_account, "BTC", "25", now=end),
        maker=olga,
        checker=rhea,
        key="release:1",
        destination="bc1-client",
        now=end,
    )
    withdrawals.request(
        story.loan.client,
        make.asset("USD"),
        Decimal("448.75"),
        destination="wire:client",
        purpose="surplus",
        maker=olga,
        checker=rhea,
        book=margin_accounts.house_book(),
        key="surplus:1",
        now=end,
    )
    story.goes_out(end)
    assert loans.close_due(now=end) == 1
    assert Loan.objects.get().state == LoanState.CLOSED
    assert story.t() == figures(usd="1004051.25", income="-4051.25")

    # The custodian holds what the ledger says, and every entry balances.
    assert reconciliation.reconcile(now=end + HOUR) == 0
    assert not CustodyBreak.objects.exists()
    assert custodian.balances(at=end + HOUR) == {"USD": Decimal("1004051.25"), "BTC": Decimal(0)}
    sums = Posting.objects.values("entry", "asset", "book").annotate(total=Sum("amount"))
    assert not sums.exclude(total=0).exists()
    assert Entry.objects.filter(kind="accrual").count() == 10 + 1 + 4 + 1
