"""Staff work in the admin: an offer, a second person, a refusal in words; and books that nobody can change there."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib import admin
from django.db.models import Model
from django.test import Client as Browser

from lending import approvals, offers
from lending.models import Approval, AuditRecord, Entry, Loan, LoanState, Posting
from otc.models import Fill
from tests import stories
from tests.cast import NOW, Cast

SET_UP = {"lending.BankAccount"}  # typed in as it is by those who set limits; each change stands in the audit trail


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=10), tick=False):
        yield


@pytest.mark.parametrize(("who", "shown"), [("robin", True), ("rhea", False)])
@pytest.mark.parametrize(
    ("table", "words", "way"),
    [("loan", "Offer a loan", "/admin/book/"), ("client", "Take a client on", "/admin/onboarding/new/")],
)
def test_clients_and_loans_are_made_on_the_guided_way_alone(
    cast: Cast, client: Browser, who: str, shown: bool, table: str, words: str, way: str
) -> None:
    client.force_login(getattr(cast, who))
    assert client.get(f"/admin/lending/{table}/add/").status_code == 403
    assert client.post(f"/admin/lending/{table}/add/", {"name": "Drydock", "principal": "1"}).status_code == 403
    page = client.get(f"/admin/lending/{table}/").content.decode()
    assert f"/admin/lending/{table}/add/" not in page
    assert (f'href="{way}">{words}<' in page) == shown


def accepted(cast: Cast, **terms: str) -> Loan:

    return offers.accept(stories.offered(cast, **terms), by=cast.alice, now=NOW)


def press(browser: Browser, loan: Loan, button: str) -> str:
    return browser.post(f"/admin/lending/loan/{loan.pk}/{button}/", follow=True).content.decode()


def test_another_person_approves_and_operations_asks_for_collateral(cast: Cast, client: Browser) -> None:
    loan = accepted(cast)
    client.force_login(cast.rhea)
    assert "Approve" in client.get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    assert "Approved by you" in press(client, loan, "approve")
    client.force_login(cast.olga)
    assert "opens addresses" in press(client, loan, "ask-collateral")
    loan.refresh_from_db()
    assert (loan.state, loan.approved_by) == (LoanState.COLLATERAL_PENDING, cast.rhea)


@pytest.mark.parametrize("who", ["rhea", "olga"])
def test_whoever_approves_or_funds_sees_where_the_money_goes(cast: Cast, client: Browser, who: str) -> None:
    loan = accepted(cast, payout_address="wire:GB29-NWBK")
    client.force_login(getattr(cast, who))
    assert "wire:GB29-NWBK" in client.get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()


@pytest.mark.parametrize(("who", "says"), [("robin", "made this"), ("olga", "does not hold the role")])
def test_who_may_not_approve_reads_why(cast: Cast, client: Browser, who: str, says: str) -> None:
    loan = accepted(cast)
    client.force_login(getattr(cast, who))
    answer = press(client, loan, "approve")
    assert "Refused" in answer
    assert says in answer
    loan.refresh_from_db()
    assert loan.state == LoanState.ACCEPTED


def test_a_button_is_not_pressed_by_a_link(cast: Cast, client: Browser) -> None:
    loan = accepted(cast)
    client.force_login(cast.rhea)
    assert client.get(f"/admin/lending/loan/{loan.pk}/approve/").status_code == 405


@pytest.mark.parametrize(("button", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_a_request_is_decided_by_a_second_person(cast: Cast, client: Browser, button: str, state: str) -> None:
    asked = approvals.request("full_close", {"loan": "x"}, maker=cast.robin, client=cast.harbourside, now=NOW)
    page = f"/admin/lending/approval/{asked.pk}/change/"
    client.force_login(cast.robin)
    assert "Waits for" in client.get(page).content.decode()
    client.force_login(cast.rolf)
    words = client.get(page).content.decode()
    assert "Robin asks to sell all collateral of the account: Harbourside Trading" in words
    assert "Approve" in words
    address = f"/admin/lending/approval/{asked.pk}/{button}/"
    answer = client.post(address, {"reason": "seen the papers"}, follow=True).content.decode()
    assert "by you" in answer
    asked.refresh_from_db()
    assert (asked.state, asked.checker, asked.reason) == (state, cast.rolf, "seen the papers")


def test_a_request_is_not_decided_by_its_maker(cast: Cast, client: Browser) -> None:
    asked = approvals.request("halt", {"asset": "LINK"}, maker=cast.rolf, now=NOW)
    client.force_login(cast.rolf)
    answer = client.post(f"/admin/lending/approval/{asked.pk}/approve/", follow=True).content.decode()
    assert "can not decide it" in answer
    asked.refresh_from_db()
    assert asked.state == Approval.State.REQUESTED


def test_no_table_can_be_changed_past_its_verbs(cast: Cast, rf) -> None:
    """Every registered table but those of the set-up refuses to add, change and delete, to every role."""
    for who in ("robin", "rhea", "rolf", "dana", "dirk", "olga"):
        request = rf.get("/admin/")
        request.user = getattr(cast, who)
        for model, table in admin.site._registry.items():
            if model._meta.app_label not in {"lending", "risk", "otc"} or model._meta.label in SET_UP:
                continue
            assert not table.has_change_permission(request), model
            assert not table.has_delete_permission(request), model
            assert not table.has_add_permission(request), model


def test_every_row_has_a_name_that_a_person_can_read() -> None:
    """No page of a table, and no link from one, calls a row "Settlement object (1)"."""
    ours = {"lending", "risk", "otc"}
    shown = {model for model in admin.site._registry if model._meta.app_label in ours}
    led_to = {field.related_model for model in shown for field in model._meta.fields if field.is_relation}
    assert shown
    assert {model.__name__ for model in shown | led_to if model.__str__ is Model.__str__} == set()


def test_the_books_are_read_and_not_written(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    client.force_login(cast.dirk)
    entry, posting = Entry.objects.first(), Posting.objects.first()
    assert entry is not None
    assert posting is not None
    page = client.get(f"/admin/lending/entry/{entry.pk}/change/").content.decode()
    assert entry.idempotency_key in page
    assert 'name="_save"' not in page
    for address in (f"/admin/lending/entry/{entry.pk}", f"/admin/lending/posting/{posting.pk}"):
        assert client.post(f"{address}/change/", {"kind": "x"}).status_code == 403
        assert client.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
    assert client.post("/admin/lending/posting/add/", {}).status_code == 403


def test_a_line_of_the_days_result_leads_to_its_postings(cast: Cast, client: Browser) -> None:
    loan = stories.running(cast)
    from lending import interest

    interest.accrue_due(now=NOW + timedelta(days=1))
    client.force_login(cast.dirk)
    page = client.get("/admin/pnl/?day=2021-05-19").content.decode()
    assert 'data-line="interest"' in page
    # 600,000 at 10 % ACT/360 from noon to midnight: 600000 x 0.1 / 720 = 83.3333, rounded up
    assert "83.34" in page
    assert "explained" in page
    behind = client.get("/admin/pnl/postings/?day=2021-05-19&line=interest").content.decode()
    assert f"accrual:{loan.public_id}:2021-05-19" in behind
    assert "83.34" in behind


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "2008-12-31", "2021-05-21"])
def test_a_day_out_of_all_time_is_refused_in_words(cast: Cast, client: Browser, day: str) -> None:
    client.force_login(cast.dirk)
    answer = client.get("/admin/pnl/", {"day": day})
    assert answer.status_code == 422
    assert "Choose a day from 2009-01-01 to 2021-05-20." in answer.content.decode()
    assert client.get("/admin/pnl/postings/", {"day": day, "line": "interest"}).status_code == 404


@pytest.mark.parametrize("day", ["2009-01-01", "2021-05-20"])
def test_the_first_and_the_last_day_are_shown(cast: Cast, client: Browser, day: str) -> None:
    client.force_login(cast.dirk)
    assert client.get("/admin/pnl/", {"day": day}).status_code == 200


@pytest.mark.parametrize("day", ["yesterday", "2021-02-30", ""])
def test_a_day_that_is_none_is_refused_in_words(cast: Cast, client: Browser, day: str) -> None:
    client.force_login(cast.dirk)
    answer = client.get("/admin/pnl/", {"day": day})
    assert answer.status_code == 422
    assert "day" in answer.content.decode()


@pytest.mark.parametrize("lookup", ["password__startswith=pbkdf2", "password__gt=a", "role_grants__role=risk"])
def test_a_table_is_not_asked_about_what_it_does_not_offer(cast: Cast, client: Browser, lookup: str) -> None:
    client.force_login(cast.rolf)
    answer = client.get(f"/admin/lending/user/?{lookup}")
    assert answer.status_code in {302, 400}
    assert cast.rhea.email not in answer.content.decode()


@pytest.mark.parametrize(
    "address",
    [
        "lending/posting/?account__kind__exact=custody",
        "lending/loan/?product__id__exact=1",
        "lending/entry/?effective_at__year=2021&effective_at__month=5",
        "lending/user/?is_active__exact=1",
    ],
)
def test_a_filter_that_a_table_offers_can_be_chosen(cast: Cast, client: Browser, address: str) -> None:
    client.force_login(cast.rolf)
    assert client.get(f"/admin/{address}").status_code == 200


def test_basis_points_are_no_percentages(cast: Cast, rf) -> None:
    request = rf.get("/")
    request.user = cast.dana
    (column,) = admin.site._registry[Fill].written(["slippage_bps"], request)
    assert column.short_description == "slippage"
    assert column(Fill(slippage_bps=Decimal("16.3332"))) == '16.3 <abbr class="asset">bps</abbr>'


def test_what_is_kept_as_json_is_shown_without_a_style_of_its_own(cast: Cast, client: Browser) -> None:
    stories.offered(cast)
    record = AuditRecord.objects.filter(action="loan_step").latest("pk")
    client.force_login(cast.rhea)
    page = client.get(f"/admin/lending/auditrecord/{record.pk}/change/").content.decode()
    assert '<pre class="json">{\n  &quot;state&quot;: &quot;quoted&quot;\n}</pre>' in page
    assert 'style="' not in page


def test_yes_and_no_are_words(cast: Cast, client: Browser) -> None:
    stories.offered(cast)
    client.force_login(cast.rhea)
    page = client.get("/admin/lending/marginaccount/").content.decode()
    assert "close_small" not in page
    assert re.search(r"field-frozen[^>]*>\s*no\s*<", page)


def test_an_empty_list_says_what_will_stand_there(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    assert "What is recorded stands here" in client.get("/admin/risk/incident/").content.decode()
    page = client.get("/admin/otc/settlement/?state__exact=failed").content.decode()
    assert "Nothing here with these filters" in page
    assert "Create a new item" not in page
