"""Compliance says what a case must hold, a second person agrees, and the cases of the day ask for it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.test import Client as Browser

from lending import checklists
from lending.models import Approval, AuditRecord, ChecklistItem, Client, KycCase, User
from tests.cast import NOW, Cast

LATER, PAGE = NOW + timedelta(minutes=2), "/admin/checklists/"
TOMORROW = (NOW + timedelta(days=1)).date()


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def said(**changes: str) -> dict[str, str]:
    return {
        "act": "item", "client_kind": "entity", "jurisdiction": "", "rating": "", "kind": "document",
        "about": "client", "code": "register-extract", "label": "Extract from the register", "help": "Of this year.",
        "start_date": "2021-05-19", "instead_of": "", "reason": "The first checklist.", **changes,
    }  # fmt: skip


def asked(browser: Browser, maker: User, **changes: str) -> Approval:
    browser.force_login(maker)
    page = browser.post(PAGE, said(**changes), follow=True).content.decode()
    assert "Asked: it waits" in page, page
    assert "Waits for a second person" in page
    return Approval.objects.latest("pk")


def decided(browser: Browser, checker: User, request: Approval) -> str:
    browser.force_login(checker)
    return str(browser.post(f"/admin/lending/approval/{request.pk}/approve/", follow=True).content.decode())


def lines(cast: Cast, **changes: str) -> list[str]:
    """Return what a case of Harbourside is asked for, tomorrow."""
    case = KycCase(client=cast.harbourside, opened_at=NOW, **changes)
    case.pk = 0
    return [line.words for line in checklists.of([case], now=NOW + timedelta(days=1))[0].lines]


def test_a_desk_on_its_first_day_writes_its_checklists(cast: Cast, client: Browser) -> None:
    def told(user: User) -> bool:
        client.force_login(user)
        return "No checklist for individual and entity clients" in client.get("/admin/").content.decode()

    assert [told(user) for user in (cast.cora, cast.dirk, cast.robin)] == [True, True, False]
    request = asked(client, cast.cora)
    assert "can not decide it" in decided(client, cast.cora, request)
    assert not ChecklistItem.objects.exists()
    decided(client, cast.dirk, request)
    item = ChecklistItem.objects.get()
    assert (item.maker, item.checker, item.label) == (cast.cora, cast.dirk, "Extract from the register")
    assert not told(cast.cora)
    assert "No checklist for individual clients" in client.get("/admin/").content.decode()
    decided(client, cast.dirk, asked(client, cast.cora, code="accounts", label="Audited accounts", rating="high"))
    decided(client, cast.dirk, asked(client, cast.cora, code="w-9", label="Form W-9", jurisdiction="United States"))
    assert lines(cast) == ["Extract from the register"]
    assert lines(cast, risk_rating="high") == ["Audited accounts", "Extract from the register"]
    client.force_login(cast.robin)
    tried = {"client_kind": "entity", "jurisdiction": "US", "rating": "low"}
    page = client.get(PAGE, tried).content.decode()
    assert "<li>Form W-9, of the client</li>" in page
    assert "<li>Audited accounts" not in page
    assert "No such" not in page
    tried["client_kind"] = "individual"
    assert "No checklist is in force" in client.get(PAGE, tried).content.decode()


def test_a_changed_line_ends_the_one_before_and_both_stay(cast: Cast, client: Browser) -> None:
    decided(client, cast.dirk, asked(client, cast.cora))
    before = ChecklistItem.objects.get()
    changes = {"label": "Extract, certified", "start_date": str(TOMORROW), "instead_of": str(before.pk)}
    request = asked(client, cast.cora, **changes)
    again = asked(client, cast.cora, **changes)
    assert "Approved by you" in decided(client, cast.dirk, request)
    before.refresh_from_db()
    after = ChecklistItem.objects.get(label="Extract, certified")
    assert (before.end_date, before.end_maker, before.end_checker) == (TOMORROW, cast.cora, cast.dirk)
    assert (after.start_date, after.end_date) == (TOMORROW, None)
    assert lines(cast) == ["Extract, certified"]
    assert checklists.asked("entity", "GB", "low", on=NOW.date()) == [before]
    assert "“Extract, certified” asks for register-extract of the same already" in decided(client, cast.dirk, again)
    page = client.get(PAGE).content.decode()
    assert page.count("<code>register-extract</code>") == 2, "what ended is history, and shown"
    record = AuditRecord.objects.filter(action="checklist_item_ended").get()
    assert (record.actor, record.after["what"]) == (cast.dirk, str(before))


def test_a_line_is_ended_by_two_and_no_earlier_than_tomorrow(cast: Cast, client: Browser) -> None:
    decided(client, cast.dirk, asked(client, cast.cora))
    end = {"act": "end", "rule": str(ChecklistItem.objects.get().pk), "end_date": str(TOMORROW), "reason": "Repealed."}
    client.force_login(cast.robin)
    assert "Ask for a line no longer" not in client.get(PAGE).content.decode()
    assert client.post(PAGE, end).status_code == client.post(PAGE, said()).status_code == 403
    client.force_login(cast.cora)
    for changes, says in (
        ({"end_date": "2021-05-19"}, "a rule ends after today, and after it began"),
        ({"end_date": "tomorrow"}, "Enter a valid date"),
        ({"reason": " "}, "This field is required"),
        ({"rule": "0"}, "Select a valid choice"),
    ):
        answer = client.post(PAGE, {**end, **changes})
        assert (answer.status_code, says in answer.content.decode()) == (422, True), says
    client.post(PAGE, end)
    assert "its end waits for a second person already" in client.post(PAGE, end).content.decode()
    decided(client, cast.dirk, Approval.objects.latest("pk"))
    assert lines(cast) == []


BAD = {
    "in the past": ({"code": "x", "start_date": "2021-05-18"}, "Not asked: a rule can not begin in the past"),
    "a country that is none": ({"jurisdiction": "Atlantis"}, "No country is called Atlantis"),
    "no reason": ({"reason": ""}, "This field is required"),
    "a code with blanks": ({"code": "tax residence"}, "Enter a valid “slug”"),
    "a rating that is none": ({"rating": "extreme"}, "Select a valid choice"),
    "an answer that expires": ({"kind": "fact", "code": "x", "expires": "on"}, "an answer does not expire"),
    "owners of a person": ({"client_kind": "individual", "about": "owner"}, "a person has no owners"),
    "the signed agreement": ({"code": "agreement"}, "agreement stands for the signed agreement"),
    "asked for already": ({"label": "Extract"}, "asks for register-extract of the same already"),
    "a code of a document for an answer": ({"kind": "fact", "about": "signer"}, "stands for the document"),
    "instead of one, today": ({"instead_of": "that"}, "a rule ends after today, and after it began"),
    "instead of one that is none": ({"instead_of": "0"}, "Select a valid choice"),
}


def test_bad_input_is_refused_in_words_and_nothing_typed_is_lost(cast: Cast, client: Browser) -> None:
    decided(client, cast.dirk, asked(client, cast.cora))
    key = str(ChecklistItem.objects.get().pk)
    client.force_login(cast.cora)
    for case, (changes, says) in BAD.items():
        typed = said(**{name: key if value == "that" else value for name, value in changes.items()})
        answer = client.post(PAGE, typed)
        page = answer.content.decode()
        assert (answer.status_code, says in page) == (422, True), case
        assert f'value="{typed["label"]}"' in page, case
    assert Approval.objects.filter(state="requested").count() == 0


def test_the_database_lets_nobody_begin_a_line_alone_and_keeps_it(cast: Cast) -> None:
    line = {"client_kind": Client.Kind.ENTITY, "kind": "document", "code": "x", "label": "X", "start_date": NOW.date()}
    for makers, says in (
        ({}, "two persons begin"),
        ({"maker": cast.cora}, "two persons begin"),
        ({"maker": cast.cora, "checker": cast.cora}, "checklist_item_maker_is_not_checker"),
    ):
        with pytest.raises(DatabaseError, match=says), transaction.atomic():
            ChecklistItem.objects.create(**line, **makers)
    row = ChecklistItem.objects.create(**line, maker=cast.cora, checker=cast.dirk)
    with pytest.raises(DatabaseError, match="checklist_item_without_end_once"), transaction.atomic():
        ChecklistItem.objects.create(**{**line, "start_date": TOMORROW}, maker=cast.cora, checker=cast.dirk)
    for changes in ({"end_date": TOMORROW}, {"end_date": TOMORROW, "end_maker": cast.cora, "end_checker": cast.cora}):
        with pytest.raises(DatabaseError, match="checklist_item_is_ended_by_two"), transaction.atomic():
            ChecklistItem.objects.filter(pk=row.pk).update(**changes)
    with pytest.raises(DatabaseError, match="denied"), transaction.atomic():
        row.delete()
