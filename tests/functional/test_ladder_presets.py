"""A ladder is offered to products by two persons, its figures never change, and one that is in use stays offered."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.test import Client as Browser

from lending import access, approvals, ladder_presets, products
from lending.models import Approval, AuditRecord, LadderTerms, Product, User
from tests.cast import NOW, Cast
from tests.factories.lending import LadderTermsFactory, ProductFactory

LATER = NOW + timedelta(minutes=2)
LIST, PAGE = "/admin/lending/ladderterms/", "/admin/lending/ladderterms/take-on/"
TYPED = {
    "name": "Six hours", "initial_ltv": "50", "warning_ltv": "65", "margin_call_ltv": "70", "accelerated_ltv": "75",
    "liquidation_ltv": "80.5", "cure_to": "60", "liquidate_to": "60", "clear_ltv": "64", "release_trigger": "40",
    "release_to": "50", "cure_period_s": "360", "accelerated_cure_period_s": "60", "clear_hold_s": "10",
    "reopen_window_s": "1440", "gap_limit": "3", "final_wait_s": "30", "minimum_transfer": "1,000.50",
    "call_rounding": "100", "liquidation_fee": "1", "reason": "clients of the prime desk",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def asked(browser: Browser, maker: User, **changes: str) -> Approval:
    browser.force_login(maker)
    page = browser.post(PAGE, {**TYPED, **changes}, follow=True).content.decode()
    assert "Asked: it waits on the page Approvals" in page, page
    return Approval.objects.latest("pk")


def decided(browser: Browser, checker: User, request: Approval) -> str:
    browser.force_login(checker)
    return str(browser.post(f"/admin/lending/approval/{request.pk}/approve/", follow=True).content.decode())


def no_more(browser: Browser, preset: LadderTerms, reason: str = "nobody wants it") -> str:
    answer = browser.post(f"{LIST}{preset.pk}/offer-no-more/", {"reason": reason}, follow=True)
    return str(answer.content.decode())


def test_a_ladder_is_offered_by_two_and_a_product_can_stand_on_it(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    assert 'name="clear_hold_s" value="10"' in client.get(PAGE).content.decode(), (
        "what has a usual value begins with it"
    )
    request = asked(client, cast.rhea)
    assert "offer the ladder “Six hours”" in client.get(LIST).content.decode()
    assert "can not decide it" in decided(client, cast.rhea, request)
    client.force_login(cast.rolf)
    page = client.get(f"/admin/lending/approval/{request.pk}/change/").content.decode()
    assert "Rhea asks to offer a ladder to products" in page
    assert '<dt>Sale of collateral above</dt><dd class="num">80.50\u00a0%</dd>' in page
    assert '<dt>Time to cure a call, from its receipt</dt><dd class="num">6 h</dd>' in page
    assert "Approved by you" in decided(client, cast.rolf, request)
    row = LadderTerms.objects.get(name="Six hours")
    assert (row.is_preset, row.liquidation_ltv, row.cure_period_s) == (True, Decimal("0.805"), 6 * 3600)
    assert (row.minimum_transfer, row.gap_limit) == (Decimal("1000.5"), Decimal("0.03"))
    record = AuditRecord.objects.get(action="ladder_offered")
    assert (record.actor, record.after["maker"], record.reason) == (cast.rolf, cast.rhea.email, TYPED["reason"])
    like = client.get(f"{PAGE}?like={row.pk}").content.decode()
    for value in ('name="liquidation_ltv" value="80.5"', 'name="cure_period_s" value="360"', 'value="1000.5"'):
        assert value in like
    assert ">Six hours</option>" in client.get("/admin/lending/product/take-on/").content.decode()


def test_a_ladder_in_use_stays_offered_and_one_that_is_not_goes_by_two(cast: Cast, client: Browser) -> None:
    product: Product = ProductFactory(code="term-usd")
    LadderTerms.objects.filter(pk=product.terms_id).update(is_preset=True)
    client.force_login(cast.rhea)
    assert "Refused: term-usd stands on it: give it another ladder first." in no_more(client, product.terms)
    decided(client, cast.rolf, asked(client, cast.rhea))
    row = LadderTerms.objects.get(name="Six hours")
    client.force_login(cast.dirk)
    page = no_more(client, row, " ")
    assert "Refused: say why: the second person reads it." in page
    assert "Asked: it waits" in no_more(client, row)
    assert "a request about it waits for a second person already" in no_more(client, row)
    request = Approval.objects.latest("pk")
    change = products.Wanted(code=product.code, columns={"terms": row})
    move = products.ask(change, reason="x", maker=cast.rhea, now=LATER)
    assert "Approved by you" in decided(client, cast.rolf, request)
    row.refresh_from_db()
    assert not row.is_preset
    assert "the ladder Six hours is offered no more: ask again" in decided(client, cast.rolf, move)
    assert "it is not offered" in no_more(client, row)
    assert "Take on another like it" in client.get(f"{LIST}{row.pk}/change/").content.decode()


def test_who_asks_for_no_ladder(cast: Cast, client: Browser) -> None:
    row = LadderTermsFactory(is_preset=True)
    for user in (cast.robin, cast.olga, cast.cora):
        client.force_login(user)
        assert client.get(PAGE).status_code == client.post(PAGE, TYPED).status_code == 403
        assert client.post(f"{LIST}{row.pk}/offer-no-more/", {"reason": "x"}).status_code == 403
        assert "Take on a" not in client.get(LIST).content.decode()
        assert "Take on another" not in client.get(f"{LIST}{row.pk}/change/").content.decode()
        with pytest.raises(access.UnableToAccess):
            ladder_presets.ask_end(row, reason="x", maker=user, now=LATER)
    assert not Approval.objects.exists()


BAD = {
    "levels that do not rise": ({"warning_ltv": "71"}, "the levels do not rise"),
    "a sale above the whole": ({"liquidation_ltv": "100"}, "less than or equal to 99.9999999999"),
    "a cure above the call": ({"cure_to": "72"}, "lies below its level"),
    "going back above what it leaves": ({"release_trigger": "51"}, "is not above what a release leaves"),
    "a cure to nothing": ({"cure_to": "0"}, "What cures a call brings LTV to is above 0"),
    "no time to cure": ({"cure_period_s": "0", "accelerated_cure_period_s": "0"}, "leaves a minute at least"),
    "more time once accelerated": ({"accelerated_cure_period_s": "361"}, "no more time than a call does"),
    "half a minute": ({"clear_hold_s": "0.5"}, "Enter a whole number"),
    "a level that is no number": ({"initial_ltv": "half"}, "Enter a number"),
    "an amount below zero": ({"call_rounding": "-1"}, "greater than or equal to 0"),
    "years": ({"reopen_window_s": "600000"}, "less than or equal to 527040"),
    "no name": ({"name": " "}, "This field is required"),
    "a name that is taken": ({"name": "Test ladder"}, "a ladder that is offered is called that already"),
    "no reason": ({"reason": ""}, "This field is required"),
    "a level finer than it is kept": ({"initial_ltv": "5.00000000001"}, "no more than 10 decimal places"),
}


def test_bad_input_is_refused_in_words_and_nothing_typed_is_lost(cast: Cast, client: Browser) -> None:
    LadderTermsFactory(is_preset=True)
    client.force_login(cast.rhea)
    for case, (changes, says) in BAD.items():
        answer = client.post(PAGE, {**TYPED, **changes})
        page = answer.content.decode()
        assert (answer.status_code, says in page) == (422, True), case
        assert 'value="1,000.50"' in page, case
    for key in ("0", "x", "9" * 30):
        assert client.get(f"{PAGE}?like={key}").status_code == 200
    assert not Approval.objects.exists()
    asked(client, cast.rhea)
    assert "called Six hours waits for a second person" in client.post(PAGE, TYPED).content.decode()


def test_a_name_that_was_given_meanwhile_is_refused_to_the_second_person(cast: Cast) -> None:
    figures = {name: getattr(LadderTermsFactory(), name) for name in TYPED if name not in ("name", "reason")}
    request = ladder_presets.ask("Anew", figures, reason="x", maker=cast.rhea, now=LATER)
    LadderTermsFactory(name="Anew", is_preset=True)
    with pytest.raises(approvals.UnableToApprove, match="is called that already"):
        approvals.decide(request, checker=cast.dirk, approve=True, now=LATER)
    with pytest.raises(ladder_presets.UnableToOffer, match="misses or does not know: cure_to"):
        ladder_presets.ask("B", {k: v for k, v in figures.items() if k != "cure_to"}, reason="x", maker=cast.rhea,
                           now=LATER)  # fmt: skip
    with pytest.raises(DatabaseError, match="ladder_preset_called_once"), transaction.atomic():
        LadderTermsFactory(name="Anew", is_preset=True)
    with pytest.raises(DatabaseError, match="denied"), transaction.atomic():
        LadderTerms.objects.filter(name="Anew").update(cure_to=Decimal("0.5"))
