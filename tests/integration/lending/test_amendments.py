"""Amendments: proposed, approved by a second person, signed by the client; nothing else changes a loan that runs."""

import datetime as dt
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import DatabaseError, connection, transaction

from lending import access, amendments, dunning, interest, outbox, repayments, schedules, term_sheets
from lending.debts import owed_over
from lending.engine.interest import Step, cumulative, round_up
from lending.models import (
    AMENDMENT_TRANSITIONS,
    Amendment,
    AuditRecord,
    Loan,
    LoanState,
    Notice,
    Obligation,
    RateStep,
    Role,
    ScheduleRow,
    TermSheet,
)
from lending.other_terms import UnableToAmend, Wanted
from tests import stories
from tests.cast import Cast
from tests.factories import lending as make
from tests.factories import takeovers

pytestmark = pytest.mark.django_db
FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NOW = FUNDED + 10 * DAY + dt.timedelta(hours=7, minutes=11, seconds=13)
D = Decimal
CHEAPER = Wanted(annual_rate=D("0.06"))
LATER = Wanted(maturity_date=dt.date(2021, 8, 18))


class People:
    """Who acts for one loan."""

    def __init__(self, loan: Loan) -> None:
        self.manager = loan.client.relationship_manager
        self.second = make.staff("rhea", Role.RISK)
        self.signer = loan.accepted_by


@pytest.fixture
def loan() -> Loan:
    found = make.active_loan(now=FUNDED, days=61, principal="360000", annual_rate="0.09")
    return Loan.objects.select_related("client__relationship_manager", "accepted_by", "asset").get(pk=found.pk)


@pytest.fixture
def people(loan: Loan) -> People:
    return People(loan)


def proposed(loan: Loan, wanted: Wanted = CHEAPER, *, now: dt.datetime = NOW, **given: Any) -> Amendment:
    usual = {"reason": "a better rate for a good client", "expires_at": now + DAY}
    maker = loan.client.relationship_manager
    return amendments.propose(loan, wanted, maker=maker, now=now, **{**usual, **given})


def approved(loan: Loan, wanted: Wanted = CHEAPER, *, now: dt.datetime = NOW, **given: Any) -> Amendment:
    row = proposed(loan, wanted, now=now, **given)
    return amendments.approve(row, by=make.staff("rhea", Role.RISK), now=now)


def agreed(loan: Loan, wanted: Wanted = CHEAPER, *, now: dt.datetime = NOW, **given: Any) -> Amendment:
    row = approved(loan, wanted, now=now, **given)
    signer = loan.accepted_by
    assert signer is not None
    return amendments.sign(row, by=signer, read=row.sheet.fingerprint, now=now)


def test_a_cheaper_rate_counts_from_the_signature_to_the_second(loan: Loan) -> None:
    row = agreed(loan)
    assert (row.state, row.in_force_at) == (Amendment.State.IN_FORCE, NOW)
    loan.refresh_from_db()
    assert (loan.annual_rate, loan.default_rate, loan.state) == (D("0.06"), D("0.14"), LoanState.ACTIVE)
    at = FUNDED + 33 * DAY
    interest.accrue_due(now=at)
    loan.refresh_from_db()
    rates = [Step(FUNDED, D("0.09")), Step(NOW, D("0.06"))]
    earned = round_up(cumulative("ACT/360", [Step(FUNDED, D(360_000))], rates, at), 2)
    assert loan.interest_posted == loan.interest_due == earned
    assert owed_over([loan], [FUNDED + 5 * DAY])[loan.pk] == [D(360_000) + 5 * 90]
    # What is asked for at the end is what the books will have.
    rows = ScheduleRow.objects.filter(loan=loan, version=2)
    whole = round_up(cumulative("ACT/360", [Step(FUNDED, D(360_000))], rates, FUNDED + 61 * DAY), 2)
    assert [(row.principal, row.interest) for row in rows] == [(D(360_000), whole)]
    assert schedules.of_loan(loan, now=NOW).total == D(360_000) + whole
    assert list(Obligation.objects.order_by("pk").values_list("state", flat=True)) == ["replaced", "expected"]


def test_a_rate_may_count_from_a_later_midnight(loan: Loan) -> None:
    from_at = FUNDED + 12 * DAY
    row = agreed(loan, Wanted(annual_rate=D("0.12"), default_rate=D("0.2"), from_at=from_at))
    loan.refresh_from_db()
    assert (row.state, loan.annual_rate) == (Amendment.State.AGREED, D("0.09"))
    with pytest.raises(UnableToAmend, match="another amendment of this loan is open"):
        proposed(loan, CHEAPER)
    # The books are right whether or not anybody has looked at the amendment since.
    at = FUNDED + 14 * DAY
    interest.accrue_due(now=at)
    assert amendments.work_due(now=at) == 1
    assert amendments.work_due(now=at) == 0
    interest.accrue_due(now=FUNDED + 15 * DAY)
    loan.refresh_from_db()
    row.refresh_from_db()
    assert (row.state, loan.annual_rate, loan.default_rate) == (Amendment.State.IN_FORCE, D("0.12"), D("0.2"))
    assert loan.interest_posted == 12 * 90 + 3 * 120
    assert [step.at for step in RateStep.objects.order_by("at")] == [FUNDED, from_at]


def test_an_extension_moves_the_maturity_the_obligation_and_the_default(loan: Loan) -> None:
    agreed(loan, LATER)
    loan.refresh_from_db()
    assert loan.maturity_date == dt.date(2021, 8, 18)
    assert interest.default_at(loan) == dt.datetime(2021, 8, 19, tzinfo=dt.UTC)
    open_row = Obligation.objects.get(state="expected")
    assert (open_row.due_date, open_row.interest) == (dt.date(2021, 8, 18), 91 * 90)
    dunning.work_due(now=dt.datetime(2021, 7, 25, tzinfo=dt.UTC))
    loan.refresh_from_db()
    assert loan.state == LoanState.ACTIVE


def test_a_loan_that_is_due_is_extended_before_its_default_and_not_after(loan: Loan) -> None:
    due = FUNDED + 61 * DAY
    dunning.work_due(now=due)
    loan.refresh_from_db()
    assert loan.state == LoanState.MATURED
    row = agreed(loan, LATER, now=due + dt.timedelta(hours=3))
    loan.refresh_from_db()
    assert (loan.state, row.state) == (LoanState.ACTIVE, Amendment.State.IN_FORCE)
    assert loan.events.order_by("-pk")[0].cause == "amended by version 2 of its term sheet"
    late = approved(
        loan, Wanted(maturity_date=dt.date(2021, 9, 1)), now=FUNDED + 90 * DAY, expires_at=FUNDED + 99 * DAY
    )
    dunning.work_due(now=FUNDED + 92 * DAY)
    loan.refresh_from_db()
    assert loan.state == LoanState.DEFAULTED
    with pytest.raises(UnableToAmend, match="is defaulted: only a loan that runs can be amended"):
        amendments.sign(late, by=loan.accepted_by, read=None, now=FUNDED + 92 * DAY)
    assert amendments.work_due(now=FUNDED + 92 * DAY) == 1
    late.refresh_from_db()
    assert (late.state, late.end_reason) == (Amendment.State.EXPIRED, "the loan does not run any more")


def test_instalments_are_spread_anew_and_what_is_due_is_paid_first() -> None:
    product = make.ProductFactory(code="parts", schedule_kind="equal_principal")
    loan = make.active_loan(now=FUNDED, days=92, principal="300000", annual_rate="0.12", product=product)
    loan = Loan.objects.select_related("client__relationship_manager", "accepted_by", "asset").get(pk=loan.pk)
    due = dt.datetime(2021, 6, 19, tzinfo=dt.UTC)
    for at in (due - 5 * DAY, due):
        interest.accrue_due(now=at)
        dunning.work_due(now=at)
    row = approved(loan, Wanted(maturity_date=dt.date(2021, 10, 19)), now=due)
    with pytest.raises(UnableToAmend, match="instalment due 2021-06-19 has not been paid: what is due is paid first"):
        amendments.sign(row, by=loan.accepted_by, read=None, now=due)
    repayments.record(loan, D(103_100), key="first", received_at=due, now=due)
    amendments.sign(row, by=loan.accepted_by, read=None, now=due + DAY / 2)
    rows = ScheduleRow.objects.filter(loan=loan, version=2).order_by("number")
    assert [(row.due_date.month, row.principal, row.interest) for row in rows] == [
        (7, D(50_000), D(2000)), (8, D(50_000), D(1550)), (9, D(50_000), D("1033.34")), (10, D(50_000), D("500.00")),
    ]  # fmt: skip
    states = Obligation.objects.filter(loan=loan).order_by("pk").values_list("state", flat=True)
    assert list(states) == ["met", "replaced", "replaced", "expected", "expected", "expected", "expected"]


def test_pay_days_that_were_agreed_elsewhere_stay_when_only_the_rate_changes(cast: Cast) -> None:
    stories.product()
    make.asset("BTC")
    row = {**takeovers.LOAN, "schedule_kind": "interest_only", "next_due_date": "2021-05-24"}
    takeovers.taken_over(cast, *takeovers.files([row]))
    loan = Loan.objects.select_related("client__relationship_manager", "asset").get()
    proposed(loan, now=FUNDED + DAY)
    amendment = amendments.approve(Amendment.objects.get(), by=cast.rhea, now=FUNDED + DAY)
    amendments.sign(amendment, by=cast.alice, read=amendment.sheet.fingerprint, now=FUNDED + DAY)
    first, again = (
        list(ScheduleRow.objects.filter(loan=loan, version=version).values_list("due_date", flat=True))
        for version in (1, 2)
    )
    assert [f"{day:%m-%d}" for day in first] == ["05-24", "06-24", "07-24", "08-19"]
    assert again == first


def test_a_rate_of_what_has_no_fixed_end_changes_and_its_periods_go_on() -> None:
    product = make.ProductFactory(code="open", schedule_kind="interest_only", tenor="open", notice_days=3)
    made = make.active_loan(now=FUNDED, days=None, principal="360000", annual_rate="0.09", product=product)
    loan = Loan.objects.select_related("client__relationship_manager", "accepted_by", "asset").get(pk=made.pk)
    with pytest.raises(UnableToAmend, match="it has no maturity: either side ends it with 3 business days' notice"):
        proposed(loan, LATER)
    noon = FUNDED + 15 * DAY + DAY / 2
    row = agreed(loan, now=noon)
    assert term_sheets.schedule_of(term_sheets.of(row.sheet)).rows[0].interest == D("2325.00")  # 15.5 * 90 + 15.5 * 60
    due = dt.datetime(2021, 6, 19, tzinfo=dt.UTC)
    for at in (due - 5 * DAY, due):
        interest.accrue_due(now=at)
        dunning.work_due(now=at)
    assert Obligation.objects.get(loan=loan, due_date=due.date()).amount == D("2325.00")


BAD: list[tuple[Wanted, dict[str, Any], str]] = [
    (Wanted(), {}, "nothing would change"),
    (Wanted(annual_rate=D("0.09")), {}, "nothing would change"),
    (Wanted(annual_rate=D("8.5")), {}, "8.5 is not an annual rate; 8.5 % is 0.085"),
    (Wanted(annual_rate=D("-0.01")), {}, "is not an annual rate"),
    (Wanted(annual_rate=D("0.2")), {}, "a default rate of 0.14 is below the annual rate"),
    (Wanted(annual_rate=D("0.0600000000001")), {}, "annual_rate is a figure of at most 12 decimals"),
    (Wanted(maturity_date=dt.date(2021, 5, 29)), {}, "can not mature on 29 May 2021, that is not after today"),
    (CHEAPER, {"reason": "  "}, "say why"),
    (CHEAPER, {"reason": "x" * 401}, "401 characters, and 400 are kept"),
    (CHEAPER, {"expires_at": NOW}, "can not be signed in the past"),
    (Wanted(annual_rate=D("0.06"), from_at=NOW - DAY), {}, "rates never count back"),
    (Wanted(annual_rate=D("0.06"), from_at=NOW + DAY / 2), {}, "rates never count back"),
    (Wanted(annual_rate=D("0.06"), from_at=FUNDED + 61 * DAY), {}, "would change nothing"),
    (Wanted(annual_rate=D("0.06"), maturity_date=dt.date(2021, 8, 18), from_at=NOW + 2 * DAY), {}, "for rates alone"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "given", "words"), BAD, ids=[words for _, _, words in BAD])
def test_what_is_no_amendment_is_refused_in_words(
    loan: Loan, wanted: Wanted, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnableToAmend, match=words):
        proposed(loan, wanted, **given)
    assert TermSheet.objects.filter(loan=loan).count() == 1


def test_each_step_is_for_whom_it_is_for(loan: Loan, people: People) -> None:
    stranger = make.borrower("mallory", make.ClientFactory(name="Another"))
    for somebody in (people.second, people.signer, stranger):
        with pytest.raises(access.UnableToAccess):
            amendments.propose(loan, CHEAPER, reason="x", expires_at=NOW + DAY, maker=somebody, now=NOW)
    row = proposed(loan)
    with pytest.raises(UnableToAmend, match="still waits for a second person"):
        amendments.sign(row, by=people.signer, read=None, now=NOW)
    for somebody in (people.manager, people.signer, make.staff("olga", Role.OPERATIONS)):
        with pytest.raises(access.UnableToAccess):
            amendments.approve(row, by=somebody, now=NOW)
    amendments.approve(row, by=people.second, now=NOW)
    viewer = make.borrower("bob", loan.client, Role.BORROWER_VIEWER)
    for somebody in (viewer, stranger, people.manager):
        for act in (amendments.sign, amendments.decline):
            extra: dict[str, Any] = {"read": None} if act is amendments.sign else {"reason": ""}
            with pytest.raises(access.UnableToAccess):
                act(row, by=somebody, now=NOW, **extra)  # type: ignore[operator]
    with pytest.raises(UnableToAmend, match="no longer those that you read"):
        amendments.sign(row, by=people.signer, read="00", now=NOW)
    with pytest.raises(UnableToAmend, match="its time was over"):
        amendments.sign(row, by=people.signer, read=None, now=NOW + DAY)
    loan.refresh_from_db()
    assert loan.annual_rate == D("0.09")


def test_declined_withdrawn_rejected_and_expired_change_nothing_and_are_told(loan: Loan, people: People) -> None:
    ways: dict[str, Any] = {
        "declined": lambda: amendments.decline(approved(loan), by=people.signer, reason="too dear", now=NOW),
        "withdrawn": lambda: amendments.withdraw(approved(loan), by=people.manager, reason="a slip", now=NOW),
        "rejected": lambda: amendments.reject(proposed(loan), by=people.second, reason="no", now=NOW),
        "expired": lambda: approved(loan) and amendments.work_due(now=NOW + DAY),
    }
    for version, (state, go) in enumerate(ways.items(), 2):
        go()
        row = Amendment.objects.get(sheet__version=version)
        assert (row.state, row.loan_id) == (state, loan.pk)
    loan.refresh_from_db()
    assert (loan.annual_rate, RateStep.objects.count(), ScheduleRow.objects.filter(version=2).count()) == (
        D("0.09"),
        0,
        0,
    )
    assert getattr(term_sheets.newest(loan), "version", None) == 1
    subjects = list(Notice.objects.filter(kind="amendment").order_by("pk").values_list("subject", flat=True))
    waits, over = "A change of your loan waits for you", ("A change of your loan was withdrawn", "has lapsed")
    assert subjects == [waits, waits, over[0], waits, f"A change of your loan {over[1]}"]
    body = Notice.objects.filter(kind="amendment")[0].body
    assert "Interest a year: 9 % becomes 6 %." in body
    outbox.deliver_due(now=NOW + DAY)
    told = {letter.body.split(": ", 1)[1].strip() for letter in mail.outbox if "term sheet" in letter.subject}
    assert told == {
        f"{people.signer} declined it: too dear.", "Rhea rejected it: no.", "it has lapsed: nobody signed it in time.",
    }  # fmt: skip
    assert AuditRecord.objects.filter(action="amendment_step").count() == 4 + 3 + 4


# --- the database -----------------------------------------------------------------------------------------------------


def refused(sql: str, *parameters: Any) -> str:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
    return str(caught.value)


def test_the_database_lets_nothing_else_change_a_loan_that_runs(loan: Loan) -> None:
    row = proposed(loan)
    amended = "change by an amendment that both sides agreed on"
    update = "UPDATE lending_loan SET {} WHERE id = %s"
    for change in ("annual_rate = 0.06", "default_rate = 0.5", "maturity_date = '2022-01-01'"):
        assert any(word in refused(update.format(change), loan.pk) for word in (amended, "runs by its term sheet"))
    other = make.LadderTermsFactory(name="another")
    sql = "UPDATE lending_marginaccount SET terms_id = %s WHERE id = %s"
    assert "the ladder of a loan that runs changes" in refused(sql, other.pk, loan.margin_account_id)
    step = "INSERT INTO lending_ratestep (client_id, loan_id, at, annual_rate, default_rate, amendment_id)"
    values = " VALUES (%s, %s, %s, 0.06, 0.14, %s)"
    assert "rates change from now on" in refused(step + values, loan.client_id, loan.pk, NOW, row.pk)
    assert "rates change from now on" in refused(step + values, loan.client_id, loan.pk, FUNDED, None)
    accept = "INSERT INTO lending_termsheetacceptance (client_id, sheet_id, content_hash, signer_id, accepted_at)"
    accept += " SELECT client_id, id, content_hash, %s, %s FROM lending_termsheet WHERE id = %s"
    assert "once a second person of the desk approved" in refused(accept, loan.accepted_by_id, NOW, row.sheet_id)


def test_the_database_keeps_what_was_proposed_and_its_people_apart(loan: Loan) -> None:
    row = proposed(loan)
    maker = row.maker_id
    update = "UPDATE lending_amendment SET {} WHERE id = %s"
    assert "amendment_maker_is_not_checker" in refused(update.format(f"checker_id = {maker}"), row.pk)
    assert "amendment_approved_by_a_checker" in refused(update.format("state = 'approved'"), row.pk)
    for column in ("reason = 'x'", "expires_at = now()", "sheet_id = sheet_id + 1"):
        assert "denied" in refused(update.format(column), row.pk)
    assert "denied" in refused("DELETE FROM lending_amendment WHERE id = %s", row.pk)
    # Another version, as the verbs would draw it, is no second amendment while the first is open.
    sheet = row.sheet
    sheet.pk, sheet.version = None, 3
    sheet.save(force_insert=True)
    row.pk, row.public_id, row.sheet = None, uuid4(), sheet
    with pytest.raises(DatabaseError, match="one_open_amendment"), transaction.atomic():
        row.save(force_insert=True)


def test_declared_and_guarded_steps_are_the_same(loan: Loan, people: People) -> None:
    ways = {"proposed": (), "approved": ("approved",), "rejected": ("rejected",), "withdrawn": ("withdrawn",)}
    ways |= {"expired": ("expired",), "declined": ("approved", "declined")}
    row = proposed(loan)
    facts = {"checker": people.second, "checked_at": NOW}
    for before, way in ways.items():
        for after in Amendment.State.values:
            if after in (before, "agreed", "in_force"):
                continue
            with transaction.atomic():
                for step in way:
                    Amendment.objects.filter(pk=row.pk).update(state=step, **facts)
                try:
                    with transaction.atomic():
                        Amendment.objects.filter(pk=row.pk).update(state=after, **facts)
                    went = True
                except DatabaseError:
                    went = False
                assert went is ((before, after) in AMENDMENT_TRANSITIONS), (before, after)
                transaction.set_rollback(True)
    assert {pair for pair in permutations(Amendment.State.values, 2) if "agreed" in pair} & set(
        AMENDMENT_TRANSITIONS
    ) == {("approved", "agreed"), ("agreed", "in_force")}
