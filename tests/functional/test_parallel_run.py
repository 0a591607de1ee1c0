"""After the cut-over both systems run: each day is compared, what differs keeps its first day and what was found."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser

from lending import access, interest, parallel
from lending.models import Loan, ParallelDifference, ParallelNote, ParallelRun
from tests import bad_input, stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory
from tests.factories.takeovers import INTEREST, LOAN, PLEDGE, files, taken_over
from tests.functional import trying

PAGE = "/admin/parallel/"
D = Decimal
FIRST, SECOND, THIRD = (date(2021, 5, day) for day in (19, 20, 21))
THEN = NOW + timedelta(days=3)


@pytest.fixture(autouse=True)
def _two_loans(cast: Cast) -> Iterator[None]:
    stories.product()
    AssetFactory(code="BTC")
    second = {**LOAN, "loan": "LB-2", "client": "Quayside Holdings", "principal": "400000"}
    dues = [{**INTEREST, "amount": "100"}, {**INTEREST, "loan": "LB-2", "amount": "0"}]
    taken_over(cast, *files([LOAN, second], [PLEDGE, {**PLEDGE, "loan": "LB-2"}], dues))
    with time_machine.travel(THEN, tick=False):
        interest.accrue_due(now=THEN)
        yield


def of(day: int, *, more: str = "0", fees: str = "0") -> str:
    """Return what the other system says of a day: 125 and 100 a day at 9 %, with a slip of `more` in the first."""
    return "\n".join(
        (
            "loan,principal,interest,fees",
            f"LB-1,500000,{100 + 125 * day + D(more)},{fees}",
            f"LB-2,400000,{100 * day},0",
        )
    )


def compare(cast: Cast, text: str, day: date = FIRST, tolerance: str = "0.01", **more: object) -> ParallelRun:
    given = {"source": "loanbook", "ltv_tolerance": D("0.001"), "by": cast.olga, "now": THEN, **more}
    return parallel.compare(text, day=day, tolerance=D(tolerance), **given)  # type: ignore[arg-type]


def test_days_agree_differ_and_agree_again(cast: Cast) -> None:
    before = compare(cast, of(0), FIRST - timedelta(days=1))
    assert (before.compared, before.agreeing) == (2, 2), "at the cut-over both are what was taken over"
    run = compare(cast, of(1, more="5.25", fees="0.01"))
    assert (run.compared, run.agreeing) == (2, 1), "a cent of fees is within the tolerance"
    compare(cast, of(2, more="5.25", fees="7"), SECOND)
    shown = parallel.report("loanbook")
    assert shown
    assert [(row.difference.column, row.by, row.difference.first_day, row.age_days) for row in shown.rows] == [
        ("interest", D("5.25"), FIRST, 1), ("fees", 7, SECOND, 0),
    ]  # fmt: skip
    parallel.note(shown.rows[0].difference, " they rounded a day ", by=cast.olga, now=THEN)
    assert shown.clean_days == 0
    compare(cast, of(2), SECOND)  # their corrected file of the same day is what counts of it
    assert parallel.report("loanbook").clean_days == 1  # type: ignore[union-attr]
    compare(cast, of(3, more="5.25"), THIRD)
    again = parallel.report("loanbook")
    assert again
    assert [(row.difference.first_day, list(row.notes)) for row in again.rows] == [(THIRD, [])], "it is a new one"
    first = parallel.report("loanbook", day=FIRST)
    assert first
    assert [note.text for note in first.rows[0].notes] == ["they rounded a day"]
    lines = parallel.as_csv(first).splitlines()
    assert lines[1].startswith(f"loanbook,2021-05-19,LB-1,{Loan.objects.get(origin__reference='LB-1').public_id},inter")
    assert lines[1].endswith(",USD,230.25,225,5.25,2021-05-19,Olga: they rounded a day")


def test_what_one_side_lacks_is_named(cast: Cast) -> None:
    run = compare(cast, "loan,principal,interest,fees\nLB-1,500000,225,0\n=LB-9,1000,0,0")
    assert (run.compared, run.agreeing) == (3, 1)
    found = [(row.reference, row.column, row.theirs, row.ours) for row in run.differences.order_by("reference")]
    assert found == [("=LB-9", "loan", 1000, None), ("LB-2", "loan", None, 400_000)]
    assert ",'=LB-9," in parallel.as_csv(parallel.report("loanbook"))  # type: ignore[arg-type]


def test_ltv_is_compared_at_the_marks_of_then(cast: Cast) -> None:
    stories.market("50000", at=NOW)
    text = "loan,principal,interest,fees,ltv\nLB-1,500000,225,0,{0}\nLB-2,400000,100,0,"
    assert compare(cast, text.format("0.5003")).agreeing == 2  # 500,225 on 20 BTC at 50,000
    run = compare(cast, text.format("0.52"))
    assert [(row.column, row.theirs, row.ours) for row in run.differences.all()] == [("ltv", D("0.52"), D("0.500225"))]


BAD_ROWS = {
    "no loan": ",1,2,3",
    "no principal": "LB-1,,2,3",
    "principal “much”": "LB-1,much,2,3",
    "principal “-1”": "LB-1,-1,2,3",
    "interest “2.005”": "LB-1,1,2.005,3",
    "unused fee “2.005”": "LB-1,1,2,3,2.005,",
    "annual rate “9”": "LB-1,1,2,3,,9",
    "a cell too few": "LB-1,1,2",
    "a loan twice": "LB-1,1,2,3\nLB-1,1,2,3",
}
BAD_DAYS: dict[str, tuple[str, dict[str, object]]] = {
    "a system that no loan came from": (of(1), {"source": "other"}),
    "a day that is not over": (of(1), {"day": THEN.date()}),
    "a day before the cut-over": (of(1), {"day": FIRST - timedelta(days=2)}),
    "tolerance “-1”": (of(1), {"tolerance": "-1"}),
    "tolerance “NaN”": (of(1), {"ltv_tolerance": D("NaN")}),
    "columns too few": ("loan\nLB-1", {}),
    "no row": ("loan,principal,interest,fees\n", {}),
    "a column that is not known": ("loan,principal,interest,fees,x\n", {}),
}


def test_what_can_not_be_compared_is_named(cast: Cast) -> None:
    read = {}
    for case, rows in BAD_ROWS.items():
        with pytest.raises(parallel.UnableToUse) as wrong:
            more = ",unused_fee,annual_rate" if rows.count(",") > 4 and "\n" not in rows else ""
            compare(cast, f"loan,principal,interest,fees{more}\n{rows}")
        read[case] = [str(problem) for problem in wrong.value.problems]
    for case, (text, more) in BAD_DAYS.items():
        with pytest.raises(parallel.UnableToCompare) as refused:
            compare(cast, text, **more)  # type: ignore[arg-type]
        read[case] = [str(refused.value)]
    bad_input.stands(bad_input.IMPORTS, "A day of the parallel run, CSV", read)
    assert not ParallelRun.objects.exists()


def test_once_only_when_accrued_and_by_operations(cast: Cast) -> None:
    with pytest.raises(access.UnableToAccess):
        compare(cast, of(1), by=cast.dirk)
    Loan.objects.filter(origin__reference="LB-2").update(accrued_at=NOW)
    with pytest.raises(parallel.UnableToCompare, match="the interest of 1 loans is not posted to the end"):
        compare(cast, of(1))
    Loan.objects.filter(origin__reference="LB-2").update(accrued_at=THEN)
    run = compare(cast, of(1, more="3"))
    with pytest.raises(parallel.UnableToCompare, match="was compared with 19 May 2021 already"):
        compare(cast, of(1, more="3"))
    row = run.differences.get()
    for text in ("  ", "x" * 401):
        with pytest.raises(parallel.UnableToCompare, match="say what was found"):
            parallel.note(row, text, by=cast.olga, now=THEN)
    with pytest.raises(access.UnableToAccess):
        parallel.note(row, "mine", by=cast.rhea, now=THEN)
    for change in ("UPDATE lending_parallelrun SET agreeing = 2", "DELETE FROM lending_paralleldifference"):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            connection.cursor().execute(change)


def test_the_page_compares_explains_and_hands_out(cast: Cast, client: Browser) -> None:
    client.force_login(cast.olga)
    given = {"source": "loanbook", "day": "2021-05-19", "tolerance": "0.01", "ltv_tolerance": "0.001"}
    page = client.get(PAGE).content.decode()
    assert 'value="2021-05-21"' in page, "the last day that is over is asked for"
    trying.hold(trying.of_page(client, PAGE))
    bad = client.post(PAGE, {**given, "table": "loan,principal,interest,fees\nLB-1,x,1,1"})
    assert bad.status_code == 422
    for words in ("1 error", "&#x27;x&#x27; is no amount", "LB-1,x,1,1"):
        assert words in bad.content.decode()
    for change, says in (
        ({"tolerance": "-1"}, "greater than or equal to 0"), ({"ltv_tolerance": "2"}, "less than or equal to 1"),
        ({"day": "19.5."}, "Enter a valid date"), ({"source": "x"}, "not one of the available choices"),
        ({"file": SimpleUploadedFile("d.csv", b"\xff")}, "no text in UTF-8"), ({}, "Choose a file"),
    ):  # fmt: skip
        answer = client.post(PAGE, {**given, **change})
        assert (answer.status_code, says in answer.content.decode()) == (422, True), says
    file = SimpleUploadedFile("d.csv", of(1, more="5.25").encode())
    page = client.post(PAGE, {**given, "file": file}, follow=True).content.decode()
    for words in ("1 of 2 agree", "LB-1", "230.25", "225.00", "5.25", "Harbourside Trading"):
        assert words in page
    assert "1 of 2 agree" in client.get("/admin/").content.decode(), "home says it to whoever works it"
    row = ParallelDifference.objects.get()
    page = client.post(f"{PAGE}{row.pk}/note/", {"text": "their rounding"}, follow=True).content.decode()
    assert "their rounding" in page
    assert "say what was found" in client.post(f"{PAGE}{row.pk}/note/", {"text": ""}, follow=True).content.decode()
    answer = client.get(f"{PAGE}?source=loanbook&day=2021-05-19&format=csv")
    assert answer["Content-Type"].startswith("text/csv")
    assert "their rounding" in answer.content.decode()
    client.post(PAGE, {**given, "day": "2021-05-20", "table": of(2)})
    assert "1 day in a row without a difference" in client.get(PAGE).content.decode()
    client.force_login(cast.dirk)
    page = client.get(PAGE).content.decode()
    assert "Compare a day" not in page
    assert client.post(PAGE, {**given, "table": of(1)}).status_code == 403
    assert client.post(f"{PAGE}{row.pk}/note/", {"text": "x"}).status_code == 403
    client.force_login(cast.robin)
    assert client.get(PAGE).status_code == 403
    assert ParallelNote.objects.count() == 1


def test_a_file_is_picked_up_by_the_command(cast: Cast, tmp_path: Path) -> None:
    file, out, err = tmp_path / "day.csv", StringIO(), StringIO()
    said = ("--source", "loanbook", "--day", "2021-05-19", "--by")
    file.write_text("loan,principal,interest,fees\nLB-1,x,0,0")
    bad = tmp_path / "bad.csv"
    bad.write_text(file.read_text())
    file.write_text(of(1))
    read = {}
    for case, who, name in (
        ("a row that is wrong", cast.olga.email, bad), ("somebody whom nobody knows", "nobody@plimsoll.example", file),
        ("somebody not of operations", cast.rhea.email, file), ("a file that is not there", cast.olga.email,
                                                                tmp_path / "none.csv"),
    ):  # fmt: skip
        with pytest.raises(CommandError) as refusal:
            call_command("parallel_run", str(name), *said, who, stderr=err)
        read[case] = [str(refusal.value)]
    for name, text in (("--day", "19.5."), ("--tolerance", "much"), ("--ltv-tolerance", "NaN")):
        with pytest.raises(CommandError) as refusal:
            call_command("parallel_run", str(file), *said, cast.olga.email, name, text)
        read[f"{name} “{text}”"] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "parallel_run", read)
    assert "row 2, principal: 'x' is no amount" in err.getvalue()
    call_command("parallel_run", str(file), *said, cast.olga.email, stdout=out)
    assert "loanbook, 19 May 2021: 2 of 2 agree" in out.getvalue()
