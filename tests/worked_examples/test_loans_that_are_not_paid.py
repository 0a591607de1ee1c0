"""
Every kind of loan that is not paid, and each way in which that can end, to the last account of the ledger.

360,000 USD at 6 %, ACT/360, that is 60.00 a day, and 11 % in default, that is 110.00; funded on 19 May 2021 at 00:00
UTC, secured by 25 BTC. The desk starts with 720,000; what is lent goes out at once, less 0.5 % of origination fee. What
falls due is in default a day later, and four days after that this is owed (a line: 0.36 % on what is not drawn):

                        paid before    principal      interest, agreed and in default              fees
    bullet                            360,000.00      32 days of 60.00, 4 of 110.00
    interest only          1,860.00   360,000.00      31 days of 60.00, 4 of 110.00
    equal parts          121,860.00   240,000.00      31 days of 40.00, 4 of 73.3333...
    equal instalments    121,228.76   240,631.24      31 days of 40.1052..., 4 of 73.5262...
    capitalised                       363,669.30      32 days of 60.6115..., 4 of 111.1211...
    floating                          360,000.00      31 days of 60.00, 1 of 70.00; 29 of 120.00, 5 of 80.00
    open term                         360,000.00      32 days of 60.00, 4 of 110.00
    revolving                         240,000.00      22 days of 40.00, 4 of 73.3333...            1,861.20

Of the bullet: sold for 300,000.00 (4), which leaves 62,360.00 (5); written off (6); then 10,000.00 are paid (7), (8).

           custody USD                     client free USD                    principal
    (1)   720,000.00 |              (2)            | 358,200.00       (2) 360,000.00 |
    (3)              | 358,200.00   (3) 358,200.00 |                  (4)            | 297,640.00
    (4)   300,000.00 |              (7)            |  10,000.00       (5)            |  62,360.00
    (7)    10,000.00 |              (8)  10,000.00 |                      -----------+-----------
        -------------+---               -----------+-----------                    0 |
          671,800.00 |                           0 |

         interest receivable             income and loss                deficiency claim        its allowance
    (a)   2,360.00 |              (2)           |  1,800.00 fee     (5) 62,360.00 |          (5)           | 62,360.00
    (4)            | 2,360.00     (a)           |  2,360.00         (6)           | 62,360.00 (6) 62,360.00 |
        -----------+---------     (5) 62,360.00 |                       ----------+----------     ----------+----------
                 0 |              (8)           | 10,000.00 back                0 |                       0 |
                                      ----------+-----------
                                      48,200.00 |

What is left at the custodian is the capital less what was lost on the loan.
"""

from copy import copy
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal

import pytest
from django.db import transaction

from lending import loans, recalls, repayments, workouts
from lending.models import Loan, LoanState, Role
from tests.factories import lending as make
from tests.worked_examples.story import DAY, FUNDED, D, Story, at, fixed

pytestmark = pytest.mark.django_db

CENT, NONE = D("0.01"), D(0)
AGREED, IN_DEFAULT = D("0.06"), D("0.11")
LENT, PAID_OUT, FEE = D(360_000), D(358_200), D(1_800)


def up(exact: Decimal) -> Decimal:
    return exact.quantize(CENT, ROUND_UP)


def interest_on(principal: Decimal, days: int, rate: Decimal) -> Decimal:
    return principal * days * rate / 360


@dataclass(frozen=True)
class Owed:
    """What is owed when the collateral is sold, and what was paid before, worked out by hand."""

    principal: Decimal
    agreed: Decimal  # interest that is due, to the default, exact
    in_default: Decimal  # and since then
    rate: Decimal = IN_DEFAULT
    settled: Decimal = NONE  # interest that was paid before, or became principal
    paid: Decimal = NONE
    out: Decimal = PAID_OUT
    fees: Decimal = NONE
    charged: Decimal = FEE

    @property
    def interest(self) -> Decimal:
        return up(self.agreed + self.in_default)

    @property
    def total(self) -> Decimal:
        return self.principal + self.interest + self.fees

    def books(self, *, came: Decimal = NONE, since: Decimal = NONE, **others: Decimal) -> dict[str, Decimal]:
        """
        Return the accounts that are not at zero once so much more money came, and so much interest was earned since.

        The capital and what it has brought stand at the custodian; everything else has to be named.
        """
        agreed = self.settled + up(self.agreed)
        found = {
            "capital": D(-720_000),
            "custody": D(720_000) - self.out + self.paid + came,
            "fee_income": -self.charged,
            "interest_income": -agreed,
            "default_interest_income": agreed - self.settled - self.interest - since,
            **others,
        }
        return {f"{name} USD": amount for name, amount in found.items()}


# --- the lives, to the fourth day after the default -----------------------------------------------------------------


def begun(code: str, *, days: int | None = 92, annual_rate: str | None = "0.06", **product: object) -> Story:
    made = make.ProductFactory(code=code, **product)
    terms = {"days": days, "annual_rate": annual_rate, "principal": LENT, "payout_address": "wire:client"}
    story = Story(make.active_loan(product=made, now=FUNDED, **terms))
    story.goes_out()
    # The custodian is out of reach of a rollback: what goes back in one end must be there in the next.
    make.paper().simulate_opening("enough", asset="BTC", quantity=D(1_000), at=FUNDED)
    return story


def bullet() -> tuple[Story, Owed]:
    story = begun("bullet", days=31)
    story.on("06-14", "06-19", "06-20", "06-24")
    return story, Owed(LENT, interest_on(LENT, 32, AGREED), interest_on(LENT, 4, IN_DEFAULT))


def interest_only() -> tuple[Story, Owed]:
    story = begun("interest", schedule_kind="interest_only")
    story.on("06-14", "06-19")
    story.wires("1860")
    story.on("07-14", "07-19", "07-20", "07-24")
    due = interest_on(LENT, 31, AGREED), interest_on(LENT, 4, IN_DEFAULT)
    return story, Owed(LENT, *due, settled=D(1_860), paid=D(1_860))


def equal_principal() -> tuple[Story, Owed]:
    story = begun("parts", schedule_kind="equal_principal")
    story.on("06-14", "06-19")
    story.wires("121860")
    story.on("07-14", "07-19", "07-20", "07-24")
    left = LENT - 120_000
    due = interest_on(left, 31, AGREED), interest_on(left, 4, IN_DEFAULT)
    return story, Owed(left, *due, settled=D(1_860), paid=D(121_860))


def equal_instalment() -> tuple[Story, Owed]:
    story = begun("instalments", schedule_kind="equal_instalment")
    factor, worth = D(1), D(0)  # of an instalment of 1.00, today
    for days in (31, 30, 31):
        factor *= 1 + days * AGREED / 360
        worth += 1 / factor
    instalment = (LENT / worth).quantize(CENT, ROUND_HALF_EVEN)
    story.on("06-14", "06-19")
    story.wires(instalment)
    story.on("07-14", "07-19", "07-20", "07-24")
    left = LENT - (instalment - 1_860)
    assert (instalment, left) == (D("121228.76"), D("240631.24"))
    due = interest_on(left, 31, AGREED), interest_on(left, 4, IN_DEFAULT)
    return story, Owed(left, *due, settled=D(1_860), paid=instalment)


def capitalised() -> tuple[Story, Owed]:
    """1,860.00 became principal on 19 June, and 1,809.30 on 19 July."""
    story = begun("growing", schedule_kind="capitalised")
    story.on("06-19", "07-19", "08-14", "08-19", "08-20", "08-24")
    grown = LENT + D("3669.30")
    due = interest_on(grown, 32, AGREED), interest_on(grown, 4, IN_DEFAULT)
    return story, Owed(grown, *due, settled=D("3669.30"))


def floating() -> tuple[Story, Owed]:
    """SOFR at 4 % and 2 %, 7 % from 19 June, at the floor of 3 % from 19 July; 5 % more in default, at each of them."""
    fixed("05-17", "0.04", now=FUNDED)
    moves = {"benchmark": "SOFR", "spread": D("0.02"), "rate_floor": D("0.03"), "reset_months": 1, "fixing_lag_days": 2}
    story = begun("floating", annual_rate=None, schedule_kind="interest_only", **moves)
    story.on("06-14")
    fixed("06-17", "0.05", now=at("06-17"))
    assert story.on("06-19", "06-20").state == LoanState.DEFAULTED
    fixed("07-14", "0.005", now=at("07-14"))
    story.on("07-19", "07-24")
    return story, Owed(LENT, D(31 * 60 + 70), D(29 * 120 + 5 * 80), rate=D("0.08"))


def open_term() -> tuple[Story, Owed]:
    """Its client ends it, and does not pay."""
    story = begun("open", days=None, tenor="open", notice_days=5, schedule_kind="interest_only")
    story.on("06-14")
    recalls.give_notice(story.loan, by=story.signer, now=story.now)
    story.on("06-19", "06-20", "06-24")
    return story, Owed(LENT, interest_on(LENT, 32, AGREED), interest_on(LENT, 4, IN_DEFAULT))


def line(**product: object) -> Story:
    terms = {"tenor": "revolving", "notice_days": 5, "schedule_kind": "interest_only", "unused_fee": D("0.0036")}
    return begun("line", days=None, **{**terms, **product})


def revolving() -> tuple[Story, Owed]:
    """240,000 are drawn on 29 May. 3.60 a day for ten days, then 1.20 for 21, until the notice of the desk is over."""
    story = line()
    story.on("05-29")
    story.draws("240000")
    story.goes_out()
    story.on("06-14")
    story.recalled()
    story.on("06-19", "06-20", "06-24")
    drawn, fees = D(240_000), 1_800 + D("36.00") + D("25.20")
    due = interest_on(drawn, 22, AGREED), interest_on(drawn, 4, IN_DEFAULT)
    return story, Owed(drawn, *due, out=drawn, fees=fees, charged=fees)


# --- the ends -------------------------------------------------------------------------------------------------------


def it_is_paid_late(story: Story, owed: Owed) -> None:
    story.wires(owed.total)
    assert story.loan.state == LoanState.REPAID
    story.closes()
    story.goes_out()
    assert story.left() == owed.books(came=owed.total)


def its_sale_brings_more(story: Story, owed: Owed) -> None:
    brought = owed.total + 5_000
    sold = story.sells("25", brought)
    assert (sold.fees, sold.interest, sold.principal, sold.surplus) == (
        owed.fees, owed.interest, owed.principal, 5_000,
    )  # fmt: skip
    story.settles("25", brought)
    story.closes()
    assert story.left() == owed.books(came=brought, client_free=D(-5_000))  # the client's, who has not asked for it yet


def a_part_is_sold_and_the_rest_paid(story: Story, owed: Owed) -> None:
    """A sale that leaves debt does not heal a default."""
    story.sells("10", "200000")
    left = owed.principal - (200_000 - owed.interest - owed.fees)
    assert story.owed() == (left, 0, 0)
    goes_on = loans.by_its_dates(story.loan, now=story.now)
    loans.transition(story.loan, goes_on, actor=None, cause="sale over: restored", now=story.now)
    story.look()
    assert story.read().state == LoanState.DEFAULTED
    story.now += 2 * DAY
    story.look()
    exact = owed.agreed + owed.in_default
    since = up(exact + interest_on(left, 2, owed.rate)) - up(exact)
    assert story.read().interest_due == since
    story.wires(left + since)
    story.settles("10", "200000")
    story.closes()
    story.goes_out()
    assert story.left() == owed.books(came=200_000 + left + since, since=since)


def lost(story: Story, owed: Owed) -> tuple[Decimal, Decimal]:
    """Sell all for 60,000 less than the principal, take the loss on the rest, and return both."""
    brought = owed.principal - 60_000
    loss = 60_000 + owed.interest + owed.fees
    assert story.sells("25", brought).short == loss
    booked = repayments.shortfall(story.loan, key="loss:1", cause="liquidation level", now=story.now)
    assert (booked, story.read().state, story.owed()) == (loss, LoanState.WORKOUT, (0, 0, 0))
    story.settles("25", brought)
    standing = {"deficiency_claim": loss, "deficiency_allowance": -loss, "credit_loss": loss}
    assert story.left() == owed.books(came=brought, **standing)
    return brought, loss


def it_is_written_off_and_a_part_comes_back(story: Story, owed: Owed) -> None:
    brought, loss = lost(story, owed)
    rhea = make.staff("rhea", Role.RISK)
    story.agreed(workouts.ask(story.loan, closes=False, reason="bankrupt", maker=rhea, now=story.now))
    assert story.loan.state == LoanState.WRITTEN_OFF
    assert story.left() == owed.books(came=brought, credit_loss=loss)
    make.give(story.loan.client, "USD", "10000", now=story.now)
    workouts.recover(story.loan, D(10_000), key="wire:1", now=story.now)
    assert workouts.loss_of(story.read()).unpaid == loss - 10_000
    story.agreed(workouts.ask(story.loan, closes=True, reason="settled", maker=rhea, now=story.now))
    assert story.loan.state == LoanState.CLOSED
    assert story.left() == owed.books(came=brought + 10_000, credit_loss=loss, recovery=D(-10_000))


def all_of_the_loss_comes_back(story: Story, owed: Owed) -> None:
    brought, loss = lost(story, owed)
    make.give(story.loan.client, "USD", loss, now=story.now)
    workouts.recover(story.loan, D(50_000), key="wire:1", now=story.now)
    rest = loss - 50_000
    standing = {"deficiency_claim": rest, "deficiency_allowance": -rest, "client_free": -rest}
    assert story.left() == owed.books(came=brought + loss, credit_loss=loss, recovery=D(-50_000), **standing)
    workouts.recover(story.loan, rest, key="wire:2", now=story.now)
    assert story.read().state == LoanState.RECOVERED
    story.now += loans.PAST_IS_OPEN  # until then its bank may call it back
    story.closes()
    assert story.left() == owed.books(came=brought + loss, credit_loss=loss, recovery=-loss)


LIVES = (bullet, interest_only, equal_principal, equal_instalment, capitalised, floating, open_term, revolving)
ENDS = (
    it_is_paid_late, its_sale_brings_more, a_part_is_sold_and_the_rest_paid, it_is_written_off_and_a_part_comes_back,
    all_of_the_loss_comes_back,
)  # fmt: skip


@pytest.mark.parametrize("life", LIVES)
def test_every_end_of_a_loan_that_is_not_paid(life) -> None:
    story, owed = life()
    assert story.loan.state == LoanState.DEFAULTED
    assert story.owed() == (owed.principal, owed.interest, owed.fees)
    receivable = {"interest_receivable": owed.interest, "loan_principal": owed.principal}
    standing = owed.books(**receivable, **({"fees_receivable": owed.fees} if owed.fees else {}))
    assert story.left() == {**standing, "custody BTC": D(25), "client_pledged BTC": D(-25)}
    for end in ENDS:
        with transaction.atomic():
            told = copy(story)
            told.read()
            end(told, owed)
            transaction.set_rollback(True)
    assert Loan.objects.get().state == LoanState.DEFAULTED
