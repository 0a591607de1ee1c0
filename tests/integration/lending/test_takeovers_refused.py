"""What is no takeover: every error by its file, row and column; nothing without two persons, or twice."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from lending import (
    access,
    approvals,
    takeovers,
)
from lending.models import (
    Approval,
    Client,
    KycCase,
    Loan,
    Takeover,
)
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, AssetNetworkFactory
from tests.factories.takeovers import CUT_OVER, FREE, INTEREST, LOAN, PLEDGE, asked, files

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def _offered(cast: Cast) -> None:
    stories._product()
    AssetNetworkFactory(asset=AssetFactory(code="BTC"))
    AssetFactory(code="ETH")


def check(tables: tuple[str, str, str], **changes: object) -> list[str]:
    given = {"source": "loanbook", "cut_over_at": CUT_OVER, "now": NOW, **changes}
    return [str(problem) for problem in takeovers.check(*tables, **given).problems]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (files([{**LOAN, "loan": ""}]), "loans, row 2, loan: is missing"),
        (files([{**LOAN, "loan": "x" * 61}]), "loans, row 2, loan: is longer than 60 characters"),
        (files([LOAN, LOAN]), "loans, row 3, loan: LB-1 stands in row 2 too"),
        (files([{**LOAN, "client": "Nobody"}]), "loans, row 2, client: 'Nobody' is no client: give its number"),
        (files([{**LOAN, "client": "Prospect"}]), "loans, row 2, client: Prospect is not onboarded: it is prospect"),
        (files([{**LOAN, "product": "x"}]), "loans, row 2, product: 'x' is none of term-usd"),
        (files([{**LOAN, "principal": "a lot"}]), "loans, row 2, principal: 'a lot' is no amount"),
        (files([{**LOAN, "principal": "NaN"}]), "loans, row 2, principal: 'NaN' is no amount"),
        (files([{**LOAN, "principal": "0"}]), "loans, row 2, principal: '0' is no amount above zero"),
        (files([{**LOAN, "principal": "1e30"}]), "loans, row 2, principal: '1e30' is no amount above zero"),
        (files([{**LOAN, "principal": "1.005"}]), "loans, row 2, principal: '1.005' is finer than its asset can move"),
        (files([{**LOAN, "principal": "700000"}]), "loans, row 2, principal: is more than was agreed"),
        (files([{**LOAN, "annual_rate": "9"}]), "loans, row 2, annual_rate: '9' is no ratio from 0 to below 1"),
        (files([{**LOAN, "annual_rate": "0.0000000000001"}]), "loans, row 2, annual_rate: '0.0000000000001' has more"),
        (files([{**LOAN, "default_rate": "0.01"}]), "loans, row 2, default_rate: is below the annual rate"),
        (files([{**LOAN, "start_date": "19.2.2021"}]), "loans, row 2, start_date: '19.2.2021' is no date"),
        (files([{**LOAN, "start_date": "2021-05-20"}]), "loans, row 2, start_date: 2021-05-20 is after the cut-over"),
        (files([{**LOAN, "maturity_date": "2021-05-19"}]), "loans, row 2, maturity_date: 2021-05-19 is not after"),
        (files([{**LOAN, "maturity_date": "9999-12-31"}]), "maturity_date: 9999-12-31 is more than 50 years off"),
        (files([{**LOAN, "start_date": "0001-01-01"}]), "start_date: 0001-01-01 is more than 50 years off"),
        (files([{**LOAN, "paper_sha256": "none"}]), "loans, row 2, paper_sha256: is no SHA-256"),
        (files([{**LOAN, "paper": "p\x07"}]), "loans, row 2, paper: is longer than 120 characters, or holds signs"),
        (files([{**LOAN, "day_count": "ACT"}]), "loans, row 2, day_count: 'ACT' is none of ACT/360"),
        (files([{**LOAN, "schedule_kind": "weekly"}]), "loans, row 2, schedule_kind: 'weekly' is none of bullet"),
        (files([{**LOAN, "frequency_months": "2"}]), "loans, row 2, frequency_months: '2' is none of 1, 3"),
        (files([{**LOAN, "calendar": "XLON"}]), "loans, row 2, calendar: 'XLON' is none of every_day, XFED"),
        (files([{**LOAN, "grace_days": "-1"}]), "loans, row 2, grace_days: '-1' is no whole number from 0 to 60"),
        (files([{**LOAN, "cure_period_s": "9" * 5000}]), "is no whole number from 0 to 31,622,400"),
        (files([{**LOAN, "warning_ltv": "0.9"}]), "loans, row 2, warning_ltv: makes no ladder"),
        (files([{**LOAN, "to_come": "2021-08-19 500000"}]), "loans, row 2, to_come: a loan paid bullet has none"),
        (files([{**LOAN, "schedule_kind": "equal_principal"}]), "loans, row 2, to_come: is missing"),
        (
            files([{**LOAN, "schedule_kind": "equal_principal", "to_come": "soon"}]),
            "loans, row 2, to_come: 'soon' is no date and principal",
        ),
        (
            files([{**LOAN, "schedule_kind": "equal_principal", "to_come": "2021-08-18 500000"}]),
            "loans, row 2, to_come: its dates must rise",
        ),
        (
            files([{**LOAN, "schedule_kind": "equal_principal", "to_come": "2021-08-19 499999"}]),
            "loans, row 2, to_come: its parts sum to 499999, and 500000 are outstanding",
        ),
        (files(pledges=[{**PLEDGE, "loan": "LB-9"}]), "pledges, row 2, loan: no row of the loans has the reference"),
        (files(pledges=[{**PLEDGE, "asset": "XYZ"}]), "pledges, row 2, asset: 'XYZ' is none of BTC, ETH, USD"),
        (files(pledges=[{**PLEDGE, "asset": "USD"}]), "pledges, row 2, asset: USD is cash"),
        (files(pledges=[{**PLEDGE, "quantity": "-1"}]), "pledges, row 2, quantity: '-1' is no amount above zero"),
        (files(pledges=[{**PLEDGE, "haircut": "1"}]), "pledges, row 2, haircut: '1' is no ratio"),
        (files(pledges=[PLEDGE, PLEDGE]), "pledges, row 3, asset: BTC is pledged for LB-1 in another row too"),
        (files(balances=[{**INTEREST, "kind": "debt"}]), "balances, row 2, kind: 'debt' is none of free, interest"),
        (files(balances=[{**INTEREST, "amount": "-5"}]), "balances, row 2, amount: '-5' is no amount from zero"),
        (files(balances=[{**INTEREST, "asset": "BTC"}]), "balances, row 2, asset: LB-1 is in USD"),
        (files(balances=[{**INTEREST, "loan": ""}]), "balances, row 2, loan: is missing: on which loan is it due?"),
        (files(balances=[INTEREST, INTEREST]), "balances, row 3, loan: the interest of LB-1 stand in another row too"),
        (files(balances=[INTEREST, {**FREE, "client": ""}]), "balances, row 3, client: is missing: whose is it?"),
        (files(balances=[INTEREST, {**FREE, "loan": "LB-1"}]), "balances, row 3, loan: what is free belongs to a"),
        (files(balances=[INTEREST, FREE, FREE]), "balances, row 4, client: Harbourside Trading has USD free in"),
        (files(balances=[{**INTEREST, "client": "Quayside Holdings"}]), "client: LB-1 is a loan of Harbourside"),
        (files(balances=[FREE]), "loans, row 2, loan: no row of the balances says its interest"),
        (files([LOAN, {**LOAN, "loan": "LB-2"}], balances=[INTEREST, {**INTEREST, "loan": "LB-2"}]),
         "loans, row 3, loan: no row of the pledges secures it"),
        (files([{**LOAN, "margin_account": "A"}, {**LOAN, "loan": "LB-2", "margin_account": "A",
                                                  "client": "Quayside Holdings"}],
               balances=[INTEREST, {**INTEREST, "loan": "LB-2"}]),
         "loans, row 3, margin_account: 'A' is another client's, in row 2"),
        (files([{**LOAN, "margin_account": "A", "gap_limit": ""}, {**LOAN, "loan": "LB-2", "margin_account": "A",
                                                                   "gap_limit": "0.01"}],
               balances=[INTEREST, {**INTEREST, "loan": "LB-2"}]),
         "loans, row 3, margin_account: its ladder is another than that of row 2, its pool"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_place(cast: Cast, tables: tuple[str, str, str], says: str) -> None:
    Client.objects.create(
        name="Prospect", kind="entity", jurisdiction="CH", relationship_manager=cast.robin, created_at=NOW
    )
    found = check(tables)
    assert any(says in problem for problem in found), found


def test_a_client_whose_review_is_overdue_is_not_taken_over(cast: Cast) -> None:
    late = datetime.combine(KycCase.objects.get(client=cast.harbourside).review_date, CUT_OVER.timetz())
    loan = {**LOAN, "maturity_date": f"{late.year + 1}-01-01"}
    assert check(files([loan]), cut_over_at=late, now=late) == []
    (problem, *_) = check(files([loan]), cut_over_at=late, now=late + timedelta(days=1))
    assert problem.startswith("loans, row 2, client: Harbourside Trading is not onboarded; still missing: ")
    assert "a review: it was due on 31 Dec 2029" in problem


def test_every_error_of_every_file_is_named_at_once(cast: Cast) -> None:
    loans = [{**LOAN, "client": "x", "product": "y", "principal": "z"}, {**LOAN, "loan": "LB-2", "paper": ""}]
    found = check(files(loans, [{**PLEDGE, "asset": "Q", "quantity": "q"}], [{**INTEREST, "amount": "i"}]))
    places = [problem.partition(":")[0] for problem in found]
    assert places == [
        "loans, row 2, client", "loans, row 2, product", "loans, row 2, principal", "loans, row 3, paper",
        "loans, row 3, loan", "loans, row 3, loan", "pledges, row 2, asset", "pledges, row 2, quantity",
        "balances, row 2, amount",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "changes", "says"),
    [
        (("", "", ""), {}, "loans: the first row does not name loan, client"),
        ((files()[0], "loan,asset\n", files()[2]), {}, "pledges: the first row does not name quantity"),
        ((files()[0].split("\n")[0], *files()[1:]), {}, "loans: it has no row below"),
        ((files()[0], 'loan,asset,quantity\n"LB', files()[2]), {}, "pledges: it is no CSV"),
        ((files()[0] + "\n" + "x" + ",", *files()[1:]), {}, None),
        (files(), {"source": ""}, "name the system that kept the loans"),
        (files(), {"source": "loan/book"}, "and without a /"),
        (files(), {"cut_over_at": NOW + timedelta(seconds=1)}, "the cut-over lies in the future"),
        (files(), {"cut_over_at": NOW - timedelta(days=8)}, "more than 7 days back"),
    ],
)
def test_what_can_not_be_taken_over_at_all(
    cast: Cast, tables: tuple[str, str, str], changes: dict[str, object], says: str | None
) -> None:
    if says is None:
        assert any("2 cells where the first row names" in problem for problem in check(tables, **changes))
        return
    with pytest.raises(takeovers.UnableToTakeOver, match=says):
        check(tables, **changes)


def test_all_or_nothing_once_and_by_two_persons(cast: Cast) -> None:
    with pytest.raises(access.UnableToAccess):
        takeovers.ask(*files(), source="loanbook", cut_over_at=CUT_OVER, maker=cast.dirk, now=NOW)
    with pytest.raises(takeovers.UnableToTakeOver, match="nothing was asked for: 3 errors"):
        asked(cast, *files([{**LOAN, "product": "x"}, {**LOAN, "loan": "LB-2"}], balances=[FREE]))
    approval = asked(cast)
    with pytest.raises(takeovers.UnableToTakeOver, match="these files wait for a second person already"):
        asked(cast)
    for nobody in (cast.olga, cast.rhea):
        with pytest.raises((approvals.UnableToApprove, access.UnableToAccess)):
            approvals.decide(approval, checker=nobody, approve=True, now=NOW)
    assert not Loan.objects.exists()
    # What was right when it was asked for, and no longer is, takes nothing over.
    Client.objects.filter(pk=cast.harbourside.pk).update(stage="closed")
    with pytest.raises(approvals.UnableToApprove, match="holds no more: loans, row 2, client: Harbourside"):
        approvals.decide(approval, checker=cast.rolf, approve=True, now=NOW)
    assert not Loan.objects.exists()
    assert not Takeover.objects.filter(done_at__isnull=False).exists()
    Client.objects.filter(pk=cast.harbourside.pk).update(stage="active")
    approvals.decide(approval, checker=cast.rolf, approve=True, now=NOW)
    with pytest.raises(takeovers.UnableToTakeOver, match="these three files were taken over already: 1 loan from"):
        asked(cast)
    assert "loans, row 2, loan: LB-1 was taken over already" in check(files(balances=[INTEREST, FREE]))


def refused(sql: str, *values: object) -> str:
    with pytest.raises(DatabaseError) as failed, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)
    return str(failed.value)


def test_the_database_itself_refuses(cast: Cast) -> None:
    """The role of the platform can neither run a loan past its two persons, nor change what was sent."""
    asked(cast)
    offer = stories.offered(cast)
    run = "UPDATE lending_loan SET state = 'active', approved_by_id = %s, start_at = now() WHERE id = %s"
    assert "when two persons take it over" in refused(run, cast.rhea.pk, offer.pk)
    done = "UPDATE lending_takeover SET done_at = now(), checker_id = %s"
    assert "takeover_maker_is_not_checker" in refused(done, cast.olga.pk)
    assert "takeover_done_by_a_checker" in refused("UPDATE lending_takeover SET done_at = now()")
    assert "permission denied" in refused("UPDATE lending_takeover SET loans_csv = 'other'")
    copy = 'INSERT INTO lending_takeover SELECT (jsonb_populate_record(t, \'{"id": 999, "loans_csv": "x"}\')).*'
    assert "takeover_hash_is_of_its_files" in refused(f"{copy} FROM lending_takeover t")
    approvals.decide(Approval.objects.get(), checker=cast.dirk, approve=True, now=NOW)
    assert "taken over once" in refused(done, cast.rolf.pk)
    assert "permission denied" in refused("UPDATE lending_loanorigin SET interest = 0")
    taken = Loan.objects.get(origin__isnull=False)
    assert "is refused" in refused("UPDATE lending_loan SET interest_brought = 0 WHERE id = %s", taken.pk)
    assert "permission denied" in refused("DELETE FROM lending_takeover")
