"""Every page of every door, on a desk in the middle of the crash: what it asks the database, and its forms."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django import forms
from django.conf import settings
from django.db import connection
from django.template import Template
from django.test import Client as Browser
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext

from deploy.benches import pages
from deploy.run import crawl
from deploy.run.crawl import Answer, Page
from lending import clock
from tests import bad_input
from tests.functional import half_done, trying
from tests.functional.forms import Form, Forms
from tests.functional.trying import Tried

LIMIT = 12
_TAKES = re.compile(r'method="post".*<(textarea|input name|input id|select)', re.DOTALL)
# Forms that the walk does not come to, by what the list calls them; tests of their own try them.
ELSEWHERE = {
    "lending.admin.closing.CloseForm": "`admin/close/` Ask a second person to close it",
    "lending.admin.onboarding_forms.AgreementForm": "`admin/onboarding/…/agreement/` Record it",
    "lending.admin.parallel.DayForm": "`admin/parallel/` Compare",
}
ON_OTHER_DAYS = (
    "`admin/otc/rfq/…/end-quote/` Ask a second person to end the quote",
    "`admin/otc/settlement/…/again/` Instruct it again",
)


@dataclass
class Seen:
    """A page as somebody saw it, and how often it asked the database."""

    who: str
    kind: str
    asked: int
    forms: list[Form]
    loose: list[str]


@dataclass
class Walk:
    """All that was seen, and what came of typing nonsense, once into every form."""

    pages: list[Seen] = field(default_factory=list)
    tried: dict[str, list[Tried]] = field(default_factory=dict)
    filled_in: set[str] = field(default_factory=set)
    rendered: set[str] = field(default_factory=set)

    def all_of(self, browser: Browser, who: str, door: str) -> None:
        """Look at one page of every kind that a door leads to."""
        fetched: dict[str, tuple[int, str]] = {}

        def fetch(path: str) -> Answer:
            with CaptureQueriesContext(connection) as asked:
                answer = pages.fetch(browser, path)
            fetched[path] = len(asked), answer.text
            return answer

        for page in crawl.pages(fetch, door):
            self.see(browser, who, page, *fetched[page.path])

    def look(self, browser: Browser, who: str, page: Page) -> None:
        """Open a page, and try the forms on it that were not met before."""
        with CaptureQueriesContext(connection) as asked:
            answer = browser.get(page.path, follow=True)
        assert answer.status_code == 200, f"{who} on {page.path}"
        self.see(browser, who, Page(page.kind, answer.request["PATH_INFO"]), len(asked), answer.content.decode())

    def see(self, browser: Browser, who: str, page: Page, asked: int, text: str) -> None:
        """Note what a page asked and holds, and try its forms."""
        path, read = urlsplit(page.path).path, Forms(text)
        self.pages.append(Seen(who, page.kind, asked, read.forms, read.loose))
        for form in (part for whole in read.forms for part in whole.parted() if trying.worth(part)):
            title = trying.title(path, form)
            if title not in self.tried:
                self.tried[title] = list(trying.tried(browser, path, form, read.alarms))


def _walked() -> Walk:
    walk = Walk()

    def filled_in(form: forms.BaseForm, clean: Any = forms.BaseForm.full_clean) -> None:
        if form.is_bound:
            walk.filled_in.add(f"{type(form).__module__}.{type(form).__name__}")
        clean(form)

    def rendered(template: Template, **_: Any) -> None:
        walk.rendered.add(str(template.name))

    template_rendered.connect(rendered)
    with pytest.MonkeyPatch.context() as patch, pages.in_the_crash(60, seed=7):
        patch.setattr(forms.BaseForm, "full_clean", filled_in)
        more = half_done.leave(now=clock.now())
        for path in (path for reader, path in more if reader == half_done.NOBODY):
            walk.look(Browser(), half_done.NOBODY, Page("outside", path))
        for email, door in pages.DOORS:
            who = email.partition("@")[0]
            with pages.signed_in(email) as browser:
                walk.all_of(browser, who, door)
                for path in (path for reader, path in more if reader == who):
                    walk.look(browser, who, Page("half done", path))
    template_rendered.disconnect(rendered)
    return walk


@pytest.fixture(scope="module")
def walk(django_db_setup: None, django_db_blocker: Any) -> Walk:
    with django_db_blocker.unblock():
        return _walked()


@pytest.fixture
def seen(walk: Walk) -> list[Seen]:
    return walk.pages


def test_every_door_was_walked(seen):
    assert {page.who for page in seen} == {"alice", "rhea", "robin", "dana", "cora", "olga", half_done.NOBODY}
    assert len(seen) > 150


def test_no_page_asks_more_than_twelve_times(seen):
    assert {(page.who, page.kind): page.asked for page in seen if page.asked > LIMIT} == {}


def test_every_form_can_be_sent_without_a_script(seen):
    """It has a button, goes where its script would send it, and carries what proves that it is ours."""
    posted = [(page.kind, form) for page in seen for form in page.forms if form.posts]
    assert len(posted) > 100
    filled_in = [(page, form) for page in seen for form in page.forms if form.typed]
    assert [(page.kind, form.attributes) for page, form in filled_in if not form.buttons] == []
    assert [kind for kind, form in posted if "csrfmiddlewaretoken" not in form.values] == []
    scripted = [form.attributes for page in seen for form in page.forms if {"hx-post", "hx-get"} & set(form.attributes)]
    assert [at for at in scripted if at.get("hx-post", at.get("action")) != at.get("action")] == []


def test_nothing_is_sent_from_outside_a_form(seen):
    assert {(page.kind, *page.loose) for page in seen if page.loose} == set()


def test_bad_input_is_refused_in_words_and_nothing_typed_is_lost(walk):
    """And the list says what is read."""
    assert len(walk.tried) > 60
    trying.hold(walk.tried)
    others = [*ELSEWHERE.values(), *ON_OTHER_DAYS]
    bad_input.complete(bad_input.FORMS, [*walk.tried, *others])


def _ours(kind: type[forms.BaseForm]) -> Iterator[str]:
    for form in kind.__subclasses__():
        if form.__module__.split(".")[0] in {"lending", "risk", "otc", "deploy"} and not form.__subclasses__():
            yield f"{form.__module__}.{form.__name__}"
        yield from _ours(form)


def test_no_form_is_left_out(walk):
    """Each was filled in, here or in a test of its own, and each page that holds one was shown."""
    assert {form for form in _ours(forms.BaseForm) if form not in walk.filled_in} == set(ELSEWHERE)
    folder = Path(settings.BASE_DIR) / "templates"
    posting = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.html") if _TAKES.search(path.read_text())
    }
    assert posting - walk.rendered == set()
