"""
Every door, every role, own things and others': who may pass stands in one table, and an outsider sees nothing.
"""

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib import admin
from django.db import connection
from django.test import AsyncClient
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver

from lending import amendments
from lending.models import Amendment, Loan, LoanState, Repayment
from lending.other_terms import Wanted
from risk.models import Incident, MarginCall
from tests import stories
from tests.cast import NOW, Cast, assemble
from tests.functional.who_may import PAGES, PRESS, READ, SIGNS, TABLES, WHO, WRITE

STAFF = ("robin", "olga", "rhea", "rolf", "dana", "dirk")
DEMO = {
    f"demo/{name}"
    for name in (
        "",
        "strip/",
        "letters/",
        "now/",
        "hide/",
        "speed/",
        "jump/",
        "venue/",
        "kill/",
        "send/{x}/",
        "pledge/{x}/",
    )
}
FIRST, PAPER = "sign-in/first/<uidb64>/<token>/", "portal/loans/{x}/term-sheet/<int:version>/"
ELSEWHERE = {
    "sign-out/",
    "hooks/custodian/",
    FIRST,
    PAPER,
    "admin/funding/<int:pk>/",
    "portal/loans/{x}/line/<uuid:draw>/sign/",
    "portal/signatures/{x}/sign/",
    "portal/signatures/{x}/withdraw/",
} | DEMO  # told in tests of their own


@dataclass(frozen=True)
class World:
    """Two clients that are alike: each has a loan that was called, a transfer on its way, an incident."""

    cast: Cast
    calls: dict[str, MarginCall]
    incidents: dict[str, Incident]
    browsers: dict[str, Browser] = field(default_factory=dict)

    def browser(self, who: str) -> Browser:
        """Return somebody's browser, signed in once."""
        if who not in self.browsers:
            self.browsers[who] = Browser()
            if who != "nobody":
                self.browsers[who].force_login(getattr(self.cast, who))
        return self.browsers[who]

    def fill(self, route: str, whose: str) -> str:
        if whose == "none":
            return route.format(
                loan_pk=0,
                client=uuid.uuid4(),
                loan=uuid.uuid4(),
                call=uuid.uuid4(),
                incident=uuid.uuid4(),
                account=uuid.uuid4(),
                payout=uuid.uuid4(),
                amendment=uuid.uuid4(),
            )
        call = self.calls[whose]
        loan = call.margin_account.loans.get()
        incident = self.incidents[whose].public_id
        ids = {
            "client": loan.client.public_id,
            "loan": loan.public_id,
            "call": call.public_id,
            "incident": incident,
            "account": call.margin_account.public_id,
            "payout": uuid.uuid4(),  # test_client_is_paid_out.py has one that waits
            "amendment": loan.amendments.get().public_id,
        }
        return route.format(loan_pk=loan.pk, **ids)


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


@pytest.fixture
def world(cast: Cast) -> World:
    mine = stories.running(cast)
    theirs = stories.running(cast, cast.quayside, signer=cast.charlie)
    stories.fall()
    calls = {
        "harbourside": MarginCall.objects.get(margin_account=mine.margin_account_id),
        "quayside": MarginCall.objects.get(margin_account=theirs.margin_account_id),
    }
    incidents = {}
    for name, call in calls.items():
        loan, amended_at = call.margin_account.loans.get(), NOW + timedelta(minutes=2)
        offered = amendments.propose(
            loan, Wanted(annual_rate=Decimal("0.08")), reason=f"{call.client} asked", maker=loan.made_by,
            expires_at=NOW + timedelta(days=1), now=amended_at,
        )  # fmt: skip
        amendments.approve(offered, by=cast.rhea, now=amended_at)
        stories.transfer_seen(call.margin_account)
        incidents[name] = Incident.objects.create(
            key=name, kind="unknown", client=call.client, summary=f"{call.client} can not be judged", opened_at=NOW
        )
    return World(cast, calls, incidents)


def code(browser: Browser, address: str, *, post: bool = False) -> int:
    return (browser.post(address) if post else browser.get(address)).status_code


def squeezed(table: dict[str, str]) -> dict[str, str]:
    return {route: " ".join(row.split()) for route, row in table.items()}


def test_pages_open_to_the_roles_in_the_table(world: World) -> None:
    found = {route: " ".join(SIGNS[code(world.browser(who), route)] for who in WHO) for route in PAGES}
    assert found == squeezed(PAGES)


@pytest.mark.parametrize(
    ("table", "post"), [(READ, False), (WRITE, True), (PRESS, True)], ids=["read", "write", "press"]
)
def test_objects_open_to_their_own_clients_people_alone(world: World, table: dict[str, str], post: bool) -> None:
    def cell(who: str, route: str) -> str:
        browser = world.browser(who)
        addresses = [world.fill(route, whose) for whose in ("harbourside", "quayside", "none")]
        return "".join(SIGNS[code(browser, address, post=post)] for address in addresses)

    found = {route: " ".join(cell(who, route) for who in WHO) for route in table}
    assert found == squeezed(table)


def test_deeds_are_not_done_by_looking(world: World) -> None:
    for route in WRITE:
        address = world.fill(route, "harbourside")
        assert {code(world.browser(who), address) for who in ("alice", "rhea")} == {405}


def test_tables_open_to_the_roles_in_the_table(world: World) -> None:
    found = {}
    for model in admin.site._registry:
        label = model._meta.label_lower
        if not label.startswith(("lending.", "risk.", "otc.")):
            continue
        answers = []
        for who in STAFF:
            status = code(world.browser(who), f"/admin/{label.replace('.', '/')}/")
            assert status in {200, 403}
            answers.append("Y" if status == 200 else "-")
        found[label] = " ".join(answers)
    assert found == TABLES


def _routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield route
        elif str(entry.pattern) != "admin/":
            yield from _routes(entry, route)


def test_every_route_stands_in_a_table() -> None:
    told = {address.split("?")[0].lstrip("/") for address in (*PAGES, *READ, *WRITE)}
    known = {
        route.replace("<uuid:public_id>", "{x}")
        .replace("incidents/{x}", "incidents/{incident}")
        .replace("<str:code>", "BTC")
        for route in _routes(get_resolver())
    }
    outside = [address for address in told if not address.startswith("admin/")]
    generic = {re.sub(r"\{(loan|call|account|payout|amendment|client)\}", "{x}", address) for address in outside}
    assert known - ELSEWHERE == generic


def test_framework_tables_are_not_in_the_admin(world: World) -> None:
    """Sessions, groups, sign-in failures and content types are nobody's business in the admin."""
    for model in admin.site._registry:
        if model._meta.app_label not in {"lending", "risk", "otc"}:
            for who in STAFF:
                address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
                assert code(world.browser(who), address) in {403, 404}, (who, address)


def loan_of(call: MarginCall) -> Loan:
    found: Loan = call.margin_account.loans.get()
    return found


def secrets_of(world: World, whose: str) -> list[str]:
    """Return what would give a client away: its name, its people, its ids, its addresses."""
    call = world.calls[whose]
    loan = call.margin_account.loans.get()
    people = [link.user.email for link in call.client.client_users.all()]
    ids = [call.public_id, loan.public_id, call.margin_account.public_id, call.client.public_id]
    return [call.client.name, *people, *map(str, ids), f"bc1-{call.margin_account.public_id}"]


def test_an_outsider_reads_nothing_of_another_client_on_any_page(world: World) -> None:
    charlie = world.browser("charlie")
    pages = ["/portal/", "/portal/notices/", "/portal/statements/"]
    pages += [world.fill(route, "quayside") for route in READ if route.startswith("/portal/")]
    read = ""
    for page in pages:
        answer = charlie.get(page)
        assert answer.status_code == 200
        read += answer.content.decode()
    for own in secrets_of(world, "quayside")[:1]:
        assert own in read
    for secret in secrets_of(world, "harbourside"):
        assert secret not in read


def test_an_outsider_changes_nothing_of_another_client(world: World) -> None:
    charlie = world.browser("charlie")
    for route in WRITE:
        charlie.post(world.fill(route, "harbourside"), {"amount": "100", "token": str(uuid.uuid4())})
    call = world.calls["harbourside"]
    call.refresh_from_db()
    assert call.acknowledged_at is None
    assert call.claimed_by is None
    assert loan_of(call).state == LoanState.ACTIVE
    assert loan_of(call).amendments.get().state == Amendment.State.APPROVED
    assert not Repayment.objects.filter(client=world.cast.harbourside).exists()


def test_a_relationship_manager_reads_nothing_of_a_colleagues_client(world: World) -> None:
    robin = world.browser("robin")
    hidden = secrets_of(world, "quayside")
    call = world.calls["quayside"]
    rows = {
        "loan": call.margin_account.loans.get().pk,
        "client": call.client_id,
        "marginaccount": call.margin_account_id,
        "amendment": loan_of(call).amendments.get().pk,
    }
    for label, row in TABLES.items():
        if row.startswith("Y"):
            page = robin.get(f"/admin/{label.replace('.', '/')}/").content.decode()
            assert not [secret for secret in hidden if secret in page], label
    for name, pk in rows.items():
        page = robin.get(f"/admin/lending/{name}/{pk}/change/", follow=True).content.decode()
        assert not [secret for secret in hidden if secret in page], name
    assert "Harbourside Trading" in robin.get("/admin/risk/margincall/").content.decode()
    loan = call.margin_account.loans.get()
    for button in ("approve", "ask-collateral", "cancel"):
        assert robin.post(f"/admin/lending/loan/{loan.pk}/{button}/").status_code == 404


def test_a_desk_trader_reads_of_no_client_and_no_call(world: World) -> None:
    dana = world.browser("dana")
    read = dana.get("/admin/").content.decode()
    for label, row in TABLES.items():
        if row.split()[STAFF.index("dana")] == "Y":
            read += dana.get(f"/admin/{label.replace('.', '/')}/").content.decode()
    for secret in (*secrets_of(world, "harbourside"), *secrets_of(world, "quayside")):
        assert secret not in read
    assert "margin call" not in read.lower()


def test_an_outsider_is_not_let_on_the_live_line(real_db: str) -> None:
    def people() -> Cast:
        try:
            return assemble()
        finally:
            connection.close()

    async def story() -> None:
        cast = await asyncio.to_thread(people)
        for who in ("charlie", "alice", "dana", "robin", "dirk"):
            browser = AsyncClient()
            await browser.aforce_login(getattr(cast, who))
            answer = await browser.get("/console/stream/")
            assert answer.status_code == 403
            assert b"data:" not in answer.content
        assert (await AsyncClient().get("/console/stream/")).status_code == 403

    asyncio.run(story())
