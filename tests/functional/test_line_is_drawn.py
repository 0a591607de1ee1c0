"""A revolving line at its doors: a draw is signed by the client, asked or proposed, and paid out by operations."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html import unescape
from uuid import UUID

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import authority
from lending.models import Draw, JointSignature, Loan, Notice, Product, User
from risk import cycle
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import ProductFactory
from tests.integration.lending.test_authority import reviewed, second_signer

LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture
def line(cast: Cast) -> Iterator[Loan]:
    """A line of 600,000 against 25 bitcoin at 40,000, of which 55 % may be owed."""
    ProductFactory(
        code="term-usd", name="Revolving line in USD", origination_fee=Decimal(0), tenor="revolving", notice_days=10,
        schedule_kind="interest_only", unused_fee=Decimal("0.005"),
    )  # fmt: skip
    found = stories.running(cast, maturity_date=None)
    cycle.forget()  # another test's book, with other assets
    stories.market("40000", at=NOW + timedelta(minutes=2))
    with time_machine.travel(LATER, tick=False):
        yield found


def words(page: bytes) -> str:
    found = " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())
    return found.replace(" ,", ",").replace(" .", ".").replace(" :", ":")


def read(user: User, address: str) -> str:
    """Return the words of a page, which asks the database at most twelve times."""
    browser = Browser()
    browser.force_login(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address)
    assert answer.status_code == 200
    assert len(asked) <= 12, [row["sql"][:90] for row in asked]
    return words(answer.content)


def press(user: User, address: str, **fields: str) -> str:
    browser = Browser()
    browser.force_login(user)
    return words(browser.post(address, fields, follow=True).content)


def test_a_draw_is_asked_for_and_paid_out_by_another(cast: Cast, line: Loan) -> None:
    own, desk = f"/portal/loans/{line.public_id}/", f"/admin/draws/{line.pk}/"
    page = read(cast.alice, f"{own}line/")
    assert "Available 600,000.00 USD" in page
    assert "What is not drawn costs 0.50 % a year" in page
    assert "Ask for it" not in read(cast.bob, f"{own}line/")
    assert "Limit 600,000.00 USD" in read(cast.alice, own)

    assert "Asked: the desk checks" in press(cast.alice, f"{own}line/", amount="250,000")
    assert "250,000.00 USD is asked for and waits for the desk" in read(cast.alice, f"{own}line/")
    assert "250,000.00 USD, signed by Alice 19 May 2021" in read(cast.robin, desk)
    assert "Sign a draw" not in read(cast.alice, "/portal/")
    assert "Refused: robin does not hold the role operations" in press(cast.robin, desk, act="pay").replace(
        "Robin", "robin"
    )
    with pytest.raises(DatabaseError, match="who has made a line pays out no draw of it"), transaction.atomic():
        Draw.objects.update(state="paid_out", decided_by=cast.robin, decided_at=LATER)
    assert "Paid out: the collateral holds" in press(cast.olga, desk, act="pay")
    line.refresh_from_db()
    assert line.principal_outstanding == Decimal(250_000)
    assert "Available 350,000.00 USD" in read(cast.alice, f"{own}line/")
    assert "Draws" in read(cast.olga, f"/admin/lending/loan/{line.pk}/change/")

    # proposed by the manager, beyond what the collateral carries
    assert "Proposed: once the client has signed" in press(cast.robin, desk, act="ask", amount="340000")
    assert "Refused: the client has not signed it yet" in press(cast.olga, desk, act="pay")
    draw = Draw.objects.get(state="proposed")
    sign = f"{own}line/{draw.public_id}/sign/"
    assert "Robin proposes a draw of 340,000.00 USD" in read(cast.alice, f"{own}line/")
    assert "Sign a draw of 340,000.00 USD of your line" in read(cast.alice, "/portal/")
    assert "340,000.00 USD, proposed by Robin 19 May 2021" in read(cast.olga, desk)
    assert "Not signed: Bob may not sign" in press(cast.bob, sign)
    assert "There is nothing here" in press(cast.charlie, sign)
    with pytest.raises(DatabaseError), transaction.atomic():
        Draw.objects.filter(pk=draw.pk).update(state="requested")
    with pytest.raises(DatabaseError), transaction.atomic():
        Draw.objects.filter(pk=draw.pk).update(state="paid_out")
    assert "Asked: the desk checks" in press(cast.alice, sign)
    assert "Not signed: it is signed and waits for the desk" in press(cast.alice, sign)
    for who, address in ((cast.olga, desk), (cast.alice, f"{own}line/")):
        assert re.search(r"proposed by Robin 19 May 2021 [^a-z]*, signed by Alice 19 May 2021", read(who, address))
    assert "Sign a draw" not in read(cast.alice, "/portal/")
    assert "Refused: the LTV after it would be" in press(cast.olga, desk, act="pay")
    assert "Dropped." in press(cast.robin, desk, act="drop")
    assert list(Draw.objects.order_by("pk").values_list("state", flat=True)) == ["paid_out", "cancelled"]
    told = Notice.objects.filter(kind__startswith="draw_").order_by("pk").values_list("kind", flat=True)
    steps = "asked", "paid_out", "proposed", "asked", "dropped"
    assert list(told) == [f"draw_{step}" for step in steps]


def test_where_two_sign_a_draw_takes_both_whoever_began_it(cast: Cast, line: Loan) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    own, desk = f"/portal/loans/{line.public_id}/", f"/admin/draws/{line.pk}/"
    assert "Signed by you." in press(cast.alice, f"{own}line/", amount="1000")
    assert not Draw.objects.exists()
    assert "Signed by both: 1000 USD to be drawn of" in press(dora, f"/portal/signatures/{_waits()}/sign/")
    assert Draw.objects.get(state="requested").signed_by == dora
    assert "Dropped" in press(cast.alice, f"{own}line/drop/")

    press(cast.robin, desk, act="ask", amount="2000")
    draw = Draw.objects.get(state="proposed")
    assert "Signed by you." in press(dora, f"{own}line/{draw.public_id}/sign/")
    draw.refresh_from_db()
    assert (draw.state, draw.signed_by) == ("proposed", None)
    begun = read(dora, f"{own}line/")
    assert "Dora has signed for 2,000.00 USD" in begun
    assert "Sign it" not in begun
    assert "Sign it too" in read(cast.alice, f"{own}line/")
    # What one has signed goes with the draw that is dropped, and what they signed of a change of the line stays.
    first, content = _waits(), {"sheet": "the next one"}
    signed = {"words": "other terms", "content": content, "asset": line.asset, "amount": line.principal, "loan": line}
    assert not authority.sign(line.client, "accept", act="amend", by=dora, now=LATER, **signed)
    assert "Dropped" in press(cast.robin, desk, act="drop")
    assert JointSignature.objects.get(public_id=first).withdrawn_by == cast.robin
    authority.void(line, "draw", by=None, now=LATER)
    assert JointSignature.objects.get(public_id=_waits()).act == "amend"
    authority.void(line, "amend", by=None, now=LATER)
    press(cast.robin, desk, act="ask", amount="2000")
    press(dora, f"{own}line/{Draw.objects.get(state='proposed').public_id}/sign/")
    press(cast.alice, f"/portal/signatures/{_waits()}/sign/")
    assert Draw.objects.get(state="requested").signed_by == cast.alice


def _waits() -> UUID:
    return JointSignature.objects.get(second=None, withdrawn_at=None).public_id


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("", "Say how much you want."),
        ("much", "That is not a number, like 25000."),
        ("0", "0 is not an amount that USD allows"),
        ("-5", "-5 is not an amount that USD allows"),
        ("0.001", "0.001 is not an amount that USD allows"),
        ("600000.01", "600000 USD are available, not 600000.01"),
    ],
)
def test_what_is_no_draw(cast: Cast, line: Loan, amount: str, says: str) -> None:
    page = press(cast.alice, f"/portal/loans/{line.public_id}/line/", amount=amount)
    assert says in page
    assert not Draw.objects.exists()


def test_a_fee_on_what_is_not_drawn_belongs_to_a_line(cast: Cast, line: Loan) -> None:
    product = Product.objects.get()
    product.terms.is_preset = True
    product.terms.save(update_fields=["is_preset"])
    typed = {
        "name": product.name, "tenor": "open", "notice_days": "10", "day_count": product.day_count, "unused": "0.5",
        "schedule_kind": "interest_only", "frequency_months": "1", "calendar": "", "grace_days": "0",
        "pledge_terms": "1", "terms": str(product.terms_id), "fee": "0", "reason": "why not",
    }  # fmt: skip
    page = press(cast.rhea, f"/admin/lending/product/{product.pk}/change/", **typed)
    assert "A fee on what is not drawn belongs to a revolving line" in page
