"""A version of the master agreement ends: compliance reads beforehand whom it stops, managers when it comes."""

import re
from datetime import date, timedelta

import pytest
import time_machine
from django.http import HttpResponse
from django.test import Client as Browser

from lending import loans, offers
from lending.models import AgreementVersion, AuditRecord, StoredFile
from tests import stories
from tests.cast import NOW, Cast

PAGE = "/admin/agreements/"


def words(answer: HttpResponse) -> str:
    """Return the words of a page, as a person reads them."""
    return " ".join(re.sub("<[^>]*>", " ", answer.content.decode()).split()).replace(" :", ":")


def press(browser: Browser, act: str, **typed: str) -> str:
    return words(browser.post(PAGE, {"act": act, **typed}, follow=True))


def test_a_version_ends_and_says_beforehand_for_whom(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    version = AgreementVersion.objects.get()
    asked = {"version": str(version.pk), "end_date": "2021-06-10", "reason": "the new law of June"}
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.robin)
        assert "End a version" not in client.get(PAGE).content.decode()
        assert client.post(PAGE, {"act": "end", **asked}).status_code == 403
        assert "master agreement, version" not in client.get("/admin/").content.decode()

        client.force_login(cast.cora)
        page = client.get(PAGE).content.decode()
        assert 'value="foresee"' in page
        assert 'value="end"' not in page  # first what it does
        said = press(client, "foresee", **asked)
        assert "2 clients have signed no other version" in said
        assert "Harbourside Trading" in said
        assert "Quayside Holdings" in said
        assert "1 of theirs is on the way now" in said
        assert "0 are open now" in said
        assert "No other version is in force on that day" in said
        for changes, told in (
            ({"end_date": "2021-05-19"}, "a version ends after today, and after it began"),
            ({"end_date": "2100-01-01"}, "more than 50 years off"),
            ({"reason": " "}, "This field is required"),
            ({"version": ""}, "This field is required"),
        ):
            for act in ("foresee", "end"):
                answer = client.post(PAGE, {"act": act, **asked, **changes})
                assert answer.status_code == 422
                assert told in answer.content.decode()
        AgreementVersion.objects.create(
            code="second", title=version.title, file=StoredFile.objects.get(), start_date=date(2021, 6, 1),
            published_by=cast.cora, published_at=NOW,
        )  # fmt: skip
        assert "They can sign Master loan agreement, version second" in press(client, "foresee", **asked)
        # What ends it holds what was read: what stands in the form beside it by then is read first.
        page = client.post(PAGE, {"act": "foresee", **asked}).content.decode()
        ends = next(form for form in page.split("<form")[1:] if 'value="end"' in form).split("</form>")[0]
        for name, value in asked.items():
            assert re.search(f'<input type="hidden" name="{name}" value="{value}"', ends), name
        assert 'value="foresee"' not in ends
        assert AgreementVersion.objects.filter(end_date=None).count() == 2
        assert "version first ends on 10 Jun 2021" in press(client, "end", **asked)
        assert "Select a valid choice" in press(client, "end", **asked)
        kept = AuditRecord.objects.get(action="agreement_ended")
        assert (kept.actor, kept.reason, kept.after) == (cast.cora, asked["reason"], {"end_date": "2021-06-10"})

        client.force_login(cast.robin)
        mine = words(client.get("/admin/"))
        assert "10 Jun 2021 Harbourside Trading ends: master agreement, version first" in mine
        assert "Quayside" not in mine
        assert "End a version" not in client.get(PAGE).content.decode()
    later = NOW + timedelta(days=23)
    loan.quoted_until = later + timedelta(days=1)
    loan.save(update_fields=["quoted_until"])
    with pytest.raises(loans.UnableToMove, match="the master agreement in a version in force"):
        offers.accept(loan, by=cast.alice, now=later)
