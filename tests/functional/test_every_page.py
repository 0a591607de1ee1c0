"""Every page of every door, on a desk in the middle of the crash: what it asks the database, and its forms."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.db import connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from deploy.benches import pages

LIMIT = 12
TYPED = "Zebra 7x"
REFUSAL = '<li class="error"'
_LETS_TYPE = {"text", "search", "email", "url", "tel", "number", "date", "datetime-local", "password", "textarea"}


@dataclass
class Form:
    """A form as a browser without scripts has it."""

    attributes: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    buttons: int = 0


class Forms(HTMLParser):
    """Reads the forms of a page, and what sends something without being in one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.loose: list[str] = []
        self._open: Form | None = None
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(at)
            self.forms.append(self._open)
        elif self._open is None:
            if {"hx-post", "hx-put", "hx-delete", "hx-patch"} & set(at):
                self.loose.append(self.get_starttag_text() or tag)
        elif tag == "select":
            self._select = at.get("name", "")
        elif tag == "option" and self._select:
            if "selected" in at or self._select not in self._open.values:
                self._open.values[self._select] = at.get("value", "")
        elif tag == "textarea" or (tag == "input" and at.get("type", "text") in _LETS_TYPE):
            self._open.typed.append(at.get("name", ""))
        elif tag == "button" or (tag == "input" and at.get("type") == "submit"):
            self._open.buttons += at.get("type", "submit") == "submit"
            if at.get("name"):
                self._open.values.setdefault(at["name"], at.get("value", ""))
        elif tag == "input" and (at.get("type") not in {"checkbox", "radio"} or "checked" in at):
            self._open.values[at.get("name", "")] = at.get("value", "on")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = ""


@dataclass
class Seen:
    """A page as somebody saw it, how often it asked the database, and what came of typing nonsense into its forms."""

    who: str
    kind: str
    asked: int
    forms: list[Form]
    loose: list[str]
    lost: list[str]


def _looked_at() -> Iterator[Seen]:
    with pages.in_the_crash(100, seed=7):
        for email, door in pages.DOORS:
            with pages.signed_in(email) as browser:
                for page in list(pages.every_page(browser, door)):
                    with CaptureQueriesContext(connection) as asked:
                        text = browser.get(page.path).content.decode()
                    read = Forms(text)
                    lost = [words for form in read.forms for words in _typed_nonsense(browser, page.path, form)]
                    yield Seen(email.partition("@")[0], page.kind, len(asked), read.forms, read.loose, lost)


def _typed_nonsense(browser: Browser, path: str, form: Form) -> Iterator[str]:
    """Yield where what was typed is gone after a refusal; nothing that is done by it stays done."""
    if form.attributes.get("method", "get").lower() != "post" or not form.typed:
        return
    address = urljoin(path, form.attributes.get("action") or path)
    with transaction.atomic():
        answer = browser.post(address, {**form.values, **dict.fromkeys(form.typed, TYPED)}, follow=True)
        transaction.set_rollback(True)
    text = answer.content.decode()
    refused = not answer.redirect_chain or REFUSAL in text
    if refused and TYPED not in text:
        yield f"{resolve(urlsplit(address).path).view_name} answers {answer.status_code}"


@pytest.fixture(scope="module")
def seen(django_db_setup: None, django_db_blocker: Any) -> list[Seen]:
    with django_db_blocker.unblock():
        return list(_looked_at())


def test_every_door_was_walked(seen):
    assert {page.who for page in seen} == {"alice", "rhea", "robin", "dana", "cora", "olga"}
    assert len(seen) > 150


def test_no_page_asks_more_than_twelve_times(seen):
    assert {(page.who, page.kind): page.asked for page in seen if page.asked > LIMIT} == {}


def test_every_form_can_be_sent_without_a_script(seen):
    """It has a button, goes where its script would send it, and carries what proves that it is ours."""
    forms = [(page, form) for page in seen for form in page.forms]
    posted = [(page.kind, form) for page, form in forms if form.attributes.get("method", "").lower() == "post"]
    assert len(posted) > 100
    filled_in = [(page, form) for page, form in forms if form.typed]  # the admin's lists stand in forms of their own
    assert [(page.kind, form.attributes) for page, form in filled_in if not form.buttons] == []
    assert [kind for kind, form in posted if "csrfmiddlewaretoken" not in form.values] == []
    scripted = [form.attributes for page, form in forms if {"hx-post", "hx-get"} & set(form.attributes)]
    assert [at for at in scripted if at.get("hx-post", at.get("action")) != at.get("action")] == []


def test_nothing_is_sent_from_outside_a_form(seen):
    assert {(page.kind, *page.loose) for page in seen if page.loose} == set()


def test_nothing_that_was_typed_is_lost(seen):
    tried = [form for page in seen for form in page.forms if form.typed and form.attributes.get("method") == "post"]
    assert len(tried) >= 10
    assert {(page.who, page.kind, *page.lost) for page in seen if page.lost} == set()
