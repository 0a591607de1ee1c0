"""
An open-term loan, ended by the desk and paid, and one that is ended and not paid: every entry on its account.

300,000 USD at 12 %, ACT/360, that is 100.00 a day, and 17 % in default, that is 141.6666...; funded on 19 May 2021 at
00:00 UTC, origination fee 0.5 %, secured by 25 BTC; interest every month on TARGET's business days, five of them of
notice, two of grace. The desk starts with 600,000. Debits stand left, credits right.

Interest is due on Saturday 19 June, paid on Monday the 21st. On Friday 2 July the desk gives notice: 5, 6, 7, 8, and
9 July, on which all that is left is to be paid; what was to be paid on 19 July is part of that.

           custody USD                     client free USD                    principal
    (1)   600,000.00 |              (2)            | 298,500.00       (2) 300,000.00 |
    (5)     6,600.00 |              (3)   3,300.00 |                  (5)            | 300,000.00
        -------------+---           (4)            |   6,600.00           -----------+-----------
          606,600.00 |              (5) 301,800.00 |                               0 |
                                        -----------+-----------
                                                 0 |

         interest receivable             income
    (a)   3,300.00 |              (2)     | 1,500.00 fee              (a) 33 days of 100.00, to 21 June
    (3)            | 3,300.00     (a)     | 3,300.00                  (b) 18 days of 100.00, to 9 July
    (b)   1,800.00 |              (b)     | 1,800.00
    (5)            | 1,800.00         ----+---------
        -----------+---------             | 6,600.00
                 0 |

(1) capital; (2) the loan is funded; (3) the first interest; (4) 6,600.00 arrive and (5) pay all that is left.

Not paid, it is late on 10 July and in default when two business days of grace are over, on 14 July at 00:00 UTC. On
19 July bitcoin has fallen to where the ladder sells; what the sale brings pays the loan, and the rest is the client's:

    interest: 23 days of 100.00 since 21 June, 5 days of 141.6666... since 14 July: 3,008.34
"""

import datetime as dt

import pytest
from django.db import DatabaseError, transaction

from lending import approvals, interest, recalls, rolling
from lending.models import Loan, LoanState, Notice, ScheduleRow
from tests.factories import lending as make
from tests.worked_examples.story import FUNDED, D, Story

pytestmark = pytest.mark.django_db


def open_term() -> Story:
    product = make.ProductFactory(
        code="open", tenor="open", notice_days=5, schedule_kind="interest_only", calendar="XECB", grace_days=2
    )
    return Story(make.active_loan(now=FUNDED, days=None, principal="300000", annual_rate="0.12", product=product))


def test_the_desk_ends_it_and_it_is_paid() -> None:
    # (1) capital, (2) funding: nothing is to be paid but the first month's interest
    story = open_term()
    assert story.t() == {"custody": D(600_000), "free": D(-298_500), "principal": D(300_000), "income": D(-1_500)}
    assert story.asks() == [("2021-06-21", "interest", "expected", D("3300.00"))]
    assert (story.loan.end_date, interest.default_at(story.loan)) == (None, interest.NEVER)

    # (a) and (3); the next row is written on the day on which its period begins
    story.until("06-18")
    assert ScheduleRow.objects.count() == 1
    story.until("06-21")
    assert rolling.roll_due(now=story.now) == 0
    story.pays("3300")
    assert story.asks() == [
        ("2021-06-21", "interest", "met", D(3_300)),
        ("2021-07-19", "interest", "expected", D(2_800)),
    ]

    # one asks, another agrees: five business days
    story.until("07-02")
    asked = recalls.ask(story.loan, reason="funding is needed", maker=story.manager, now=story.now)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, approve=True, checker=story.manager, now=story.now, reason="mine")
    story.agreed(asked)
    assert (story.loan.state, story.loan.ends_on) == (LoanState.RECALLED, dt.date(2021, 7, 9))
    assert story.loan.default_at == dt.datetime(2021, 7, 14, tzinfo=dt.UTC)
    assert story.asks()[1:] == [
        ("2021-07-09", "recall", "noticed", D("301800.00")), ("2021-07-19", "interest", "cancelled", D(2_800)),
    ]  # fmt: skip
    step = story.loan.events.latest("pk")
    assert (step.actor, step.cause) == (story.head, "recalled by the desk")
    assert step.evidence["reason"] == "funding is needed"
    letter = Notice.objects.latest("pk")
    assert letter.subject.endswith("ends on 09 Jul 2021")
    assert "301,800.00 USD" in letter.body
    assert "funding is needed" not in letter.body

    # (b), and what (4) and (5) say
    story.until("07-09")
    assert (story.loan.state, story.loan.interest_due) == (LoanState.MATURED, D("1800.00"))
    make.give(story.loan.client, "USD", "6600", now=story.now)
    story.pays("301800")
    assert story.loan.state == LoanState.REPAID
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D(606_600), "income": D(-6_600)}
    assert {row[2] for row in story.asks()} == {"met", "cancelled"}


def test_ended_and_not_paid_its_collateral_pays() -> None:
    story = open_term()
    story.until("06-21")
    story.pays("3300")
    story.until("07-02")
    story.recalled()
    story.until("07-10")
    assert (story.loan.state, story.asks()[1][2]) == (LoanState.MATURED, "late")
    story.until("07-14")
    assert (story.loan.state, story.asks()[1][2]) == (LoanState.DEFAULTED, "defaulted")
    assert rolling.roll_due(now=story.now) == 0

    story.until("07-19")
    assert story.loan.interest_due == D("3008.34")
    sold = story.sells("12", "310000")
    assert (sold.interest, sold.principal, sold.surplus) == (D("3008.34"), D(300_000), D("6991.66"))
    assert story.loan.state == LoanState.REPAID
    story.closes()
    # the dealer owes what the sale brought; what it brought beyond the debt is the client's
    assert story.t() == {
        "custody": D(600_000), "dealer": D(310_000), "free": D("-302191.66"), "income": D("-7808.34"),
    }  # fmt: skip


def test_a_notice_is_taken_back_and_the_loan_runs_on() -> None:
    story = open_term()
    story.until("06-21")
    story.pays("3300")
    story.until("07-02")
    story.recalled()
    story.until("07-05")
    asked = recalls.ask_to_keep(story.loan, reason="other funding came", maker=story.manager, now=story.now)
    with pytest.raises(recalls.UnableToRecall, match="asked about its end already"):
        recalls.ask_to_keep(story.loan, reason="again", maker=story.manager, now=story.now)
    story.agreed(asked)
    assert (story.loan.state, story.loan.ends_on, story.loan.default_at) == (LoanState.ACTIVE, None, None)
    assert [row[:3] for row in story.asks() if row[2] != "met"] == [
        ("2021-07-09", "recall", "cancelled"), ("2021-07-19", "interest", "cancelled"),
        ("2021-07-19", "interest", "expected"),
    ]  # fmt: skip
    assert Notice.objects.latest("pk").subject.endswith("runs on")

    # the client ends it, on a Saturday: it counts as given on Monday the 12th
    story.until("07-10")
    signer = make.borrower(f"signer{story.loan.client_id}", story.loan.client)
    ended = recalls.give_notice(story.loan, by=signer, now=story.now)
    assert (ended.state, ended.ends_on) == (LoanState.RECALLED, dt.date(2021, 7, 19))
    assert Notice.objects.latest("pk").body.startswith("As you told us")
    # what was announced for that day is held by what ends it
    assert [row[1:3] for row in story.asks() if row[0] == "2021-07-19"][-2:] == [
        ("interest", "cancelled"), ("recall", "noticed"),
    ]  # fmt: skip
    make.give(story.loan.client, "USD", "10000", now=story.now)
    story.pays("301900")  # 19 days since 21 June: it need not wait for the day
    assert story.loan.state == LoanState.REPAID
    assert story.t() == {"custody": D(610_000), "free": D(-3_300), "income": D(-6_700)}


def test_after_an_outage_what_was_missed_is_written_once_and_day_by_day() -> None:
    story = open_term()
    story.now = dt.datetime(2021, 9, 1, tzinfo=dt.UTC)
    assert rolling.roll_due(now=story.now) == 3
    assert rolling.roll_due(now=story.now) == 0
    rows = ScheduleRow.objects.order_by("number").values_list("number", "due_date", "pay_date", "interest")
    assert [(number, due.isoformat(), paid.isoformat(), amount) for number, due, paid, amount in rows] == [
        (1, "2021-06-19", "2021-06-21", D(3_300)), (2, "2021-07-19", "2021-07-19", D(2_800)),
        (3, "2021-08-19", "2021-08-19", D(3_100)), (4, "2021-09-19", "2021-09-20", D(3_200)),
    ]  # fmt: skip


def test_what_can_not_be_ended_so() -> None:
    story = open_term()
    fixed = make.active_loan(make.ClientFactory(), now=FUNDED)
    ask = {"maker": story.manager, "now": story.now}
    for loan, reason, says in (
        (fixed, "why", "a loan of a fixed term and ends on 2021-06-18"),
        (story.loan, "  ", "say why"),
        (story.loan, "x" * 401, "has 401 characters, and 400 are kept"),
    ):
        with pytest.raises(recalls.UnableToRecall, match=says):
            recalls.ask(loan, reason=reason, **ask)
    with pytest.raises(recalls.UnableToRecall, match="no notice is running"):
        recalls.ask_to_keep(story.loan, reason="why", **ask)
    asked = recalls.ask(story.loan, reason="why", **ask)
    recalls.give_notice(story.loan, by=make.borrower(f"signer{story.loan.client_id}", story.loan.client), now=story.now)
    with pytest.raises(approvals.UnableToApprove, match="it is recalled: only a running loan"):
        story.agreed(asked)
    for wrong in ({"ends_on": None}, {"maturity_date": dt.date(2022, 1, 1)}, {"tenor": "fixed"}, {"notice_days": 9}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Loan.objects.filter(pk=story.loan.pk).update(**wrong)
    with pytest.raises(DatabaseError, match="by an amendment that both sides agreed on"), transaction.atomic():
        Loan.objects.filter(pk=fixed.pk).update(maturity_date=None)
