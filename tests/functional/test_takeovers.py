"""Operations bring a book of live loans in: tried, mended in place, approved by the head of the desk, found again."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from io import BytesIO

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from pypdf import PdfReader

from lending import approvals
from lending.models import Approval, Loan, Takeover
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory
from tests.factories.takeovers import INTEREST, LOAN, SHA, every_product, files, of_every_kind

PAGE = "/admin/takeovers/"


@pytest.fixture(autouse=True)
def _at_noon(cast: Cast) -> Iterator[None]:
    stories.product()
    AssetFactory(code="BTC")
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        yield


def sent(tables: tuple[str, str, str], **more: object) -> dict[str, object]:
    named = dict(zip(("loans", "pledges", "balances"), tables, strict=True))
    return {"act": "try", "source": "loanbook", "cut_over_at": "2021-05-19T00:00", **named, **more}


def test_a_book_is_tried_mended_approved_and_found(cast: Cast, client: Browser) -> None:
    client.force_login(cast.olga)
    wrong = files([{**LOAN, "product": "x", "client": "Nobody"}], balances=[{**INTEREST, "amount": "much"}])
    loans = SimpleUploadedFile("loans.csv", b"\xef\xbb\xbf" + wrong[0].encode())
    answer = client.post(PAGE, sent(wrong, loans="", loans_file=loans))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "3 errors" in page
    for words in ("&#x27;x&#x27; is none of term-usd", "&#x27;Nobody&#x27; is no client", "&#x27;much&#x27; is no"):
        assert words in page
    assert "LB-1" in page, "what was read from the file stands in the form"
    assert 'value="ask"' not in page
    assert "nothing was asked for: 3 errors" in client.post(PAGE, sent(wrong, act="ask")).content.decode()
    good = files()
    page = client.post(PAGE, sent(good)).content.decode()
    for words in ("1 loan, no error", "500,000.00", "2,250.35", "120.00", "1,000.50", 'value="ask"'):
        assert words in page
    assert not Takeover.objects.exists()
    page = client.post(PAGE, sent(good, act="ask"), follow=True).content.decode()
    assert "it waits for the head of the desk or of risk" in page
    taken = Takeover.objects.get()
    assert taken.fingerprint in page
    assert client.get(f"{PAGE}{taken.public_id}/?file=loans").content.decode() == good[0]
    assert client.get(f"{PAGE}{taken.public_id}/?file=other").status_code == 404

    approval = Approval.objects.get()
    decide = f"/admin/lending/approval/{approval.pk}/"
    assert "made this request and can not decide it" in client.post(f"{decide}approve/", follow=True).content.decode()
    client.force_login(cast.dirk)
    page = client.get(f"{decide}change/").content.decode()
    assert "What the files add up to" in page
    assert "2,250.35" in page
    assert "Approved by you" in client.post(f"{decide}approve/", follow=True).content.decode()
    loan = Loan.objects.get()
    assert str(loan) in client.get(f"{PAGE}{taken.public_id}/").content.decode()
    found = client.get("/admin/lending/loan/?q=LB-1").content.decode()
    assert f"/admin/lending/loan/{loan.pk}/change/" in found
    page = client.get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    for words in ("Taken over", "LB-1", "loanbook", "Loan agreement 17.pdf", SHA, "what was agreed outside"):
        assert words in page
    again = client.post(PAGE, sent(good, act="ask"))
    assert again.status_code == 403, "who decides does not bring in"
    client.force_login(cast.olga)
    assert "these three files were taken over already" in client.post(PAGE, sent(good, act="ask")).content.decode()

    client.force_login(cast.alice)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "agreed outside" in page
    paper = client.get(f"/portal/loans/{loan.public_id}/term-sheet/1/")
    text = "\n".join(part.extract_text() for part in PdfReader(BytesIO(paper.content)).pages)
    for words in ("Taken over", "LB-1", "600,000", "2,250.35", "Loan agreement 17.pdf", "Schedule from 19 May 2021"):
        assert words in text
    client.force_login(cast.charlie)
    assert client.get(f"/portal/loans/{loan.public_id}/").status_code == 404


def test_a_dry_run_lists_what_each_kind_runs_by(cast: Cast, client: Browser) -> None:
    every_product()
    client.force_login(cast.olga)
    page = words(client.post(PAGE, sent(of_every_kind())).content)
    for said in (
        "4 loans, no error",
        "with 5 business days' notice",
        "Interest every month, the principal when it is ended, next on 10 Jun 2021.",
        "SOFR plus 2 %, reset every month, at least 3 %; fixed at 4.00 %.",
        "All at maturity; interest becomes principal every month, next on 24 May 2021.",
        "Limit 720,000.00 USD; what is not drawn costs 0.72 % a year, 30.40 USD of it accrued.",
        "USD 4 1,440,000.00 USD 1,600.00 USD 20.00 USD 30.40 USD 720,000.00 USD",
    ):
        assert said in page
    taken = words(client.post(PAGE, sent(of_every_kind(), act="ask"), follow=True).content)
    assert "30.40 USD 720,000.00 USD" in taken
    approvals.decide(Approval.objects.get(), checker=cast.dirk, approve=True, now=NOW)
    line = Loan.objects.get(origin__reference="RL-1")
    assert "360,000.00 USD of 720,000.00 USD" in words(client.get(f"{PAGE}{Takeover.objects.get().public_id}/").content)
    page = words(client.get(f"/admin/lending/loan/{line.pk}/change/").content)
    assert (
        "360,000.00 USD were drawn, 0.00 USD of interest and 20.00 USD of fees were due, 30.40 USD of the fee" in page
    )
    client.force_login(cast.alice)
    page = words(client.get(f"/portal/loans/{line.public_id}/line/").content)
    assert "Drawn 360,000.00 USD Available 360,000.00 USD Limit 720,000.00 USD" in page
    for reference, said in (
        ("RL-1", "Drawn then 360,000.00 USD Fee on what was not drawn, accrued then 30.40 USD"),
        ("FR-1", "The rate then was by a fixing of 4 %"),
    ):
        loan = Loan.objects.get(origin__reference=reference)
        paper = client.get(f"/portal/loans/{loan.public_id}/term-sheet/1/")
        text = "\n".join(part.extract_text() for part in PdfReader(BytesIO(paper.content)).pages)
        assert said in " ".join(text.split())


def words(page: bytes) -> str:
    found = " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())
    return found.replace(" ,", ",").replace(" .", ".").replace(" ;", ";")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": ""}, "This field is required"),
        ({"source": "x" * 41}, "at most 40 characters"),
        ({"cut_over_at": "yesterday"}, "Enter a valid date/time"),
        ({"cut_over_at": "2021-05-19T13:00"}, "the cut-over lies in the future"),
        ({"cut_over_at": "2021-05-01T00:00"}, "more than 7 days back"),
        ({"loans": ""}, "Choose a file, or write the table down"),
        ({"loans": "loan\nLB-1"}, "loans: the first row does not name client"),
        ({"balances_file": SimpleUploadedFile("b.csv", b"\xff")}, "no text in UTF-8"),
        ({"balances_file": SimpleUploadedFile("b.csv", b"kind\0")}, "signs that no text has"),
    ],
)
def test_the_page_says_what_it_can_not_take(cast: Cast, client: Browser, change: dict[str, object], says: str) -> None:
    client.force_login(cast.olga)
    answer = client.post(PAGE, sent(files(), **change))
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert "Harbourside Trading" in answer.content.decode(), "nothing that was typed is lost"
