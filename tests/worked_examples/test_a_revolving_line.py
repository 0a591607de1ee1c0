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

import pytest
from django.db import DatabaseError, transaction

from lending import access, corrections, draws, invariants, loans, permits, recalls, repayments, replays
from lending.models import Draw, LoanState, Obligation, Posting, Repayment
from otc import pnl
from tests.factories import lending as make
from tests.worked_examples.story import DAY, FUNDED, D, Story

pytestmark = pytest.mark.django_db


def line(**product: object) -> Story:
    terms = {"code": "line", "tenor": "revolving", "notice_days": 5, "unused_fee": D("0.006")}
    made = make.ProductFactory(schedule_kind="interest_only", **{**terms, **product})
    return Story(make.active_loan(now=FUNDED, days=None, principal="300000", annual_rate="0.12", product=made))


def test_drawn_repaid_drawn_again_and_ended() -> None:
    story = line()
    assert (story.loan.state, story.owed()) == (LoanState.ACTIVE, (D(0), D(0), D(1_500)))
    assert story.t() == {"custody": D(600_000), "fees": D(1_500), "income": D(-1_500)}
    assert draws.available(story.loan) == D(300_000)

    # the first draw
    story.until("05-29")
    assert story.owed() == (D(0), D(0), D(1_550))
    story.draws("150000")
    assert story.t() == {
        "custody": D(600_000), "free": D(-150_000), "principal": D(150_000), "fees": D(1_550), "income": D(-1_550),
    }  # fmt: skip
    assert Obligation.objects.get().asks == D("2652.50")  # known anew with the draw

    # (2): the first month's interest and fees, and a part of the principal, which can be drawn again
    story.until("06-19")
    assert story.owed() == (D(150_000), D("1050.00"), D("1602.50"))
    story.pays("62652.50")
    assert story.owed() == (D(90_000), D(0), D(0))
    assert Obligation.objects.order_by("due_at")[0].state == "met"
    assert draws.available(story.loan) == D(210_000)

    # the second one
    story.until("06-29")
    story.draws("30000")
    assert story.owed() == (D(120_000), D("300.00"), D("35.00"))

    story.until("07-09")
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    asked = Obligation.objects.get(kind="recall")
    assert (str(asked.due_date), asked.asks) == ("2021-07-14", D("120980.00"))

    # (4) and (5), of the text above
    story.until("07-14")
    assert (story.loan.state, story.owed()) == (LoanState.MATURED, (D(120_000), D("900.00"), D("80.00")))
    assert draws.available(story.loan) == 0
    make.give(story.loan.client, "USD", "3632.50", now=story.now)
    story.pays("120980")
    story.closes()
    assert story.loan.state == LoanState.CLOSED
    assert story.t() == {"custody": D("603632.50"), "income": D("-3632.50")}
    explained = pnl.explain(None, FUNDED, story.now + DAY)
    assert (explained.lines["unused_fee"], explained.lines["origination_fee"]) == (D("182.50"), D(1_500))
    assert (explained.lines["interest"], explained.total, explained.residual) == (D(1_950), D("3632.50"), D(0))


def test_a_line_stays_open_when_nothing_is_owed_and_ends_when_its_notice_is_over() -> None:
    story = line()
    story.draws("1000")
    make.give(story.loan.client, "USD", "1500", now=story.now)
    story.pays("2500")
    assert (story.loan.state, story.owed()) == (LoanState.ACTIVE, (D(0), D(0), D(0)))
    with pytest.raises(repayments.UnableToRepay, match="nothing is owed"):
        make.give(story.loan.client, "USD", "5", now=story.now)
        repayments.record(story.loan, D(5), key="pay:5", received_at=story.now, now=story.now)
    story.until("05-20")
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    story.read()
    assert Obligation.objects.get(kind="recall").asks == D("30.00")  # six days of 5.00
    story.pays("5")
    assert story.loan.state == LoanState.REPAID
    assert loans.close_due(now=story.now) == 0  # its collateral is still here
    # It is over with that: what is found later, before its notice was over, pays nothing.
    story.until("05-23")
    make.give(story.loan.client, "USD", "5", now=story.now)
    with pytest.raises(corrections.UnableToCorrect, match="nothing was owed at 2021-05-22"):
        corrections.ask_payment(
            story.loan, D(5), received_at=story.now - DAY, reason="found", maker=story.olga, now=story.now
        )


def test_an_earlier_payment_is_lived_again_with_the_draws() -> None:
    story = line()
    story.draws("150000")
    story.until("05-21")
    assert story.owed() == (D(150_000), D("100.00"), D("1505.00"))
    at = FUNDED + DAY
    repayments.record(story.loan, D("91602.50"), key="late", received_at=at, now=story.now)
    story.read()
    # 1,502.50 of fees until then, a day's 50.00, 90,050.00 of principal; since then a day's 19.9833... on what is left,
    # and the fee on what was not drawn of 4.000833...
    assert story.owed() == (D(59_950), D("19.99"), D("4.01"))
    story.until("05-22")
    assert story.owed() == (D(59_950), D("39.97"), D("8.01"))
    assert draws.available(story.loan) == D("240050")


def test_a_payment_it_was_drawn_against_is_taken_back() -> None:
    story = line()
    story.draws("300000")
    story.until("05-20")
    story.pays("121600")
    assert story.owed() == (D(180_000), D(0), D(0))
    story.draws("120000")
    story.agreed(
        corrections.ask_reversal(
            Repayment.objects.get(), cause="wrong", reason="another's", maker=story.olga, now=story.now
        )
    )
    # More than its limit is drawn, by nobody's draw: 100.00 a day until now, 140.00 from now on.
    assert story.owed() == (D(420_000), D("100.00"), D(1_500))
    assert draws.available(story.loan) == 0
    with pytest.raises(draws.UnableToDraw, match="0 USD are available, not 1"):
        draws.ask(story.loan, D(1), by=story.signer, now=story.now)
    row = Draw.objects.create(
        client=story.loan.client, loan=story.loan, amount=D(1), asked_by=story.signer, asked_at=story.now,
        signed_by=story.signer, signed_at=story.now,
    )  # fmt: skip
    with pytest.raises(DatabaseError, match="no more is drawn of a line than its limit leaves"), transaction.atomic():
        Draw.objects.filter(pk=row.pk).update(state="paid_out")
    # Nothing is given for what was drawn beyond it: a day of 2.50 on the 150,000 that are available in the end.
    story.until("05-21")
    story.pays("271740")
    story.until("05-22")
    assert story.owed() == (D(150_000), D("50.00"), D("2.50"))


def test_a_line_stays_open_when_what_was_left_over_pays_what_was_taken_back() -> None:
    story = line()
    make.give(story.loan.client, "USD", "5000")
    story.pays("1500")
    story.until("05-20")
    story.pays("1505")
    first = Repayment.objects.earliest("pk")
    story.agreed(corrections.ask_reversal(first, cause="wrong", reason="another's", maker=story.olga, now=story.now))
    assert (story.loan.state, story.owed()) == (LoanState.ACTIVE, (D(0), D(0), D(0)))


def test_what_was_charged_for_nothing_drawn_is_given_back_with_the_payment() -> None:
    story = line()
    story.draws("300000")
    story.until("05-20")
    story.pays("121600")
    story.until("05-22")
    assert story.owed() == (D(180_000), D("120.00"), D("4.00"))
    story.pays("100")
    story.until("05-23")
    assert story.owed() == (D(180_000), D("84.00"), D("2.00"))
    first = Repayment.objects.order_by("pk")[0]
    story.agreed(corrections.ask_reversal(first, cause="wrong", reason="another's", maker=story.olga, now=story.now))
    # All of it was drawn all the time: 100.00 a day and no fee. What paid 4.00 of one is for the origination fee now.
    assert story.owed() == (D(300_000), D("400.00"), D(1_400))
    assert story.loan.unused_posted == 0
    back = Posting.objects.filter(entry__kind="fee_correction", category="unused_fee").order_by("entry__effective_at")
    assert [(row.entry.effective_at.day, row.amount) for row in back] == [(20, D(2)), (21, D(2)), (22, D(2))]
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11"}] == []
    # Worked out once more, nothing differs.
    assert replays.plan(story.loan, reset_at=FUNDED).unused == 0


def test_what_pays_the_fee_is_the_same_whenever_it_comes_to_be_known() -> None:
    noon, found = FUNDED + 1.5 * DAY, []
    for known in (noon, FUNDED + 3 * DAY):
        story = line()
        story.draws("150000")
        story.until("05-20" if known == noon else "05-22")
        repayments.record(story.loan, D("61578.75"), key=f"noon:{known}", received_at=noon, now=known)
        story.until("05-22")
        row = Repayment.objects.get(loan=story.loan)
        part = replays.parts_now([row])[row.pk]
        found.append((story.owed(), (part.fees, part.interest, part.principal)))
    # A day and a half of 2.50 with the origination fee, and as long 50.00; the rest is principal.
    assert found[0][1] == (D("1503.75"), D("75.00"), D(60_000))
    assert found[0] == found[1]


def test_a_default_that_is_dated_back_gives_back_what_was_charged_since() -> None:
    story = line()
    story.draws("150000")
    make.give(story.loan.client, "USD", "9000")
    story.until("06-19")
    assert story.owed() == (D(150_000), D("1550.00"), D("1577.50"))
    story.pays("3127.50")
    story.until("06-29")
    assert story.owed() == (D(150_000), D("500.00"), D("25.00"))
    asked = corrections.ask_reversal(
        Repayment.objects.get(), cause="wrong", reason="another's", maker=story.olga, now=story.now
    )
    story.agreed(asked)
    story.until("06-30")
    assert (story.loan.state, story.loan.default_at.day) == (LoanState.DEFAULTED, 20)
    # In default since 20 June: 32 days of 2.50 are all that was charged, and 70.83... a day since.
    assert (story.loan.unused_posted, story.loan.fees_due) == (D("80.00"), D("1580.00"))
    assert story.loan.interest_posted == D("2308.34")
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11"}] == []


def test_what_can_not_be_drawn() -> None:
    story = line()
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


def test_called_and_sold_while_it_is_drawn() -> None:
    """
    150,000 are drawn on 29 May. On 8 June 6 BTC bring 102,075.00, on 18 June the other 19 bring 60,000.00.

                  drawn     interest     not drawn       fees
         8 June    50,000      500.00      150,000    1,575.00   1,500.00, 10 days of 5.00 and 10 of 2.50
        18 June         0      166.67      250,000       41.67   10 days of 16.6666..., and of 4.1666...

               client free USD                       principal                   fees receivable
        (1)            | 150,000.00       (1) 150,000.00 |               (f)  1,616.67 |
        (4)            |   9,791.66       (2)            | 100,000.00    (2)           | 1,575.00
            -----------+-----------       (3)            |  50,000.00    (3)           |    41.67
                       | 159,791.66           -----------+-----------        ----------+---------
                                                       0 |                           0 |

    (2) and (3) are what the sales paid, (4) what the second one brought beyond the debt.
    """
    story = line()
    story.on("05-29")
    story.draws("150000")
    story.on("06-08")
    sold = story.sells("6", "102075")
    assert (sold.fees, sold.interest, sold.principal) == (D(1_575), D(500), D(100_000))
    assert draws.available(story.loan) == 0
    with pytest.raises(draws.UnableToDraw, match="nothing can be drawn of it: it is liquidating"):
        draws.ask(story.loan, D(1), by=story.signer, now=story.now)
    loans.transition(story.loan, LoanState.ACTIVE, actor=None, cause="sale over: restored", now=story.now)
    assert draws.available(story.loan) == D(250_000)

    story.on("06-18")
    sold = story.sells("19", "60000")
    assert (sold.fees, sold.interest, sold.surplus) == (D("41.67"), D("166.67"), D("9791.66"))
    assert (story.loan.state, story.states()) == (LoanState.REPAID, ["met"])
    story.closes()
    assert story.t() == {
        "custody": D(600_000), "dealer": D(162_075), "free": D("-159791.66"), "income": D("-2283.34"),
    }  # fmt: skip


def test_a_line_in_default_is_not_drawn_whatever_a_sale_has_left() -> None:
    story = line()
    story.draws("150000")
    assert story.on("06-14", "06-19", "06-20").state == LoanState.DEFAULTED
    story.sells("6", "102075")
    loans.transition(story.loan, LoanState.ACTIVE, actor=None, cause="sale over: restored", now=story.now)
    with pytest.raises(draws.UnableToDraw, match="nothing can be drawn of it: it is in default since 2021-06-20"):
        draws.ask(story.loan, D(1), by=story.signer, now=story.now)
    story.look()
    assert story.read().state == LoanState.DEFAULTED


def test_nothing_is_ever_drawn() -> None:
    """The line costs its fees, which are due when its notice is over."""
    story = line()
    story.on("06-14")
    story.recalled()
    story.on("06-19")
    fees = 1_500 + 31 * D("5.00")
    assert (story.loan.state, story.owed()) == (LoanState.MATURED, (0, 0, fees))
    story.wires(fees)
    story.closes()
    assert story.t() == {"custody": 600_000 + fees, "income": -fees}


def test_nothing_is_ever_drawn_and_it_costs_nothing() -> None:
    """It ends by itself, and nobody has to pay anything."""
    story = line(origination_fee=D(0), unused_fee=D(0))
    story.on("06-14")
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    assert story.on("06-19").state == LoanState.REPAID
    assert story.loan.events.latest("pk").cause == "the notice is over, and nothing is owed"
    story.closes()
    assert (story.loan.state, Posting.objects.filter(loan=story.loan).count()) == (LoanState.CLOSED, 0)
