"""A sign that no text has is refused at every address, in words; signs that nobody sees are nothing said."""

from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import Client as Browser

from lending.models import Freeze
from tests import bad_input, stories
from tests.cast import Cast
from tests.functional.forms import Forms

Send = Callable[[Browser, str], HttpResponse]
SENT: dict[str, Send] = {
    "NUL in a field": lambda browser, page: browser.post(page, {"reason": "a court\0 order"}),
    "NUL in the name of a field": lambda browser, page: browser.post(page, {"reason": "why", "x\0": "1"}),
    "NUL in what is looked for": lambda browser, page: browser.get("/admin/lending/loan/", {"q": "a\0"}),
    "NUL in an address": lambda browser, page: browser.get("/admin/lending/client/a%00/change/"),
    "a form that arrives broken": lambda browser, page: browser.post(
        page, b"no part", content_type="multipart/form-data; boundary="
    ),
}


@pytest.mark.django_db
def test_what_no_text_can_hold_is_refused_in_words(cast: Cast, client: Browser) -> None:
    page = f"/admin/freezes/{stories.running(cast).pk}/"
    client.force_login(cast.rhea)
    read = {}
    for case, send in SENT.items():
        answer = send(client, page)
        assert answer.status_code == 400, case
        read[case] = Forms(answer.content.decode()).alarms[:2]
    bad_input.stands(bad_input.DOORS, "Every address", read)
    assert not Freeze.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["\u200b", " \u2060\u00ad ", "\u3164", "\u202e\u2800"])
def test_signs_that_nobody_sees_are_no_reason(cast: Cast, client: Browser, reason: str) -> None:
    page = f"/admin/freezes/{stories.running(cast).pk}/"
    client.force_login(cast.rhea)
    answer = client.post(page, {"reason": reason})
    assert answer.status_code == 422
    assert "Refused: say why." in answer.content.decode()
    assert not Freeze.objects.exists()


@pytest.mark.django_db
def test_what_can_be_seen_stays_as_it_was_typed(cast: Cast, client: Browser) -> None:
    """Joiners and marks belong to many scripts; nothing is taken out of what has a sign to be seen."""
    page = f"/admin/freezes/{stories.running(cast).pk}/"
    client.force_login(cast.rhea)
    said = "\u0646\u0627\u0645\u0647\u200c\u0647\u0627\u06cc court"
    assert client.post(page, {"reason": said}).status_code == 302
    assert Freeze.objects.get().reason == said
