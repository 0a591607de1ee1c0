"""A wire was never recorded, another was none: operations ask, a second person sees what changes, the trail says so."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from lending import approvals, corrections, dunning, interest, repayments
from lending.models import Approval, Correction, Entry, Loan, LoanState, Repayment, ScheduleKind, User
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import ProductFactory

DAY = timedelta(days=1)
LATER = NOW + 5 * DAY
PAYMENT = {"amount": "100000", "received_at": "2021-05-20T12:00", "reason": "bank statement of 20 May"}


@pytest.fixture(autouse=True)
def _five_days_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def read(user: User, address: str) -> str:
    """Return the words of a page."""
    page = unescape(strip_tags(signed_in(user).get(address).content.decode()))
    return " ".join(page.replace("\xa0", " ").split())


def paying(cast: Cast) -> Loan:
    """Return a loan of 600,000 on which 50,000 were paid after two days, interest posted until the fifth."""
    loan = stories.running(cast)
    stories.deposited(loan.client, "USD", Decimal(500_000))
    repayments.record(loan, Decimal(50_000), key="wire:1", received_at=NOW + 2 * DAY, now=NOW + 2 * DAY)
    interest.accrue_due(now=LATER)
    return Loan.objects.get(pk=loan.pk)


def ask(cast: Cast, loan: Loan, **changes: str) -> Approval:
    answer = signed_in(cast.olga).post(f"/admin/corrections/{loan.pk}/add/", PAYMENT | changes, follow=True)
    assert "Asked: it waits" in answer.content.decode()
    return Approval.objects.latest("pk")


def decide(user: User, asked: Approval) -> str:
    address = f"/admin/lending/approval/{asked.pk}/approve/"
    return signed_in(user).post(address, {"reason": "seen"}, follow=True).content.decode()


def test_a_wire_that_nobody_recorded(cast: Cast) -> None:
    loan = paying(cast)
    asked = ask(cast, loan)
    page = read(cast.rhea, f"/admin/lending/approval/{asked.pk}/change/")
    assert "What it would change" in page
    assert "The new one, 100,000.00 USD" in page
    # The wire pays a day's 166.67; the payment a day later 138.94 instead of 333.34.
    assert "166.67" in page
    assert "49,666.66" in page
    assert "49,861.06" in page
    assert "Approved by you" in decide(cast.rhea, asked)
    row = Correction.objects.get()
    assert (row.maker, row.checker) == (cast.olga, cast.rhea)
    loan.refresh_from_db()
    assert loan.principal_outstanding == Decimal(600_000) - Decimal("99833.33") - Decimal("49861.06")
    for user in (cast.olga, cast.robin):
        story = read(user, f"/admin/lending/loan/{loan.pk}/story/")
        assert "earlier payment of 100,000.00 USD as of 20 May 2021 12:00:00 UTC, bank statement of 20 May" in story
        assert "principal 49,861.06 USD" in story
        made = read(user, f"/admin/corrections/{loan.pk}/")
        assert "recorded late: bank statement of 20 May" in made
        assert "Olga and Rhea" in made
    assert "Earlier payment recorded" in read(cast.alice, f"/portal/loans/{loan.public_id}/activity/")
    assert read(cast.rolf, f"/admin/lending/correction/{row.pk}/change/")
    assert "earlier payment" in read(cast.rolf, "/admin/lending/correction/")


def test_a_wire_that_came_back_opens_the_loan_again(cast: Cast) -> None:
    loan = paying(cast)
    stories.deposited(loan.client, "USD", Decimal(200_000))
    payoff = interest.payoff(loan, now=LATER).total
    repayments.record(loan, payoff, key="wire:2", received_at=LATER, now=LATER)
    assert Loan.objects.get(pk=loan.pk).state == LoanState.REPAID
    first = Repayment.objects.get(key="wire:1")
    wanted = {"payment": str(first.pk), "cause": "wrong", "reason": "Quayside's wire"}
    answer = signed_in(cast.robin).post(f"/admin/corrections/{loan.pk}/take-back/", wanted, follow=True)
    assert "Asked: it waits" in answer.content.decode()
    asked = Approval.objects.latest("pk")
    assert "50,000.00 USD" in read(cast.rolf, f"/admin/lending/approval/{asked.pk}/change/")
    assert "Approved by you" in decide(cast.rolf, asked)
    loan.refresh_from_db()
    assert loan.state == LoanState.ACTIVE
    story = read(cast.olga, f"/admin/lending/loan/{loan.pk}/story/")
    assert "taken back" in story
    assert "payment taken back of 50,000.00 USD" in story
    assert "Payment taken back" in read(cast.alice, f"/portal/loans/{loan.public_id}/activity/")


def test_what_a_payment_had_met_is_asked_for_again(cast: Cast) -> None:
    """Interest that was due on 19 June was paid by a wire that was another client's."""
    ProductFactory(code="term-usd", schedule_kind=ScheduleKind.INTEREST_ONLY, grace_days=3)
    loan = stories.running(cast)
    stories.deposited(loan.client, "USD", Decimal(500_000))
    announced = NOW.replace(month=6, day=14)
    dunning.work_due(now=announced)
    first = loan.obligations.order_by("due_at")[0]
    wire = repayments.record(loan, first.asks, key="wire:1", received_at=announced, now=announced)
    june = NOW.replace(month=6, day=25)
    with time_machine.travel(june, tick=False):
        wanted = {"payment": str(wire.pk), "cause": "wrong", "reason": "Quayside's wire"}
        signed_in(cast.olga).post(f"/admin/corrections/{loan.pk}/take-back/", wanted)
        asked = Approval.objects.latest("pk")
        page = read(cast.rhea, f"/admin/lending/approval/{asked.pk}/change/")
        assert "The client is asked again for what this payment had met, and told so" in page
        assert f"{first.asks:,.2f} USD, interest due on 19 Jun 2021; its grace runs again from the approval" in page
        assert "Approved by you" in decide(cast.rhea, asked)
        mine = read(cast.alice, f"/portal/loans/{loan.public_id}/payments/")
        # The client has its grace again, and reads the same instant on the loan's page and in the letter.
        assert "late in default from 29 Jun 2021 00:00:00 UTC" in mine
        told = read(cast.alice, "/portal/notices/")
        assert f"Open again: {first.asks:,.2f} USD, interest due on 19 Jun 2021. Not paid by 29 Jun 2021" in told


@pytest.mark.parametrize(
    ("route", "wanted", "says"),
    [
        ("add", {**PAYMENT, "amount": ""}, "Amount: This field is required"),
        ("add", {**PAYMENT, "amount": "many"}, "Amount: Enter a number"),
        ("add", {**PAYMENT, "amount": "-5"}, "-5 USD is not an amount above zero"),
        ("add", {**PAYMENT, "amount": "1e9"}, "free, not 1000000000"),
        ("add", {**PAYMENT, "received_at": "yesterday"}, "Received at: Enter a valid date/time"),
        ("add", {**PAYMENT, "received_at": "2031-05-20T12:00"}, "can not have arrived in the future"),
        ("add", {**PAYMENT, "received_at": "2020-05-20T12:00"}, "before the loan was funded"),
        ("add", {**PAYMENT, "reason": " "}, "say how it is known"),
        ("take-back", {"payment": "", "cause": "wrong", "reason": "x"}, "choose one of the loan&#x27;s payments"),
        ("take-back", {"payment": "x", "cause": "wrong", "reason": "x"}, "choose one of the loan&#x27;s payments"),
        ("take-back", {"payment": "{pk}", "cause": "mood", "reason": "x"}, "say whether it was booked wrongly"),
        ("take-back", {"payment": "{pk}", "cause": "wrong", "reason": ""}, "say how it is known"),
        ("take-back", {"payment": "{pk}", "cause": "bounced", "reason": "x"}, "paid out of the free balance"),
    ],
)
def test_bad_input_is_refused_in_words_and_nothing_typed_is_lost(
    cast: Cast, route: str, wanted: dict[str, str], says: str
) -> None:
    loan = paying(cast)
    sent = {name: value.format(pk=loan.repayments.get().pk) for name, value in wanted.items()}
    answer = signed_in(cast.olga).post(f"/admin/corrections/{loan.pk}/{route}/", sent)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert says in page
    if sent["reason"].strip():
        assert f'value="{sent["reason"]}"' in page
    assert not Approval.objects.exists()


def test_outsiders_see_and_change_nothing(cast: Cast) -> None:
    loan = paying(cast)
    other = stories.offered(cast, cast.quayside)
    asked = ask(cast, loan)
    # A manager of other clients, a trader and a borrower.
    stranger = cast.quayside.relationship_manager
    for user, status in ((stranger, 404), (cast.dana, 403), (cast.alice, 302)):
        browser = signed_in(user)
        assert browser.get(f"/admin/corrections/{loan.pk}/").status_code == status
        assert browser.post(f"/admin/corrections/{loan.pk}/add/", PAYMENT).status_code == status
    assert read(stranger, f"/admin/corrections/{other.pk}/")
    assert "What it would change" not in read(stranger, f"/admin/lending/approval/{asked.pk}/change/")
    # Risk reads it and has no form.
    page = read(cast.rhea, f"/admin/corrections/{loan.pk}/")
    assert "Payments as they stand" in page
    assert "Ask a second person" not in page
    assert Approval.objects.count() == 1


def test_the_pages_of_a_corrected_loan_hold_their_queries(cast: Cast) -> None:
    loan = paying(cast)
    decide(cast.rhea, ask(cast, loan))
    for user in (cast.olga, cast.rolf, cast.dirk, cast.robin):
        browser = signed_in(user)
        for part in ("story", "payments", "change"):
            with CaptureQueriesContext(connection) as asked:
                assert browser.get(f"/admin/lending/loan/{loan.pk}/{part}/").status_code == 200
            assert len(asked) <= 12, (user, part, [query["sql"][:160] for query in asked])


def test_the_page_of_a_request_that_names_a_loan_holds_its_queries(cast: Cast) -> None:
    loan = paying(cast)
    wire = loan.repayments.get()
    brought = Entry.objects.filter(idempotency_key__startswith="deposit:test:").latest("pk").idempotency_key
    key = brought.replace("deposit:", "repayment:", 1)
    bounced = repayments.record(loan, Decimal(1_000), key=key, received_at=LATER, now=LATER)
    browser = signed_in(cast.rhea)
    browser.get("/admin/lending/approval/")  # which kinds of rows there are is read once per process
    for request, says in (
        (ask(cast, loan), "What it would change"),
        (corrections.ask_reversal(wire, cause="wrong", reason="x", maker=cast.olga, now=LATER), "What it would change"),
        (
            corrections.ask_reversal(bounced, cause="bounced", reason="x", maker=cast.olga, now=LATER),
            "What it would change",
        ),
        (
            approvals.request(
                "recall_loan", {"loan": str(loan.public_id)}, maker=cast.olga, client=loan.client, now=LATER
            ),
            "where it stands now",
        ),
    ):
        with CaptureQueriesContext(connection) as asked:
            page = browser.get(f"/admin/lending/approval/{request.pk}/change/").content.decode()
        assert says in page
        assert len(asked) <= 12, (request.kind, [query["sql"][:160] for query in asked])
