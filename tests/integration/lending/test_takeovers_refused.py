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
from tests import bad_input, stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, AssetNetworkFactory
from tests.factories.takeovers import (
    CUT_OVER,
    FLOATING,
    FREE,
    GROWING,
    INTEREST,
    LINE,
    LOAN,
    OPEN,
    PLEDGE,
    asked,
    every_product,
    files,
)

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def _offered(cast: Cast) -> None:
    stories.product()
    AssetNetworkFactory(asset=AssetFactory(code="BTC"))
    AssetFactory(code="ETH")
    every_product()


def check(tables: tuple[str, str, str], **changes: object) -> list[str]:
    given = {"source": "loanbook", "cut_over_at": CUT_OVER, "now": NOW, **changes}
    return [str(problem) for problem in takeovers.check(*tables, **given).problems]  # type: ignore[arg-type]


def of_kind(kind: dict[str, str], **changes: str) -> tuple[str, str, str]:
    """Return the files of one loan of a kind, with something about it changed; of a line with its fee, 0."""
    dues = [{**INTEREST, "loan": kind["loan"]}]
    if kind is LINE:
        dues.append({**dues[0], "kind": "unused_fee", "amount": "0"})
    return files([{**kind, **changes}], [{**PLEDGE, "loan": kind["loan"]}], dues)


SECOND, BY_PARTS = {**LOAN, "loan": "LB-2"}, {**LOAN, "schedule_kind": "equal_principal"}
POOL = {"margin_account": "A"}
POOLED = {**LOAN, **POOL}
DUES = [INTEREST, {**INTEREST, "loan": "LB-2"}]
BAD_ROWS = {
    "loans: no loan": files([{**LOAN, "loan": ""}]),
    "loans: a reference of 61 letters": files([{**LOAN, "loan": "x" * 61}]),
    "loans: a loan twice": files([LOAN, LOAN]),
    "loans: client “Nobody”": files([{**LOAN, "client": "Nobody"}]),
    "loans: client “Prospect”": files([{**LOAN, "client": "Prospect"}]),
    "loans: product “x”": files([{**LOAN, "product": "x"}]),
    "loans: principal “a lot”": files([{**LOAN, "principal": "a lot"}]),
    "loans: principal “NaN”": files([{**LOAN, "principal": "NaN"}]),
    "loans: principal “0”": files([{**LOAN, "principal": "0"}]),
    "loans: principal “1e30”": files([{**LOAN, "principal": "1e30"}]),
    "loans: principal “1.005”": files([{**LOAN, "principal": "1.005"}]),
    "loans: principal “700000”": files([{**LOAN, "principal": "700000"}]),
    "loans: annual rate “9”": files([{**LOAN, "annual_rate": "9"}]),
    "loans: annual rate “0.0000000000001”": files([{**LOAN, "annual_rate": "0.0000000000001"}]),
    "loans: default rate “0.01”": files([{**LOAN, "default_rate": "0.01"}]),
    "loans: start date “19.2.2021”": files([{**LOAN, "start_date": "19.2.2021"}]),
    "loans: start date “2021-05-20”": files([{**LOAN, "start_date": "2021-05-20"}]),
    "loans: maturity date “2021-05-19”": files([{**LOAN, "maturity_date": "2021-05-19"}]),
    "loans: maturity date “9999-12-31”": files([{**LOAN, "maturity_date": "9999-12-31"}]),
    "loans: start date “0001-01-01”": files([{**LOAN, "start_date": "0001-01-01"}]),
    "loans: paper sha256 “none”": files([{**LOAN, "paper_sha256": "none"}]),
    "loans: a paper's name with a bell in it": files([{**LOAN, "paper": "p\x07"}]),
    "loans: day count “ACT”": files([{**LOAN, "day_count": "ACT"}]),
    "loans: schedule kind “weekly”": files([{**LOAN, "schedule_kind": "weekly"}]),
    "loans: frequency months “2”": files([{**LOAN, "frequency_months": "2"}]),
    "loans: calendar “XLON”": files([{**LOAN, "calendar": "XLON"}]),
    "loans: grace days “-1”": files([{**LOAN, "grace_days": "-1"}]),
    "loans: a number of 5,000 digits": files([{**LOAN, "cure_period_s": "9" * 5000}]),
    "loans: warning ltv “0.9”": files([{**LOAN, "warning_ltv": "0.9"}]),
    "loans: to come “2021-08-19 500000”": files([{**LOAN, "to_come": "2021-08-19 500000"}]),
    "loans: schedule kind “equal_principal”": files([{**LOAN, "schedule_kind": "equal_principal"}]),
    "pledges: loan “LB-9”": files(pledges=[{**PLEDGE, "loan": "LB-9"}]),
    "pledges: asset “XYZ”": files(pledges=[{**PLEDGE, "asset": "XYZ"}]),
    "pledges: asset “USD”": files(pledges=[{**PLEDGE, "asset": "USD"}]),
    "pledges: quantity “-1”": files(pledges=[{**PLEDGE, "quantity": "-1"}]),
    "pledges: haircut “1”": files(pledges=[{**PLEDGE, "haircut": "1"}]),
    "pledges: a pledge twice": files(pledges=[PLEDGE, PLEDGE]),
    "balances: kind “debt”": files(balances=[{**INTEREST, "kind": "debt"}]),
    "balances: amount “-5”": files(balances=[{**INTEREST, "amount": "-5"}]),
    "balances: asset “BTC”": files(balances=[{**INTEREST, "asset": "BTC"}]),
    "balances: no loan": files(balances=[{**INTEREST, "loan": ""}]),
    "balances: interest twice": files(balances=[INTEREST, INTEREST]),
    "balances: free money of nobody": files(balances=[INTEREST, {**FREE, "client": ""}]),
    "balances: free money with a loan": files(balances=[INTEREST, {**FREE, "loan": "LB-1"}]),
    "balances: free money twice": files(balances=[INTEREST, FREE, FREE]),
    "balances: client “Quayside Holdings”": files(balances=[{**INTEREST, "client": "Quayside Holdings"}]),
    "balances: no row of a loan's interest": files(balances=[FREE]),
    "loans: to come “soon”": files([{**BY_PARTS, "to_come": "soon"}]),
    "loans: to come before its maturity": files([{**BY_PARTS, "to_come": "2021-08-18 500000"}]),
    "loans: to come a dollar less": files([{**BY_PARTS, "to_come": "2021-08-19 499999"}]),
    "loans: no maturity date": files([{**LOAN, "maturity_date": ""}]),
    "loans: a fixed rate with spread “0.02”": files([{**LOAN, "spread": "0.02"}]),
    "loans: a fixed term with notice days “5”": files([{**LOAN, "notice_days": "5"}]),
    "loans: a fixed term with limit “1”": files([{**LOAN, "limit": "1"}]),
    "loans: a bullet with next due date “2021-06-19”": files([{**LOAN, "next_due_date": "2021-06-19"}]),
    "loans: step up “0.01” without its date": files([{**LOAN, "step_up": "0.01"}]),
    "loans: step up date “2021-08-19”": files([{**LOAN, "step_up": "0.01", "step_up_date": "2021-08-19"}]),
    "loans: late fee “2”": files([{**LOAN, "late_fee": "2"}]),
    "loans: prepayment “penalty”": files([{**LOAN, "prepayment": "penalty"}]),
    "loans: prepayment “share” without its rate": files([{**LOAN, "prepayment": "share"}]),
    "loans: an open term with a maturity date": of_kind(OPEN, maturity_date="2021-08-19"),
    "loans: an open term with notice days “0”": of_kind(OPEN, notice_days="0"),
    "loans: an open term paid “bullet”": of_kind(OPEN, schedule_kind="bullet"),
    "loans: an open term with next due date “2021-06-19”": of_kind(OPEN, next_due_date="2021-06-19"),
    "loans: an open term with prepayment “share”": of_kind(OPEN, prepayment="share", prepayment_rate="0.01"),
    "loans: no fixing of a rate that floats": of_kind(FLOATING, fixing=""),
    "loans: fixing “4”": of_kind(FLOATING, fixing="4"),
    "loans: fixing “0.05”": of_kind(FLOATING, fixing="0.05"),
    "loans: benchmark “LIBOR”": of_kind(FLOATING, benchmark="LIBOR"),
    "loans: spread “2”": of_kind(FLOATING, spread="2"),
    "loans: rate cap “0.01”": of_kind(FLOATING, rate_cap="0.01"),
    "loans: reset months “2”": of_kind(FLOATING, reset_months="2"),
    "loans: fixing lag days “31”": of_kind(FLOATING, fixing_lag_days="31"),
    "loans: a rate that floats, paid “equal_instalment”": of_kind(
        FLOATING, schedule_kind="equal_instalment", to_come="2021-08-25 360000"
    ),
    "loans: next due date “soon”": of_kind(GROWING, next_due_date="soon"),
    "loans: next due date “2021-05-19”": of_kind(GROWING, next_due_date="2021-05-19"),
    "loans: next due date “2021-08-20”": of_kind(GROWING, next_due_date="2021-08-20"),
    "loans: next due date “2021-07-01”": of_kind(GROWING, next_due_date="2021-07-01"),
    "loans: no limit of a line": of_kind(LINE, limit=""),
    "loans: limit “300000”": of_kind(LINE, limit="300000"),
    "loans: limit “1.005”": of_kind(LINE, limit="1.005"),
    "loans: unused fee “7”": of_kind(LINE, unused_fee="7"),
    "balances: no row of a line's unused fee": files(
        [LINE], [{**PLEDGE, "loan": "RL-1"}], [{**INTEREST, "loan": "RL-1"}]
    ),
    "balances: unused fee of a term loan": files(balances=[INTEREST, {**INTEREST, "kind": "unused_fee"}]),
    "loans: nothing secures one": files([LOAN, SECOND], balances=DUES),
    "loans: a pool of two clients": files([POOLED, {**SECOND, **POOL, "client": "Quayside Holdings"}], balances=DUES),
    "loans: a pool with two ladders": files(
        [{**POOLED, "gap_limit": ""}, {**SECOND, **POOL, "gap_limit": "0.01"}], balances=DUES
    ),
}
BAD_FILES: dict[str, tuple[tuple[str, str, str], dict[str, object]]] = {
    "empty files": (("", "", ""), {}),
    "a column too few": ((files()[0], "loan,asset\n", files()[2]), {}),
    "no row": ((files()[0].split("\n")[0], *files()[1:]), {}),
    "a quote that is never closed": ((files()[0], 'loan,asset,quantity\n"LB', files()[2]), {}),
    "no system": (files(), {"source": ""}),
    "a system with a /": (files(), {"source": "loan/book"}),
    "a cut-over to come": (files(), {"cut_over_at": NOW + timedelta(seconds=1)}),
    "a cut-over eight days ago": (files(), {"cut_over_at": NOW - timedelta(days=8)}),
}


def test_what_is_wrong_is_named_by_its_place(cast: Cast) -> None:
    Client.objects.create(
        name="Prospect", kind="entity", jurisdiction="CH", relationship_manager=cast.robin, created_at=NOW
    )
    bad_input.stands(bad_input.IMPORTS, "Live loans, three CSV files: a row", {
        case: check(tables) for case, tables in BAD_ROWS.items()
    })  # fmt: skip


def test_what_can_not_be_taken_over_at_all(cast: Cast) -> None:
    read = {}
    for case, (tables, changes) in BAD_FILES.items():
        with pytest.raises(takeovers.UnableToTakeOver) as refusal:
            check(tables, **changes)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Live loans, three CSV files: a file", read)
    (problem, *_) = check((files()[0] + "\nx,", *files()[1:]))
    assert problem.startswith("loans, row 3, row: 2 cells where the first row names")


def test_a_rate_is_reset_on_the_days_on_which_its_interest_is_paid(cast: Cast) -> None:
    """Resets are counted back from the maturity; other pay days would announce interest at rates that change."""
    (problem,) = check(of_kind(FLOATING, next_due_date="2021-06-10"))
    assert problem.endswith("counted from its maturity: this one ends on 2021-05-25")
    assert check(of_kind(FLOATING, next_due_date="2021-05-25")) == []


def test_a_default_rate_that_nobody_names_is_five_points_more_or_none(cast: Cast) -> None:
    (problem,) = check(files([{**LOAN, "annual_rate": "0.97"}]))
    assert problem.endswith(
        "a default rate of 102 %, five points above the annual one, is not from 97 % on and below 100 %"
    )


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
