"""What people type and send that is no good, tried at the forms of a page, and the words that they read then."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from django.contrib import messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client as Browser
from django.urls import resolve

from tests import bad_input
from tests.functional.forms import Form, Forms

NONSENSE = "Zebra 7x"
_UNSEEN = "\u200b\u2060"
# What a field that a case is not about holds where it is empty; CH is a country, a name, a word and a reason.
_SENSE = {
    "text": "CH", "figure": "1", "day": "2021-05-19", "instant": "2021-05-19T10:00", "email": "a@b.example",
    "password": "CH",
}  # fmt: skip
_ID = re.compile("<[^>]*>")
_LOOKS = {"q", "o", "p", "all"}  # the admin's lists look for rows, and say so where there is none


@dataclass(frozen=True)
class Case:
    """
    One way to fill a form in badly: what is typed into its fields, by their kind.

    `taken_by` are the kinds that may take it: a form of others alone has to refuse.
    """

    name: str
    says: dict[str, str]
    taken_by: frozenset[str] = frozenset()


CASES = (
    Case("nothing", dict.fromkeys(_SENSE, ""), frozenset(_SENSE)),
    Case("signs that nobody sees", {"text": _UNSEEN}, frozenset({"text"})),
    Case(f"“{NONSENSE}”", dict.fromkeys(_SENSE, NONSENSE), frozenset({"text", "password"})),
    Case("“-1”", {"figure": "-1"}),
    Case("“0”", {"figure": "0"}, frozenset({"figure"})),
    Case("“1e400”", {"figure": "1e400"}),
    Case("“0,125”", {"figure": "0,125"}),
    Case("30 February", {"day": "2021-02-30", "instant": "2021-02-30T10:00"}),
    Case("31 December 9999", {"day": "9999-12-31", "instant": "9999-12-31T23:59"}),
    Case("a choice that is not offered", {"choice": "zebra"}),
    Case("a program for a file", {"file": "tool.exe"}),
)


@dataclass(frozen=True)
class Tried:
    """What came of one case at one form: whether it was refused, the words, and what was wrong with that."""

    form: str
    case: str
    refused: bool
    words: tuple[str, ...]
    faults: tuple[str, ...]


def of_page(browser: Browser, path: str) -> dict[str, list[Tried]]:
    """Return what comes of all cases at all forms of a page, by the titles of the forms."""
    read = Forms(browser.get(path).content.decode())
    parts = [part for form in read.forms for part in form.parted() if worth(part)]
    assert parts, f"there is no form on {path}"
    return {title(path, form): list(tried(browser, path, form, read.alarms)) for form in parts}


def hold(found: Mapping[str, list[Tried]]) -> None:
    """Hold what came of trying forms against the list; fail for what is wrong with it at once."""
    for name, ones in found.items():
        assert [(one.case, *one.faults) for one in ones if one.faults] == [], name
        bad_input.stands(bad_input.FORMS, name, {one.case: one.words for one in ones})


def worth(form: Form) -> bool:
    """Return whether a form is one to be tried: it takes something, and is not the search above a list."""
    takes = {*form.typed, *form.chosen, *form.files}
    return bool(takes) and (form.posts or (bool(form.typed) and not takes <= _LOOKS))


def tried(browser: Browser, path: str, form: Form, before: list[str]) -> Iterator[Tried]:
    """Yield what comes of every case that concerns a form; `before` are the alarms of its page already."""
    kinds = {*form.typed.values(), *(["choice"] if form.chosen else []), *(["file"] if form.files else [])}
    for case in CASES:
        spoilt = kinds & set(case.says)
        if spoilt:
            yield _tried(browser, path, form, before, case, spoilt)


def _tried(browser: Browser, path: str, form: Form, before: list[str], case: Case, spoilt: set[str]) -> Tried:
    address = _address(path, form)
    values = dict(form.values)
    for name, kind in form.typed.items():
        values[name] = case.says.get(kind, values.get(name) or _SENSE.get(kind, ""))
    for name, first in form.chosen.items():
        values[name] = case.says.get("choice", values.get(name) or first)
    files = {name: SimpleUploadedFile("tool.exe", b"MZ\x90\0\3") for name in form.files if "file" in spoilt}
    browser.raise_request_exception = False
    with transaction.atomic():
        send = browser.post if form.posts else browser.get
        answer = send(address, {**values, **files})
        said = [(row.level_tag, str(row)) for row in messages.get_messages(answer.wsgi_request)]
        sent_on = answer.status_code in {302, 303}
        refusals = [words for level, words in said if level == "error"]
        text = "" if sent_on or answer.streaming else answer.content.decode()
        if sent_on and refusals:
            browser.cookies.pop("messages", None)
            text = browser.get(urljoin(address, answer["Location"])).content.decode()
        transaction.set_rollback(True)
    browser.cookies.pop("messages", None)
    browser.raise_request_exception = True
    alarms = [] if sent_on else [words for words in Forms(text).alarms if words and words not in before]
    words = tuple(dict.fromkeys([*refusals, *alarms]))
    refused = bool(words) or answer.status_code >= 400
    faults = []
    if answer.status_code >= 500:
        faults.append(f"answers {answer.status_code}: {answer.exc_info and answer.exc_info[1]!r}")
    if refused and not words:
        faults.append(f"is refused without a word ({answer.status_code})")
    if not refused and not spoilt & case.taken_by:
        faults.append("is taken")
    # A password is never shown again, and what nobody saw nobody misses.
    typed = {case.says[kind] for kind in form.typed.values() if kind in spoilt - {"password"}} - {"", _UNSEEN}
    if refused and typed and not any(one in text for one in typed):
        faults.append("what was typed is lost")
    taken = tuple(words for level, words in said if level != "error")
    return Tried(title(path, form), case.name, refused, words if refused else taken or ("taken",), tuple(faults))


def title(path: str, form: Form) -> str:
    """Return what a form is called: the address that it goes to and what it does there, and its buttons."""
    route = _ID.sub("…", resolve(urlsplit(_address(path, form)).path).route)
    act = form.values.get("act", "")
    return f"`{route}{' ' if act else ''}{act}` {' / '.join(form.buttons)}"


def _address(path: str, form: Form) -> str:
    return urljoin(path, form.attributes.get("action") or path)
