"""A difference at the custodian: found, on the pages of who works on it, explained, booked by two, and in health."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.conf import LazySettings
from django.test import Client as Browser

from lending import ports, reconciliation, withdrawals
from lending.adapters.paper_custodian import PaperCustodian
from lending.models import Approval, CustodyBreak, Reconciliation, Withdrawal
from tests.cast import NOW, Cast
from tests.factories import lending as make

LATER = NOW + timedelta(minutes=45)


@pytest.fixture(autouse=True)
def _later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def custodian(settings: LazySettings) -> Iterator[PaperCustodian]:
    """Hold everything in this process."""
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_inprocess.build"
    ports.custodian.cache_clear()
    yield make.paper()
    ports.custodian.cache_clear()


@pytest.fixture
def broken(cast: Cast, custodian: PaperCustodian) -> CustodyBreak:
    """Return a break: half a bitcoin has left that nobody asked for."""
    make.give(cast.harbourside, "BTC", "3", now=NOW)
    stolen = {"kind": "withdraw", "id": "thief", "asset": "BTC", "destination": "x", "refused": "", "fates": []}
    custodian.replay({**stolen, "quantity": "0.5", "at": NOW.isoformat()})
    assert reconciliation.reconcile(now=NOW) == 1
    return CustodyBreak.objects.get()


def page(browser: Browser, user: object, path: str) -> str:
    browser.force_login(user)  # type: ignore[arg-type]
    return browser.get(path).content.decode()


def press(browser: Browser, path: str, **typed: str) -> str:
    return browser.post(path, typed, follow=True).content.decode()


def test_a_break_is_worked_from_the_home_page_to_its_end(cast: Cast, client: Browser, broken: CustodyBreak) -> None:
    home = page(client, cast.olga, "/admin/")
    assert "0.5 BTC executed 19 May 12:00:00 at the custodian, which nobody here asked for" in home
    assert "releases and withdrawals" in home
    assert "nobody here asked for" not in page(client, cast.robin, "/admin/")
    client.force_login(cast.olga)
    at = f"/admin/lending/custodybreak/{broken.pk}"
    assert "Nobody works on it" in client.get(f"{at}/change/").content.decode()
    assert "It is yours now" in press(client, f"{at}/take/")
    assert "say how it came about" in press(client, f"{at}/explain/", explanation=" ")
    shown = press(client, f"{at}/explain/", explanation="the custodian was robbed")
    assert "Written down" in shown
    assert "Ask a second person to book the difference" in shown
    assert "waits on the page Approvals" in press(client, f"{at}/book/")
    asked = Approval.objects.get()
    client.force_login(cast.rhea)
    wanted = client.get(f"/admin/lending/approval/{asked.pk}/change/").content.decode()
    assert "take a custody difference on the desk" in wanted
    assert "the custodian was robbed" in wanted
    assert "Approved by you" in press(client, f"/admin/lending/approval/{asked.pk}/approve/")
    closed = client.get(f"{at}/change/").content.decode()
    assert "on the desk&#x27;s books by Olga and Rhea" in closed
    assert "The ledger and the custodian agree" in page(client, cast.olga, "/admin/")


def test_both_books_are_compared_on_demand_by_who_works_on_it(
    cast: Cast, client: Browser, broken: CustodyBreak, custodian: PaperCustodian
) -> None:
    custodian.simulate_opening("found", asset="BTC", quantity=Decimal("0.5"), at=NOW)
    table = page(client, cast.olga, "/admin/lending/custodybreak/")
    assert "1 break open" in table
    assert "45 min" in table
    assert "1 open: see below" in press(client, "/admin/lending/custodybreak/reconcile/")
    kept = Reconciliation.objects.get(asked_by=cast.olga)
    lines = page(client, cast.olga, f"/admin/lending/reconciliation/{kept.pk}/change/")
    assert "Unexplained" in lines or "unexplained" in lines
    assert client.get("/admin/lending/custodybreak/reconcile/").status_code == 405
    # Who only reads finds no button, and is refused without one.
    assert "Compare both books now" not in page(client, cast.dirk, "/admin/lending/custodybreak/")
    assert "Nothing was compared" in press(client, "/admin/lending/custodybreak/reconcile/")
    for outsider in (cast.alice, cast.robin):
        client.force_login(outsider)
        assert client.get(f"/admin/lending/custodybreak/{broken.pk}/change/").status_code in (302, 403, 404)


def test_what_the_desk_does_not_know_is_set_aside_by_two(
    cast: Cast, client: Browser, custodian: PaperCustodian
) -> None:
    custodian.simulate_opening("spam", asset="PEPE", quantity=Decimal(1000), at=NOW - timedelta(hours=1))
    assert reconciliation.reconcile(now=LATER) == 1
    found = CustodyBreak.objects.get()
    at = f"/admin/lending/custodybreak/{found.pk}"
    assert "the desk knows no such asset" in page(client, cast.olga, "/admin/")
    shown = page(client, cast.olga, f"{at}/change/")
    assert "The desk knows no asset PEPE: it stands in nobody's books, and holds nothing back." in shown
    assert '1,000 <abbr class="asset">PEPE</abbr>' in shown
    assert "PEPE" in page(client, cast.olga, "/admin/lending/custodybreak/")
    assert "Ask a second person to set it aside" in press(client, f"{at}/explain/", explanation="spam")
    assert "waits on the page Approvals" in press(client, f"{at}/book/")
    client.force_login(cast.rhea)
    assert "Approved by you" in press(client, f"/admin/lending/approval/{Approval.objects.get().pk}/approve/")
    assert "it was set aside by Olga and Rhea" in page(client, cast.olga, f"{at}/change/")
    assert reconciliation.reconcile(now=LATER) == 0


def test_a_withdrawal_that_is_held_back_says_why(cast: Cast, client: Browser, broken: CustodyBreak) -> None:
    row = withdrawals.request(
        cast.harbourside, make.asset("BTC"), Decimal(1), destination="bc1", purpose="release", maker=cast.olga,
        checker=cast.rhea, book=make.BookFactory(), key="w1", now=NOW,
    )  # fmt: skip
    withdrawals.send_due(now=LATER)
    row.refresh_from_db()
    assert row.state == Withdrawal.State.REQUESTED
    shown = page(client, cast.olga, f"/admin/lending/withdrawal/{row.pk}/change/")
    assert "Held back." in shown
    assert "nothing of it leaves until that is explained" in shown


def test_health_says_how_many_breaks_are_open_and_how_old(client: Browser, broken: CustodyBreak) -> None:
    told = client.get("/healthz").json()
    assert (told["custody_breaks"], told["oldest_custody_break_s"], told["reconciled_age_s"]) == (1, 2700.0, 2700.0)
