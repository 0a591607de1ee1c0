"""A loan that was signed and is not paid out in time ends by itself; its client is told and has the collateral back."""

from datetime import timedelta
from decimal import Decimal
from unittest import mock

import pytest
import time_machine
from django.test import Client as Browser

from lending import collateral, lapses, loans, offers, overdue
from lending.loans import PAID_OUT_WITHIN
from lending.models import LoanEvent, LoanState, Notice
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make

LATER = NOW + PAID_OUT_WITHIN
AS_EVER = timedelta(seconds=1)


def test_what_was_signed_and_not_paid_out_ends_and_what_was_sent_for_it_goes_back(cast: Cast) -> None:
    running = stories.running(cast)
    pooled = stories.running(cast, opens_pool=True)
    accepted = stories.offered(cast, margin_account=pooled.margin_account)
    waits = stories.awaited(cast, cast.quayside, signer=cast.charlie)
    offers.accept(accepted, by=cast.alice, now=NOW)
    stories.deposited(cast.quayside, "BTC", Decimal(25))
    collateral.pledge(waits.margin_account, make.asset("BTC"), Decimal(25), key="sent", now=NOW)
    browser = Browser()
    browser.force_login(cast.alice)
    with time_machine.travel(NOW, tick=False):
        shown = browser.get(page(accepted)).content.decode()
        assert "It is signed. Not paid out by" in shown
        assert "02 Jun 2021 12:00:00 UTC" in shown
        assert "it ends, and what was sent for it secures your other loans of its pool" in shown
        browser.force_login(cast.robin)
        assert "02 Jun 2021 12:00:00 UTC" in browser.get(f"/admin/lending/loan/{accepted.pk}/change/").content.decode()
        row = browser.get("/admin/").content.decode().split(f'data-loan="{accepted.public_id}"')[1].split("</tr>")[0]
        assert "02 Jun 2021 12:00:00 UTC" in row
    assert lapses.work_due(now=LATER - AS_EVER) == 0
    # Nobody pays it out in the moment in which it ends.
    permit = make.draw_permit(waits, now=LATER)
    with pytest.raises(loans.UnableToFund, match="signed more than 14 days ago: offer it anew"):
        loans.fund(waits, permit=permit, actor=cast.olga, now=LATER)
    assert lapses.work_due(now=LATER) == 2
    assert lapses.work_due(now=LATER) == 0
    for loan in (accepted, waits, running):
        loan.refresh_from_db()
    assert [accepted.state, waits.state, running.state] == [LoanState.CANCELLED, LoanState.CANCELLED, LoanState.ACTIVE]
    cause = LoanEvent.objects.get(loan=waits, to_state=LoanState.CANCELLED).cause
    assert cause == "signed on 19 May 2021 and not paid out within 14 days"
    told = Notice.objects.get(client=cast.quayside, kind="loan_lapsed")
    assert "goes back to you: ask for it on the loan's page" in told.body
    told = Notice.objects.get(client=cast.harbourside, kind="loan_lapsed")
    assert "secures your other loans of its pool, and goes back as far as they let it" in told.body
    browser.force_login(cast.alice)
    with time_machine.travel(LATER, tick=False):
        words = browser.get(page(accepted)).content.decode()
    assert "some of it may leave, to an address" in words
    with time_machine.travel(LATER, tick=False):  # the pool's collateral is found at the loan that it secures
        assert page(accepted) not in (home := browser.get("/portal/").content.decode())
        assert page(pooled) in home
    assert "Nothing is owed on it" not in words
    browser.force_login(cast.charlie)
    with time_machine.travel(LATER, tick=False):
        assert f"{page(waits)}back/" in browser.get(page(waits)).content.decode()


def test_one_that_can_not_end_holds_back_no_other(cast: Cast) -> None:
    first, second = stories.awaited(cast), stories.awaited(cast, cast.quayside, signer=cast.charlie)
    moved = loans.transition

    def refused(loan, *args, **kwargs):
        if loan.pk == first.pk:
            raise loans.UnableToMove("stuck")
        moved(loan, *args, **kwargs)

    with mock.patch.object(loans, "transition", refused):
        assert lapses.work_due(now=LATER) == 1
    second.refresh_from_db()
    assert second.state == LoanState.CANCELLED
    (failing,) = overdue.failing(before=LATER)
    assert (failing.loan, failing.reason.split(";")[0]) == (first, "its end without a payout failed")
    assert lapses.work_due(now=LATER) == 1
    assert overdue.failing(before=LATER) == []


def page(loan):
    return f"/portal/loans/{loan.public_id}/"
