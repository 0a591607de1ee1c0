"""Another ladder for a loan that runs: agreed on by both sides, for every loan of the account, and never a trap."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lending import amendments, loans, offers, permits, term_sheets
from lending.models import Amendment, LadderTerms, Loan, MarginAccount
from lending.other_terms import UnableToAmend, Wanted
from risk import cycle, ladders
from risk.models import MarginCall, MarginStatus
from tests import stories
from tests.cast import NOW, Cast

D = Decimal
LATER = NOW + timedelta(minutes=3)
# Of the usual test ladder (warning 65 %, call 70 %, cured to 60 %): a little tighter, and looser.
TIGHTER = {"warning_ltv": D("0.62"), "margin_call_ltv": D("0.66"), "clear_ltv": D("0.61")}
LOOSER = {"warning_ltv": D("0.72"), "margin_call_ltv": D("0.74"), "cure_period_s": 48 * 3600}


def approved(cast: Cast, loan: Loan, ladder: dict[str, Any], *, now: Any = LATER) -> Amendment:
    loan = Loan.objects.select_related("margin_account__terms", "asset", "client", "product").get(pk=loan.pk)
    made = amendments.propose(
        loan, Wanted(ladder=ladder), reason="as agreed", expires_at=now + timedelta(hours=1), maker=cast.robin, now=now
    )
    return amendments.approve(made, by=cast.rhea, now=now)


def held(loan: Loan) -> LadderTerms:
    return MarginAccount.objects.select_related("terms").get(pk=loan.margin_account_id).terms


def test_a_tighter_ladder_holds_from_the_signature_and_the_warm_book_calls_by_it(cast: Cast) -> None:
    loan = stories.running(cast)
    cycle.forget()
    stories.market("40000", at=NOW + timedelta(minutes=1))  # LTV 60 %
    before = held(loan)
    row = approved(cast, loan, TIGHTER, now=NOW + timedelta(minutes=1, seconds=10))
    stories.market("37000", at=NOW + timedelta(minutes=1, seconds=20))  # 64.9 %: no warning by the old one
    assert not MarginCall.objects.exists()
    stories.market("40000", at=NOW + timedelta(minutes=1, seconds=30))
    amendments.sign(row, by=cast.alice, read=row.sheet.fingerprint, now=NOW + timedelta(minutes=1, seconds=40))
    after = held(loan)
    assert after.pk != before.pk
    drawn = term_sheets.of(row.sheet)
    assert {name: getattr(after, name) for name in drawn.ladder} == drawn.ladder
    assert [change.label for change in term_sheets.changes(drawn)] == [
        "Warning above", "Margin call above", "A call ends early below",
    ]  # fmt: skip
    stories.market("36000", at=NOW + timedelta(minutes=2))  # 66.7 %
    assert MarginCall.objects.get().margin_account_id == loan.margin_account_id
    assert MarginStatus.objects.get(margin_account=loan.margin_account_id).state == "call"
    # The sheet of a loan stands beside its schedule: nothing about that was changed.
    assert loan.schedule_rows.filter(version=2).count() == 0


def test_a_ladder_that_would_call_at_once_is_refused_and_so_is_one_that_is_none(cast: Cast) -> None:
    loan = stories.running(cast)
    cycle.forget()
    stories.market("36000", at=NOW + timedelta(minutes=2))  # 66.7 %
    for ladder, words in (
        (TIGHTER, "the account would be called at once"),
        ({"margin_call_ltv": D("0.60")}, "the levels do not rise"),
        ({"cure_to": D("0.71")}, "lies below its level"),
        ({"liquidation_ltv": D("1.2")}, "the levels do not rise"),
        ({"warning_ltv": D("0.65")}, "nothing would change"),
    ):
        with pytest.raises(UnableToAmend, match=words):
            approved(cast, loan, ladder, now=NOW + timedelta(minutes=2, seconds=5))
    with pytest.raises(UnableToAmend, match="everything else holds from the signature on"):
        amendments.propose(
            Loan.objects.get(pk=loan.pk), Wanted(ladder=LOOSER, from_at=LATER + timedelta(days=1)), reason="x",
            expires_at=LATER + timedelta(hours=1), maker=cast.robin, now=LATER,
        )  # fmt: skip
    with pytest.raises(UnableToAmend, match="a mark is stale"):
        approved(cast, loan, TIGHTER, now=NOW + timedelta(hours=2))


def test_while_a_call_is_open_a_ladder_only_becomes_looser(cast: Cast) -> None:
    call = stories.called(cast)
    loan = call.margin_account.loans.get()
    with pytest.raises(UnableToAmend, match="a margin call is open"):
        approved(cast, loan, {**LOOSER, "cure_period_s": 3600})
    row = approved(cast, loan, LOOSER)
    amendments.sign(row, by=cast.alice, read=None, now=LATER)
    assert held(loan).margin_call_ltv == D("0.74")
    call.refresh_from_db()
    assert call.closed_at is None  # what was called stays called until it is cured or has cleared


def test_a_ladder_is_that_of_every_loan_of_its_account(cast: Cast) -> None:
    one = stories.running(cast, opens_pool=True)
    pool = MarginAccount.objects.get(pk=one.margin_account_id)
    other = stories.offered(cast, principal=D(100_000), margin_account=pool)
    offers.accept(other, by=cast.alice, now=NOW)
    offers.approve(other, by=cast.rhea, now=NOW)
    offers.collateral_pending(other, actor=cast.olga, now=NOW)
    pool.refresh_from_db()
    until = NOW + timedelta(minutes=5)
    permit = permits.issue(permits.DRAW, pool, other.asset, other.principal, snapshot_id=0, expires_at=until)
    loans.fund(other, permit=permit, actor=cast.olga, now=NOW)
    cycle.forget()
    stories.market("60000", at=LATER)
    row = approved(cast, one, LOOSER)
    secured = sorted([str(one.public_id), str(other.public_id)])
    assert term_sheets.of(row.sheet).amends["secures"] == secured
    amendments.sign(row, by=cast.alice, read=None, now=LATER)
    assert held(other).margin_call_ltv == D("0.74")
    said = other.events.order_by("-pk")[0].cause
    assert said == f"the ladder of its margin account was amended with loan {str(one.public_id)[:8]}"


def test_what_is_looser() -> None:
    base = {term: D("0.5") for term in ladders._LEVELS} | dict.fromkeys(ladders._CLOCKS, 60)
    base |= {name: D("0.01") for name in ladders._COSTS}
    kept = LadderTerms(**base)
    assert ladders.loosens(kept, LadderTerms(**base))
    for name in (*ladders._LEVELS, *ladders._CLOCKS):
        assert ladders.loosens(kept, LadderTerms(**{**base, name: base[name] * 2}))
        assert not ladders.loosens(kept, LadderTerms(**{**base, name: base[name] / 2}))
    for name in ladders._COSTS:
        assert not ladders.loosens(kept, LadderTerms(**{**base, name: base[name] * 2}))
