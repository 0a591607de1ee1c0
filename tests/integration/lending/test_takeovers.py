"""
Live loans are taken over from another system: what is wrong is named, what is right is booked, once and whole.

The opening entries of the one loan of these files, as T-accounts (debits positive):

    loan principal, USD       500,000.00      opening balance, USD    -502,370.35
    interest receivable         2,250.35
    fees receivable               120.00
    custody, USD                1,000.50      client free, USD          -1,000.50
    custody, BTC                      20      client pledged, BTC             -20
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client as Browser

from lending import (
    access,
    approvals,
    breaks,
    collateral,
    corrections,
    custody,
    interest,
    invariants,
    loans,
    matching,
    permits,
    reconciliation,
    repayments,
    schedules,
    takeovers,
    term_sheets,
    withdrawals,
)
from lending.adapters.paper_custodian import PaperCustodian
from lending.models import (
    Approval,
    Asset,
    CustodyBreak,
    Deposit,
    Entry,
    Loan,
    MarginAccount,
    Obligation,
    Pledge,
    Posting,
    ScheduleRow,
    Withdrawal,
)
from otc import pnl
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, AssetNetworkFactory, give
from tests.factories.takeovers import CUT_OVER, INTEREST, LOAN, PLEDGE, SHA, files, taken_over

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def _offered(cast: Cast) -> None:
    stories.product()
    AssetNetworkFactory(asset=AssetFactory(code="BTC"))
    AssetFactory(code="ETH")


def standing() -> dict[str, Decimal]:
    rows = Posting.objects.values_list("account__kind", "account__asset__code", "amount")
    found: dict[str, Decimal] = {}
    for kind, asset, amount in rows:
        found[f"{kind} {asset}"] = found.get(f"{kind} {asset}", D(0)) + amount
    return {key: amount for key, amount in found.items() if amount}


def test_opening_entries_balance_and_make_no_profit(cast: Cast) -> None:
    taken_over(cast)
    assert standing() == {
        "loan_principal USD": D(500_000), "interest_receivable USD": D("2250.35"), "fees_receivable USD": D(120),
        "opening_balance USD": D("-502370.35"), "custody USD": D("1000.50"), "client_free USD": D("-1000.50"),
        "custody BTC": D(20), "client_pledged BTC": D(-20),
    }  # fmt: skip
    assert set(Entry.objects.values_list("effective_at", flat=True)) == {CUT_OVER}
    assert invariants.check() == []
    stories.market("40000", at=NOW)
    told = pnl.explain(None, CUT_OVER - timedelta(days=1), NOW)
    assert (told.total, told.residual) == (0, 0)


def test_a_loan_runs_by_the_sheet_that_was_drawn_of_it(cast: Cast) -> None:
    taken_over(cast)
    loan = Loan.objects.select_related("asset", "origin", "margin_account__terms").get()
    sheet = term_sheets.of(term_sheets.newest(loan))  # type: ignore[arg-type]
    assert {name: getattr(loan, name) for name in sheet.loan} == sheet.loan
    assert (loan.state, loan.start_at, loan.accrued_at) == ("active", CUT_OVER, CUT_OVER)
    assert (loan.made_by, loan.approved_by, loan.accepted_by) == (cast.olga, cast.dirk, None)
    assert sheet.origin == {
        "source": "loanbook", "reference": "LB-1", "began_date": "2021-02-19", "principal_agreed": "600000",
        "cut_over_at": "2021-05-19T00:00:00.000000+00:00", "interest": "2250.35", "fees": "120",
        "paper": "Loan agreement 17.pdf", "paper_sha256": SHA,
    }  # fmt: skip
    assert sheet.collateral["BTC"][0] == 20
    row = ScheduleRow.objects.get()
    # 92 days at 9 % on what is left, beside what was due already.
    assert (row.due_date, row.principal, row.interest) == (
        date(2021, 8, 19),
        500_000,
        D("11500.00") + D("2250.35"),
    )
    assert sheet.content["schedule"]["rows"][0]["interest"] == "13750.35"
    assert Obligation.objects.get().due_at == datetime(2021, 8, 19, tzinfo=UTC)
    assert Pledge.objects.get().quantity == 20
    assert loan.origin.principal_agreed == 600_000


def test_a_loan_that_was_taken_over_accrues_is_paid_and_closes(cast: Cast) -> None:
    """Interest is what was due and what runs from the cut-over; at the end every account is zero or explained."""
    taken_over(cast)
    loan = Loan.objects.get()
    account = loan.margin_account
    later = NOW + timedelta(days=30)
    interest.accrue_due(now=later)
    loan.refresh_from_db()
    assert loan.interest_posted == D(500_000) * 30 * D("0.09") / 360  # days that have ended since the cut-over
    assert loan.interest_due == D("2250.35") + loan.interest_posted
    assert interest.payoff(loan, now=later).pending == D("62.50")  # half a day
    stories.deposited(loan.client, "USD", D(520_000))
    part = repayments.record(loan, D("2000.35"), key="part", received_at=later, now=later)
    assert (part.fees, part.interest, part.principal) == (120, D("1880.35"), 0)
    # A payment that comes to be known late is worked out anew, from the cut-over on and with what was brought.
    late = repayments.record(loan, D(4_000), key="late", received_at=later - timedelta(hours=20), now=later)
    assert (late.fees, late.interest) == (120, 3880)
    loan.refresh_from_db()
    assert loan.interest_due == D("2250.35") + loan.interest_posted - D(3880) - D("2000.35")
    assert invariants.check() == []
    due = interest.payoff(loan, now=later).total
    repayments.record(loan, due, key="rest", received_at=later, now=later)
    loan.refresh_from_db()
    assert loan.state == "repaid"
    permit = permits.issue(
        permits.RELEASE, MarginAccount.objects.get(pk=account.pk), Asset.objects.get(code="BTC"), D(20),
        snapshot_id=0, expires_at=later + timedelta(minutes=5),
    )  # fmt: skip
    collateral.release(
        account, Asset.objects.get(code="BTC"), D(20), permit=permit, maker=cast.robin, checker=cast.rhea, key="back",
        now=later,
    )  # fmt: skip
    assert loans.close_due(now=later) == 1
    left = standing()
    earned = loan.interest_posted
    assert left.pop("interest_income USD") == -earned
    assert left.pop("opening_balance USD") == D("-502370.35")
    assert left.pop("custody BTC") == -left.pop("client_free BTC") == 20
    # What was put in and earned is now cash of the desk's; the rest of the cash is the client's own.
    assert left.pop("custody USD") + left.pop("client_free USD") == D("502370.35") + earned
    assert left == {}
    assert invariants.check() == []


def test_the_past_before_the_cut_over_stays_where_it_was(cast: Cast) -> None:
    taken_over(cast)
    loan = Loan.objects.select_related("asset", "client").get()
    says = r"was taken over at 2021-05-19 00:00 UTC: what was paid before belongs in the books that it came from"
    early = CUT_OVER - timedelta(minutes=1)
    with pytest.raises(repayments.UnableToRepay, match=says):
        repayments.record(loan, D(100), key="early", received_at=early, now=NOW)
    with pytest.raises(corrections.UnableToCorrect, match=says):
        corrections.ask_payment(loan, D(100), received_at=early, reason="a wire", maker=cast.olga, now=NOW)


@pytest.mark.parametrize("convention", ["30/360", "30E/360"])
def test_a_day_count_that_looks_at_dates_counts_from_the_first_day(cast: Cast, convention: str) -> None:
    """Taken over on a 31st, the 31st still earns what it would have earned: the period is the loan's, not ours."""
    cut_over, now = datetime(2021, 5, 31, tzinfo=UTC), datetime(2021, 5, 31, 9, tzinfo=UTC)
    loan = {**LOAN, "principal": "360000", "annual_rate": "0.1", "start_date": "2021-02-15", "day_count": convention}
    approval = takeovers.ask(*files([loan]), source="loanbook", cut_over_at=cut_over, maker=cast.olga, now=now)
    approvals.decide(approval, checker=cast.dirk, approve=True, now=now)
    row = Loan.objects.select_related("asset").get()
    # From 15 Feb the whole of 31 May counts as the 30/360 day it is (106 to 106), so that 1 June begins at 106.
    before = {"30/360": 106, "30E/360": 105}[convention]
    ends = [(datetime(2021, 6, 1, tzinfo=UTC), 106), (datetime(2021, 6, 30, tzinfo=UTC), 135)]
    for at, days in ends:
        assert interest.payoff(row, now=at).pending == (days - before) * 100


def test_coins_that_are_not_at_the_custodian_are_breaks(cast: Cast) -> None:
    taken_over(cast)
    assert reconciliation.reconcile(now=NOW) == 2
    found = {row.asset.code: (row.ledger_quantity, row.custodian_quantity) for row in CustodyBreak.objects.all()}
    assert found == {"BTC": (20, 0), "USD": (D("1000.5"), 0)}


def test_coins_that_have_not_come_hold_back_those_alone_whose_they_are(cast: Cast) -> None:
    taken_over(cast)
    give(cast.quayside, "BTC", "3")
    assert reconciliation.reconcile(now=NOW) == 2
    later = NOW + breaks.AGED
    bitcoin, dollars = Asset.objects.get(code="BTC"), Asset.objects.get(code="USD")
    theirs, others = cast.harbourside.pk, cast.quayside.pk
    assert "20 BTC less at the custodian than the ledger has" in breaks.blocks_releases(bitcoin, theirs)
    assert breaks.blocks_releases(bitcoin, others) == ""
    asked: dict[str, Any] = {"destination": "bc1", "purpose": "release", "maker": cast.olga, "checker": cast.rhea}
    asked["book"] = Loan.objects.get().book
    early = withdrawals.request(cast.harbourside, dollars, D(1), now=NOW, key="w1", **asked)
    free = withdrawals.request(cast.quayside, bitcoin, D(1), now=later, key="w2", **asked)
    with pytest.raises(withdrawals.UnableToWithdraw, match="nothing of it leaves until that is explained"):
        withdrawals.request(cast.harbourside, dollars, D(1), now=later, key="w3", **asked)
    held = Withdrawal.objects.order_by("pk")
    assert list(held.filter(breaks.holds_back(now=later))) == [early]
    # What their money has paid is the desk's by now, and is not there: it may be anybody's.
    repayments.record(Loan.objects.get(), D(500), key="r1", received_at=later, now=later)
    assert breaks.blocks_releases(dollars, others)
    # And more is missing than was taken over.
    CustodyBreak.objects.filter(asset=bitcoin).update(ledger_quantity=24)
    assert breaks.blocks_releases(bitcoin, others)
    assert list(held.filter(breaks.holds_back(now=later))) == [early, free]


def test_coins_that_come_later_end_their_break(cast: Cast, custodian: PaperCustodian, client: Browser) -> None:
    """What comes stands on the books already: two persons say so, and it is not put there a second time."""
    taken_over(cast)
    later = NOW + timedelta(hours=4)

    def arrived(ref: str, quantity: str) -> Deposit:
        custodian.simulate_deposit(ref, address="old-vault", asset="BTC", quantity=D(quantity), at=NOW)
        custody.poll_due(now=later)
        custody.credit_due(now=later)
        return Deposit.objects.get(custodian_ref=ref)

    too_much, part = arrived("d1", "20.5"), arrived("d2", "15")
    with pytest.raises(matching.UnableToMatch, match="20 BTC were taken over and have not come yet"):
        matching.ask_taken_over(too_much, reason="ours", maker=cast.olga, now=later)
    with pytest.raises(matching.UnableToMatch, match="say how it is known what it brings"):
        matching.ask_taken_over(part, reason=" ", maker=cast.olga, now=later)
    with pytest.raises(access.UnableToAccess):
        matching.ask_taken_over(part, reason="ours", maker=cast.rhea, now=later)
    client.force_login(cast.olga)
    page = f"/admin/lending/deposit/{part.pk}/"
    assert "It brings what was taken over" in client.get(f"{page}change/").content.decode()
    assert client.post(f"{page}taken-over/", {"reason": ""}).status_code == 422
    sent = client.post(f"{page}taken-over/", {"reason": "the old vault was emptied"}, follow=True).content.decode()
    assert "as what was taken over" in sent
    asked_for = Approval.objects.get(kind=matching.TAKEN_OVER)
    with pytest.raises(matching.UnableToMatch, match="asked for already"):
        matching.ask_taken_over(part, reason="ours", maker=cast.olga, now=later)
    approvals.decide(asked_for, checker=cast.rhea, approve=True, now=later)
    assert Deposit.objects.get(pk=part.pk).state == "credited"
    assert breaks.to_come(part.asset, "paper") == 5
    with pytest.raises(matching.UnableToMatch, match="the deposit is credited"):
        matching.ask_taken_over(Deposit.objects.get(pk=part.pk), reason="ours", maker=cast.olga, now=later)
    left = standing()
    assert (left["custody BTC"], left["client_pledged BTC"], left["deposits_pending BTC"]) == (
        D("40.5"), -20, D("-20.5"),
    )  # fmt: skip
    reconciliation.reconcile(now=later)
    found = {row.asset.code: row.ledger_quantity - row.custodian_quantity for row in CustodyBreak.objects.all()}
    assert found == {"BTC": 5, "USD": D("1000.5")}
    assert invariants.check() == []

    # What two persons have taken on the desk's books is not to come any more.
    lost = CustodyBreak.objects.get(asset=part.asset)
    breaks.explain(lost, "lost with the old vault", by=cast.olga, now=later)
    approvals.decide(breaks.ask(lost, maker=cast.olga, now=later), checker=cast.rhea, approve=True, now=later)
    assert breaks.to_come(part.asset, "paper") == 0
    with pytest.raises(matching.UnableToMatch, match="0 BTC were taken over and have not come yet"):
        matching.ask_taken_over(too_much, reason="ours", maker=cast.olga, now=later)


def test_loans_of_one_account_share_what_secures_them(cast: Cast) -> None:
    two = {**LOAN, "loan": "LB-2", "margin_account": "Pool A", "liquidation_ltv": "0.85", "cure_period_s": "7200"}
    one = {**LOAN, "margin_account": "Pool A", "liquidation_ltv": "0.85", "cure_period_s": "7200"}
    parts = {
        **LOAN, "loan": "LB-3", "client": "charlie@quayside.example", "schedule_kind": "equal_instalment",
        "to_come": "2021-06-19 100000 | 2021-07-19 150000.50 | 2021-08-19 249999.50",
    }  # fmt: skip
    coins = [PLEDGE, {**PLEDGE, "loan": "LB-2", "quantity": "5", "haircut": ""}, {**PLEDGE, "loan": "LB-3"}]
    dues = [{**INTEREST, "loan": name, "amount": "0"} for name in ("LB-1", "LB-2", "LB-3")]
    taken_over(cast, *files([one, two, parts], coins, dues))
    pool, own = MarginAccount.objects.order_by("pk")
    assert (pool.kind, pool.loans.count(), pool.terms.liquidation_ltv, pool.terms.cure_period_s) == (
        "pool", 2, D("0.85"), 7200,
    )  # fmt: skip
    assert (own.kind, own.client, own.terms.is_preset) == ("ring_fenced", cast.quayside, own.terms.is_preset)
    assert [str(row.quantity.normalize()) for row in Pledge.objects.order_by("pk")] == ["25", "2E+1"]
    agreed = schedules.of_loan(own.loans.get(), now=NOW)
    assert [(row.due_date.month, row.principal) for row in agreed.rows] == [
        (6, 100_000), (7, D("150000.5")), (8, D("249999.5")),
    ]  # fmt: skip
    assert agreed.rows[0].interest == 31 * 125  # at 9 % on 500,000, ACT/360
    assert invariants.check() == []
