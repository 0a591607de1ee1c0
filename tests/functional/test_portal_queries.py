"""The borrower's pages ask the database at most twelve times, however many loans there are."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending.models import Client, ClientUser, Role
from risk.models import MarginCall
from tests import stories
from tests.cast import NOW, Cast

MOST = 12


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


def pages(call: MarginCall) -> list[str]:
    loan = call.margin_account.loans.get()
    return [
        "/portal/",
        "/portal/notices/",
        "/portal/statements/",
        f"/portal/loans/{loan.public_id}/",
        f"/portal/loans/{loan.public_id}/?move=-20&repaid=1000",
        f"/portal/loans/{loan.public_id}/activity/",
        f"/portal/loans/{loan.public_id}/payments/",
        f"/portal/loans/{loan.public_id}/history/",
        f"/portal/loans/{loan.public_id}/what-if/?move=-20",
        f"/portal/calls/{call.public_id}/",
        f"/portal/calls/{call.public_id}/transfers/",
        f"/portal/calls/{call.public_id}/transfers/?ref=tx-1",
    ]


def asked(client: Browser, call: MarginCall) -> dict[str, int]:
    found = {}
    for address in pages(call):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(address).status_code == 200
        found[address] = len(queries)
    return found


def test_pages_ask_little_and_not_more_for_more_loans(cast: Cast, client: Browser) -> None:
    for _ in range(2):
        stories.running(cast)
    stories.fall()
    call = MarginCall.objects.order_by("pk")[0]
    stories.transfer_seen(call.margin_account)
    client.force_login(cast.alice)
    few = asked(client, call)
    assert {address: count for address, count in few.items() if count > MOST} == {}
    for _ in range(5):
        stories.running(cast)
    stories.fall_again()
    assert MarginCall.objects.count() == 7
    assert asked(client, call) == few


def test_home_asks_no_more_for_more_clients(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    stories.fall()
    client.force_login(cast.alice)
    with CaptureQueriesContext(connection) as one:
        client.get("/portal/")
    ClientUser.objects.create(client=cast.quayside, user=cast.alice, role=Role.BORROWER_ADMIN, created_at=NOW)
    idle = Client.objects.create(
        name="Breakwater",
        kind=Client.Kind.ENTITY,
        jurisdiction="GB",
        time_zone="Europe/London",
        relationship_manager=cast.robin,
        created_at=NOW,
    )
    ClientUser.objects.create(client=idle, user=cast.alice, role=Role.BORROWER_VIEWER, created_at=NOW)
    stories.running(cast, cast.quayside, signer=cast.charlie)
    stories.fall_again()
    with CaptureQueriesContext(connection) as three:
        page = client.get("/portal/").content.decode()
    assert len(three) == len(one) <= MOST
    parts = dict(
        zip(("Breakwater", "Harbourside Trading", "Quayside Holdings"), page.split("<section")[1:], strict=True)
    )
    for name, part in parts.items():
        assert name in part
    calls = {call.client.name: str(call.public_id) for call in MarginCall.objects.select_related("client")}
    assert calls.keys() == {"Harbourside Trading", "Quayside Holdings"}
    for name, address in calls.items():
        assert [own for own, part in parts.items() if f"/portal/calls/{address}/" in part] == [name]
    assert "Nothing at risk" in parts["Breakwater"]
    assert "No loans yet" in parts["Breakwater"]
    for part in (parts["Harbourside Trading"], parts["Quayside Holdings"]):
        assert part.count("/portal/notices/#") in range(1, 6)
