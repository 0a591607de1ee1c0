"""A rate that follows a benchmark: fixed by two persons, sold as a product, offered, reset, and shown to its client."""

import re
from datetime import date, timedelta
from decimal import Decimal
from html import unescape

import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import interest, resets
from lending.models import Approval, Fixing, Loan, Notice, Overdue, Product, User
from risk import cycle
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, ProductFactory

LATER = NOW + timedelta(minutes=2, seconds=20)
DAY = timedelta(days=1)


def words(page: bytes) -> str:
    found = " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())
    return found.replace(" ,", ",").replace(" .", ".").replace(" :", ":").replace(" ;", ";")


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def read(user: User, address: str, *, part: bool = False) -> str:
    """Return the words of a page that asks the database no more than a dozen times."""
    browser = signed_in(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address, headers={"HX-Request": "true"} if part else {})
    assert answer.status_code == 200, address
    assert len(asked) <= 12, (len(asked), [row["sql"][:90] for row in asked])
    return words(answer.content)


def press(user: User, address: str, **fields: object) -> str:
    return words(signed_in(user).post(address, fields, follow=True).content)


def approved(user: User) -> str:
    return press(user, f"/admin/lending/approval/{Approval.objects.latest('pk').pk}/approve/", reason="read")


def test_from_its_first_fixing_to_what_its_client_reads(cast: Cast) -> None:
    cycle.forget()
    with time_machine.travel(LATER, tick=False):
        # Fixings are tried, mended and asked for by one person, and recorded by another.
        door = "/admin/benchmarks/"
        said = {"code": "sofr", "name": "Overnight rate", "reason": "the publisher's page"}
        assert "No benchmark yet" in read(cast.robin, door)
        assert signed_in(cast.robin).post(door, said).status_code == 403
        wrong = press(cast.olga, door, act="ask", table="date,rate\n2021-05-17,5.31\n2022-01-01,0.05", **said)
        assert "2 errors Nothing is asked for" in wrong
        assert "5.31 % is 0.0531" in wrong
        assert "2021-05-17,5.31" in wrong
        assert "has not come yet" in wrong
        assert "Choose a file, or write the table down" in press(cast.olga, door, act="try", table=" ", **said)
        file = SimpleUploadedFile("sofr.csv", b"date;rate\n2021-05-14;0.0525\n2021-05-17;0.0531\n")
        tried = press(cast.olga, door, act="try", file=file, **said)
        assert "2 fixings, no error" in tried
        assert "Mon 17 May 2021 5.31" in tried
        table = "date;rate\n2021-05-14;0.0525\n2021-05-17;0.0531\n"
        assert "Asked: it waits" in press(cast.olga, door, act="ask", table=table, **said)
        assert "2 fixings of SOFR wait for a second person" in read(cast.robin, door)
        shown = read(cast.rhea, f"/admin/lending/approval/{Approval.objects.get().pk}/change/")
        assert "asks to record what a benchmark was fixed at" in shown
        assert "2021-05-17 0.0531" in shown
        assert "Approved by you" in approved(cast.rhea)
        assert "Mon 17 May 2021 5.31" in read(cast.robin, door)
        assert Fixing.objects.count() == 2

        # A product follows it from then on.
        AssetFactory(code="BTC")
        product = ProductFactory(
            code="term-usd", name="Floating loan", origination_fee=Decimal(0), schedule_kind="interest_only"
        )
        product.terms.is_preset = True
        product.terms.save(update_fields=["is_preset"])
        form = {
            "name": product.name, "tenor": "fixed", "notice_days": "0", "day_count": "ACT/360", "frequency_months": "1",
            "schedule_kind": "interest_only", "calendar": "XFED", "grace_days": "0",
            "pledge_terms": "1", "terms": str(product.terms_id),
            "fee": "0", "haircut_BTC": "0", "reason": "asked for", "benchmark": "SOFR", "over": "2", "floor": "6",
            "cap": "5", "reset_months": "1", "fixing_lag_days": "2",
        }  # fmt: skip
        page = f"/admin/lending/product/{product.pk}/change/"
        assert "a cap that is none or not below its floor" in press(cast.rhea, page, **form)
        assert "Asked: it waits" in press(cast.rhea, page, **form | {"cap": ""})
        approved(cast.rolf)
        offers_now = read(cast.robin, page)
        assert "SOFR plus 2 %, reset every month, at least 6 %, fixed 2 business days before" in offers_now
        assert Product.objects.get().rate_floor == Decimal("0.06")

        # It is offered with another spread and a step-up, and no rate of its own.
        stories.market("40000", at=NOW + timedelta(minutes=2))
        door = f"/admin/book/{cast.harbourside.public_id}/terms/"
        asked = {
            "product": str(product.pk), "principal": "600000", "spread": "2.5", "hours": "24", "payout_address": "",
            "collateral_BTC": "30", "maturity_date": "2021-11-19", "step_up": "1", "step_up_date": "2021-10-01",
        }  # fmt: skip
        unfixed = ProductFactory(
            code="unfixed-usd", benchmark="EURIBOR", spread=Decimal("0.02"), reset_months=1, asset=product.asset,
            terms=product.terms,
        )  # fmt: skip
        before = press(cast.robin, door, act="review", **asked | {"product": str(unfixed.pk)})
        assert "Rate – a year until its first reset; EURIBOR plus 2.50 %" in before
        assert "In default – a year until its first reset" in before
        review = press(cast.robin, door, act="review", **asked)
        assert "7.81 % a year until its first reset; SOFR plus 2.50 %, at least 6.00 %, reset every month" in review
        assert "1 % more from 01 Oct 2021 on" in review
        assert "Not offered: a step-up is a rate above 0" in press(
            cast.robin, door, act="send", **asked | {"step_up_date": ""}
        )
        assert "12.81 % a year until its first reset; it moves with the rate" in review
        too_low = press(cast.robin, door, act="send", **asked | {"default_rate": "7.8"})
        assert "a default rate of 7.8 % is not from 7.81 % on" in too_low
        assert "The offer is out" in press(cast.robin, door, act="send", **asked)
        loan = Loan.objects.get()
        assert (loan.annual_rate, loan.spread, loan.benchmark) == (Decimal("0.0781"), Decimal("0.025"), "SOFR")
        told = Notice.objects.get(kind="loan_offer").body
        assert "at 7.81% a year until its first reset, as it is SOFR plus 2.5 %" in told.replace("7.81 %", "7.81%")
        offer = read(cast.alice, f"/portal/loans/{loan.public_id}/")
        assert "until its first reset: it is SOFR plus 2.5 %, reset every month, at least 6 %" in offer
        assert "1 % more from 01 Oct 2021 on" in offer


def test_what_is_fixed_and_what_is_expected_stands_beside_the_loan(cast: Cast) -> None:
    with time_machine.travel(NOW, tick=False):
        table = "date,rate\n2021-05-18,0.05"
        press(cast.olga, "/admin/benchmarks/", act="ask", code="SOFR", name="Overnight", reason="its page", table=table)
        approved(cast.rhea)
        ProductFactory(
            code="term-usd", origination_fee=Decimal(0), schedule_kind="interest_only", benchmark="SOFR",
            spread=Decimal("0.02"), reset_months=1,
        )  # fmt: skip
        loan = stories.running(cast, annual_rate=None, maturity_date=date(2021, 8, 19), principal=Decimal(360_000))
        resets.work_due(now=NOW)
        fixed = stories.running(
            cast, cast.quayside, signer=cast.charlie, annual_rate=None, maturity_date=date(2021, 8, 19)
        )
    at = loan.start_at.replace(hour=0, minute=0) + 31 * DAY
    with time_machine.travel(at + timedelta(minutes=1), tick=False):
        table = "date,rate\n2021-06-10,0.04"
        press(cast.olga, "/admin/benchmarks/", act="ask", code="SOFR", reason="its page", table=table)
        approved(cast.rhea)
        interest.accrue_due(now=at)
        assert resets.work_due(now=at + timedelta(minutes=1)) == 2
        ahead = read(cast.robin, "/admin/")
        assert "19 Jul 2021 Harbourside Trading its rate is reset: SOFR" in ahead
        assert "Quayside" not in ahead
        page = read(cast.robin, f"/admin/lending/loan/{loan.pk}/change/")
        assert "How it comes by its rate" in page
        assert "6.00 % a year" in page
        part = read(cast.olga, f"/admin/rates/{loan.pk}/", part=True)
        assert "Sat 19 Jun 2021 6.00 % SOFR 4 % of 10 Jun 2021, the last that was known of 19 Jun 2021" in part
        assert "Mon 19 Jul 2021 1,800.00 fixed" in part.replace(" USD", "")
        assert "Thu 19 Aug 2021 1,860.00 expected" in part.replace(" USD", "")
        # What could not be booked is told to the desk, and is no matter of the client's.
        said = "5 USD are missing"
        Overdue.objects.create(client=loan.client, loan=loan, kind="reset", at=at, since=at, reason=said)
        assert f"Not reset from Sat 19 Jun 2021 on: {said}" in read(cast.robin, f"/admin/rates/{loan.pk}/")
        own = read(cast.alice, f"/portal/loans/{loan.public_id}/rate/")
        assert said not in own
        assert "Next reset Mon 19 Jul 2021" in own or "19 Jul" in own
        assert "on the day of each reset; if nothing is known of that day" in own
        assert signed_in(cast.charlie).get(f"/portal/loans/{loan.public_id}/rate/").status_code == 404
        assert signed_in(cast.robin).get(f"/admin/rates/{fixed.pk}/").status_code == 404
        happened = read(cast.alice, f"/portal/loans/{loan.public_id}/activity/")
        assert "rate reset to 6 % from 19 Jun 2021 on, by SOFR 4 % of 10 Jun 2021" in happened
        assert "plus 2 %" in read(cast.alice, f"/portal/loans/{loan.public_id}/")

        # Its spread is what can be amended.
        door = f"/admin/amend/{loan.pk}/"
        form = signed_in(cast.robin).get(door).content.decode()
        assert 'name="spread"' in form
        assert 'name="annual_rate"' not in form
        typed = {"maturity_date": "2021-08-19", "hours": "24", "reason": "more business"}
        looked = press(cast.robin, door, act="preview", spread="1.5", **typed)
        assert "Spread over that, a year 2 % 1.5 %" in looked
        assert "Interest left to pay: -155.00 USD" in looked.replace("\u2212", "-")
        assert "99.99" in press(cast.robin, door, act="propose", spread="100", **typed)
        assert "waits for a second person" in press(cast.robin, door, act="propose", spread="1.5", **typed)
