"""A term sheet is final from its offer on: who accepts is bound to its hash, and both sides keep the same paper."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser

from lending import loans, offers, term_sheets
from lending.models import LadderTerms, TermSheetAcceptance
from lending.papers import term_sheet
from tests.cast import NOW, Cast
from tests.functional.test_what_is_printed_is_what_runs import lines, offer, read


@pytest.fixture(autouse=True)
def _at_noon() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        yield


def test_accepting_binds_the_signer_to_the_hash(cast: Cast) -> None:
    loan = offer(cast, asset="USD")
    sheet = term_sheets.newest(loan)
    assert sheet is not None
    before = term_sheet.render(sheet)
    assert "Not accepted yet" in lines(before)
    with pytest.raises(loans.UnableToMove, match="no longer those that you read"):
        offers.accept(loan, by=cast.alice, read="0" * 64, now=NOW)
    assert not TermSheetAcceptance.objects.exists()
    offers.accept(loan, by=cast.alice, read=sheet.fingerprint, now=NOW + timedelta(minutes=5))
    bound = TermSheetAcceptance.objects.get()
    assert (bound.signer, bytes(bound.content_hash).hex()) == (cast.alice, sheet.fingerprint)
    assert loan.events.get(to_state="accepted").evidence == {"term_sheet": 1, "sha256": sheet.fingerprint}
    after = lines(term_sheet.render(term_sheets.versions(loan).get()))
    at = after.index("For the client, by")
    assert after[at : at + 4] == ["For the client, by", "Alice", "At", "19 May 2021 12:05:00 UTC"]
    assert read(before) == read(term_sheet.render(term_sheets.versions(loan).get()))


def test_two_loans_share_a_ladder_only_if_their_sheets_say_the_same(cast: Cast) -> None:
    first, second = offer(cast, asset="USD"), offer(cast, asset="USD")
    assert first.margin_account.terms_id == second.margin_account.terms_id
    own = LadderTerms.objects.get(pk=first.margin_account.terms_id)
    own.pk, own.cure_period_s = None, 7_777
    third = offers.quote(
        client=cast.harbourside, product=first.product, principal=Decimal(5), annual_rate=Decimal("0.1"),
        maturity_date=date(2021, 6, 1), quoted_until=NOW + timedelta(days=1), made_by=cast.robin, now=NOW, terms=own,
    )  # fmt: skip
    assert third.margin_account.terms.cure_period_s == 7_777
    assert read(term_sheet.render(term_sheets.versions(third).get()))["Time to cure a call, from its receipt"] == (
        "2 h 9 min 37 s"
    )


def refused(sql: str, *values: Any) -> str:
    with pytest.raises(DatabaseError) as found, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)
    return str(found.value)


def test_the_database_keeps_what_was_offered(cast: Cast) -> None:
    loan = offer(cast, asset="USD")
    sheet = term_sheets.versions(loan).get()
    table = "lending_termsheet"
    for sql in (
        f"UPDATE {table} SET content = '{{}}'", f"UPDATE {table} SET offered_at = now()", f"DELETE FROM {table}",
    ):  # fmt: skip
        assert "permission denied" in refused(sql)
    copied = (
        f"INSERT INTO {table} (client_id, loan_id, version, content, content_hash, offered_at, made_by_id) "
        f"SELECT %s, loan_id, %s, %s, content_hash, offered_at, made_by_id FROM {table}"
    )
    text = sheet.content
    assert "term_sheet_hash_is_of_its_text" in refused(copied, loan.client_id, 2, text.replace("0.1", "0.2"))
    assert "does not follow 1" in refused(copied, loan.client_id, 3, text)
    assert "does not follow 1" in refused(copied, loan.client_id, 1, text)
    assert "another client" in refused(copied, cast.quayside.pk, 2, text)


def test_the_database_lets_a_loan_run_by_nothing_else(cast: Cast) -> None:
    loan = offer(cast, asset="USD")
    for change in (
        "principal = principal + 1", "annual_rate = 0.2", "default_rate = 0.5", "origination_fee = 0.1",
        "day_count = '30/360'", "schedule_kind = 'interest_only'", "frequency_months = 6",
        "calendar = 'XFED'", "grace_days = 9", "maturity_date = maturity_date + 1", "payout_address = 'wire:mine'",
    ):  # fmt: skip
        assert "a loan runs by its term sheet" in refused(f"UPDATE lending_loan SET {change} WHERE id = %s", loan.pk)
    by = "UPDATE lending_loan SET state = 'accepted', accepted_by_id = %s WHERE id = %s"
    assert "accepted by whoever accepted its newest term sheet" in refused(by, cast.alice.pk, loan.pk)
    bind = (
        "INSERT INTO lending_termsheetacceptance (client_id, sheet_id, content_hash, signer_id, accepted_at) "
        "SELECT client_id, id, {}, %s, now() FROM lending_termsheet"
    )
    assert "binds to the hash" in refused(bind.format("sha256('other')"), cast.alice.pk)
    offers.accept(loan, by=cast.alice, now=NOW)
    assert "permission denied" in refused("UPDATE lending_termsheetacceptance SET signer_id = %s", cast.bob.pk)


def test_borrower_and_manager_download_it_before_and_after(cast: Cast, client: Browser) -> None:
    loan = offer(cast, asset="USD")
    portal, admin = f"/portal/loans/{loan.public_id}/term-sheet/1/", f"/admin/lending/loan/{loan.pk}/term-sheet/1/"
    for accepted in (False, True):
        if accepted:
            offers.accept(loan, by=cast.alice, now=NOW)
        paper = term_sheet.render(term_sheets.versions(loan).get())
        for who, page, address in (
            (cast.alice, f"/portal/loans/{loan.public_id}/", portal),
            (cast.bob, f"/portal/loans/{loan.public_id}/", portal),
            (cast.robin, f"/admin/lending/loan/{loan.pk}/change/", admin),
            (cast.rhea, f"/admin/lending/loan/{loan.pk}/change/", admin),
        ):
            client.force_login(who)
            assert f'href="{address}"' in client.get(page).content.decode()
            answer = client.get(address)
            assert (answer["Content-Type"], answer.content) == ("application/pdf", paper)
            assert 'filename="term-sheet-' in answer["Content-Disposition"]
    assert client.get(admin.replace("/1/", "/2/")).status_code == 404


def test_an_outsider_gets_no_term_sheet(cast: Cast, client: Browser) -> None:
    loan = offer(cast, asset="USD")
    rita = cast.quayside.relationship_manager
    for who, address, status in (
        (cast.charlie, f"/portal/loans/{loan.public_id}/term-sheet/1/", 404),
        (rita, f"/admin/lending/loan/{loan.pk}/term-sheet/1/", 404),
        (cast.dana, f"/admin/lending/loan/{loan.pk}/term-sheet/1/", 404),
        (cast.alice, f"/admin/lending/loan/{loan.pk}/term-sheet/1/", 302),
    ):
        client.force_login(who)
        assert client.get(address).status_code == status
