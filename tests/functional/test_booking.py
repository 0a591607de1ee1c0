"""A relationship manager takes a client on and offers a loan, step by step, with what the terms come to in sight."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core import mail
from django.test import Client as Browser

from deploy.demo import onboarded
from lending import kyc, outbox, people
from lending.models import Client, ClientUser, LadderTerms, Loan, LoanState, Notice, Product, RelatedParty, Role, User
from risk.models import Mark
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetNetworkFactory

LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def product(cast: Cast) -> Product:
    """A product, and bitcoin at 40,000 with GOOD marks 20 s old."""
    stories.offered(cast)
    stories.market("40000", at=NOW + timedelta(minutes=2))
    return Loan.objects.get().product


def terms(product: Product, **changes: str) -> dict[str, str]:
    return {
        "product": str(product.pk),
        "principal": "600000",
        "rate": "10",
        "maturity_date": "2021-11-19",
        "hours": "24",
        "payout_address": "",
        "collateral_BTC": "30",
        **changes,
    }


def at(client: Client, page: str) -> str:
    return f"/admin/book/{client.public_id}/{page}/"


def test_a_client_is_registered_and_its_way_begins(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    asked = {"name": "Drydock Partners", "kind": "entity", "jurisdiction": "ch", "time_zone": "Europe/Zurich"}
    page = client.post("/admin/onboarding/new/", asked, follow=True).content.decode()
    made = Client.objects.get(name="Drydock Partners")
    assert (made.relationship_manager, made.stage) == (cast.robin, Client.Stage.PROSPECT)
    assert made.jurisdiction == "CH"
    assert made.relationship_periods.get().user == cast.robin
    assert "Still missing" in page
    assert "how the client came to us" in page
    assert "Drydock Partners" in client.get("/admin/book/").content.decode()


def test_a_person_is_added_and_chooses_a_password_that_nobody_else_knows(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    asked = {"name": "Dora", "email": "Dora@harbourside.example", "role": "borrower_viewer"}
    page = client.post(at(cast.harbourside, "people"), asked, follow=True).content.decode()
    assert "a letter with a link" in page
    assert "invited" in page
    dora = User.objects.get(email="dora@harbourside.example")
    assert not dora.has_usable_password()
    assert outbox.deliver_due(now=LATER) == 1
    (letter,) = mail.outbox
    assert letter.to == [dora.email]
    found = re.search(r"http://testserver(/sign-in/first/\S+)", str(letter.body))
    assert found
    client.logout()
    page = client.get(found[1], follow=True)
    place = page.redirect_chain[-1][0]
    secret = "plumb-line-and-lead-77"
    client.post(place, {"new_password1": secret, "new_password2": secret})
    answer = client.post("/sign-in/", {"username": dora.email, "password": secret})
    assert answer["Location"] == "/portal/"
    client.logout()
    assert "no longer works" in client.get(found[1], follow=True).content.decode()


def test_a_letter_is_not_sent_to_who_has_a_password(cast: Cast, client: Browser) -> None:
    people.invite(
        cast.harbourside, cast.charlie.email, Role.BORROWER_VIEWER, name="", invited_by=cast.robin, origin="x", now=NOW
    )
    assert outbox.deliver_due(now=LATER) == 0
    assert ClientUser.objects.filter(user=cast.charlie, client=cast.harbourside).exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"email": "nobody"}, "That is not an e-mail address"),
        ({"email": "rhea@plimsoll.example"}, "works for the desk"),
        ({"email": "alice@harbourside.example"}, "acts for Harbourside Trading already"),
        ({"name": ""}, "Who is it?"),
        ({"role": "risk_head"}, "Select a valid choice"),
    ],
)
def test_a_person_who_can_not_be_added(cast: Cast, client: Browser, asked: dict[str, str], says: str) -> None:
    client.force_login(cast.robin)
    before = ClientUser.objects.count()
    person = {"name": "Dora", "email": "dora@harbourside.example", "role": "borrower_admin", **asked}
    answer = client.post(at(cast.harbourside, "people"), person)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert ClientUser.objects.count() == before


def test_the_preview_says_what_the_terms_come_to(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    part = client.get(at(cast.harbourside, "preview"), terms(product)).content.decode()
    # 600,000 over 30 x 40,000
    assert "50.00\N{NO-BREAK SPACE}%" in part
    assert "Nothing is missing" in part
    # call at 70 %: 600,000 / 0.7 / 30
    assert "28,571.43" in part
    # 10 % ACT/360 from 19 May 12:02:20 to 19 Nov 00:00: 183 days 43060 s
    seconds = 183 * 86400 + 43060
    whole = (Decimal(600_000) * seconds / (10 * 360 * 86400)).quantize(Decimal("0.01"), rounding="ROUND_UP")
    assert f"{whole:,.2f}" in part
    assert f"{600_000 + whole:,.2f}" in part
    assert "20 s ago" in part
    assert Loan.objects.count() == 1


def test_the_preview_says_what_a_fall_does(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    part = client.get(at(cast.harbourside, "preview"), terms(product)).content.decode()
    falls = re.sub(r"<[^>]+>|\s", " ", part[part.index('id="falls"') :]).split()
    # 600,000 over 30 BTC; call above 70 %, accelerated above 75 %, sale above 80 %
    at_each = {"10": ("36,000.00", "55.56"), "20": ("32,000.00", "62.50"), "30": ("28,000.00", "71.43")}
    for by, (price, ltv) in at_each.items():
        found = falls.index(by)
        assert falls[found : found + 5] == [by, "%", price, "USD", ltv]
    assert falls[falls.index("71.43") + 2] == "call"
    assert falls[falls.index("62.50") + 2 :][:2] == ["no", "level"]
    assert falls[falls.index("100.00") + 2] == "liquidate"
    assert "20 s ago" in " ".join(falls)
    # the call at 28,571.43 is a fall of 28.6 % from 40,000
    assert re.search(r"28,571\.43.*?28\.6\N{NO-BREAK SPACE}%", part)
    empty = client.get(at(cast.harbourside, "preview"), terms(product, collateral_BTC="")).content.decode()
    assert 'id="falls"' not in empty


def test_the_preview_names_what_is_missing(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    part = client.get(at(cast.harbourside, "preview"), terms(product, collateral_BTC="20", rate="")).content.decode()
    assert "a rate" in part
    assert "enough collateral" in part
    assert "75.00\N{NO-BREAK SPACE}%" in part
    # 50 % allowed: 1,200,000 of collateral, 10 BTC more
    assert "10 <abbr" in part
    empty = client.get(at(cast.harbourside, "preview"), {}).content.decode()
    for words in ("a product", "the principal", "a rate", "a maturity", "the collateral"):
        assert words in empty


def test_the_preview_shows_no_ltv_on_marks_that_can_not_be_used(cast: Cast, client: Browser, product: Product) -> None:
    Mark.objects.update(price=None, quality="stale")
    client.force_login(cast.robin)
    part = client.get(at(cast.harbourside, "preview"), terms(product)).content.decode()
    assert "LTV is not known now" in part
    assert "marks that can be used" in part
    assert "50.00\N{NO-BREAK SPACE}%" not in part


def test_an_offer_is_reviewed_and_sent(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    asked = terms(product, principal="250000", rate="9.5", default_rate="12.25", payout_address="wire:GB29")
    review = client.post(at(cast.harbourside, "terms"), {**asked, "act": "review"}).content.decode()
    assert "What Harbourside Trading will read" in review
    assert 'value="250000"' in review
    assert "12.25\N{NO-BREAK SPACE}% a year" in review
    assert "wire:GB29" in review
    assert Loan.objects.count() == 1
    page = client.post(at(cast.harbourside, "terms"), {**asked, "act": "send"}, follow=True).content.decode()
    assert "The offer is out" in page
    made = Loan.objects.get(principal=250_000)
    assert (made.state, made.made_by, made.client) == (LoanState.QUOTED, cast.robin, cast.harbourside)
    assert (made.annual_rate, made.default_rate) == (Decimal("0.095"), Decimal("0.1225"))
    told = Notice.objects.get(kind="loan_offer")
    assert (told.client, told.subject) == (cast.harbourside, "An offer to you: 250,000 USD")
    assert "at 9.50 % a year" in told.body


def test_the_amounts_of_calls_are_the_products_unless_others_are_typed(
    cast: Cast, client: Browser, product: Product
) -> None:
    client.force_login(cast.robin)
    client.post(at(cast.harbourside, "terms"), {**terms(product, principal="250000"), "act": "send"})
    made = Loan.objects.get(principal=250_000)
    assert (made.margin_account.terms, made.default_rate) == (product.terms, Decimal("0.15"))
    asked = terms(product, principal="260000", minimum_transfer="5000", call_rounding="1000.50")
    review = client.post(at(cast.harbourside, "terms"), {**asked, "act": "review"}).content.decode()
    assert "5,000.00" in review
    assert "up to a multiple of" in review
    assert 'value="1000.50"' in review
    client.post(at(cast.harbourside, "terms"), {**asked, "act": "send"})
    loan = Loan.objects.get(principal=260_000)
    own = loan.margin_account.terms
    assert (own.minimum_transfer, own.call_rounding) == (5000, Decimal("1000.50"))
    assert (own.liquidation_ltv, own.is_preset) == (product.terms.liquidation_ltv, False)
    product.terms.refresh_from_db()
    assert (product.terms.minimum_transfer, product.terms.call_rounding) == (0, 0)
    client.force_login(cast.alice)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "waits until it is more" in page
    assert "1,000.50" in page


@pytest.mark.parametrize("name", ["minimum_transfer", "call_rounding"])
@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("-1", "greater than or equal to 0"),
        ("1.005", "no more than 2 decimal places"),
        ("lots", "Enter a number"),
        ("600000", "choose less than the principal"),
    ],
)
def test_amounts_of_calls_that_can_not_be(
    cast: Cast, client: Browser, product: Product, name: str, typed: str, says: str
) -> None:
    client.force_login(cast.robin)
    before = LadderTerms.objects.count()
    answer = client.post(at(cast.harbourside, "terms"), {**terms(product, **{name: typed}), "act": "send"})
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert f'value="{typed}"' in answer.content.decode()
    assert LadderTerms.objects.count() == before


def test_going_back_loses_nothing(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    for act in ("change", "preview"):
        answer = client.post(at(cast.harbourside, "terms"), {**terms(product, principal="77"), "act": act})
        assert answer.status_code == 200
        page = answer.content.decode()
        assert 'value="77"' in page
        assert 'value="30"' in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"principal": "0"}, "above 0"),
        ({"principal": "1.234"}, "at most 2 decimals"),
        ({"principal": "much"}, "Enter a number"),
        ({"rate": "-1"}, "greater than or equal to 0"),
        ({"rate": "96"}, "a default rate of 101 %, five points above the annual one, is not from 96 % on"),
        ({"default_rate": "9.99"}, "a default rate of 9.99 % is not from 10 % on and below 100 %"),
        ({"default_rate": "100"}, "less than or equal to 99.99"),
        ({"default_rate": "high"}, "Enter a number"),
        ({"maturity_date": "2021-05-19"}, "not after today"),
        ({"maturity_date": "soon"}, "Enter a valid date"),
        ({"maturity_date": "2072-01-01"}, "more than 50 years off"),
        ({"maturity_date": "9999-12-31"}, "The year 9999 is a slip"),
        ({"hours": "0"}, "greater than or equal to 1"),
        ({"payout_address": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"}, "copy it with its capitals"),
        ({"collateral_BTC": "-1"}, "Not less than zero"),
        ({"collateral_BTC": "lots"}, "That is not a number"),
    ],
)
@pytest.mark.parametrize("act", ["review", "send"])
def test_bad_terms_are_told_and_nothing_is_lost(
    cast: Cast, client: Browser, product: Product, act: str, changes: dict[str, str], says: str
) -> None:
    client.force_login(cast.robin)
    if "payout_address" in changes:
        AssetNetworkFactory(asset=product.asset, chain="ethereum")
    answer = client.post(at(cast.harbourside, "terms"), {**terms(product, **changes), "act": act})
    page = answer.content.decode()
    assert says in page
    assert answer.status_code == 422
    ((_field, typed),) = changes.items()
    assert f'value="{typed}"' in page
    assert Loan.objects.count() == 1


def test_somebody_elses_client_is_not_there(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    for page in ("people", "terms"):
        assert client.post(at(cast.quayside, page), {"act": "send", **terms(product)}).status_code == 404
    # and a client smuggled in among the terms is not taken
    asked = {**terms(product, principal="31"), "client": str(cast.quayside.pk), "act": "send"}
    client.post(at(cast.harbourside, "terms"), asked)
    assert Loan.objects.get(principal=31).client == cast.harbourside


@pytest.mark.parametrize("who", ["rhea", "rolf", "olga", "dana", "dirk", "alice"])
def test_nobody_but_a_relationship_manager_offers(cast: Cast, client: Browser, product: Product, who: str) -> None:
    client.force_login(getattr(cast, who))
    answer = client.post(at(cast.harbourside, "terms"), {**terms(product), "act": "send"})
    assert answer.status_code == (302 if who == "alice" else 403)
    assert Loan.objects.count() == 1


def test_the_pages_hold_their_queries(
    cast: Cast, client: Browser, product: Product, django_assert_max_num_queries
) -> None:
    client.force_login(cast.robin)
    with django_assert_max_num_queries(12):
        client.get(at(cast.harbourside, "preview"), terms(product))
    with django_assert_max_num_queries(12):
        client.get(at(cast.harbourside, "terms"))
    with django_assert_max_num_queries(12):
        client.get(at(cast.harbourside, "people"))


def test_the_signer_that_the_case_knows_is_not_typed_again(cast: Cast, client: Browser) -> None:
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    for number, (name, email) in enumerate((("Alice", cast.alice.email.upper()), ("Dora Keel", "dora@keel.example"))):
        RelatedParty.objects.create(
            case=case, client=case.client, name=name, email=email, country="GB", is_signer=True, is_director=not number
        )
    client.force_login(cast.robin)
    page = client.get(at(cast.harbourside, "people")).content.decode()
    assert 'value="Dora Keel"' in page
    assert 'value="dora@keel.example"' in page
