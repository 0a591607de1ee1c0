"""A frozen account: who stopped it and who set it free, and the time that its call gets back."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction

from lending import access, approvals, freezes
from lending.approvals import UnableToApprove
from lending.models import Approval, AuditRecord, Freeze, Loan, MarginAccount, Role
from risk import invariants
from risk.models import AssetOutage, CallState, SaleCause
from tests.factories.risk import staff

pytestmark = pytest.mark.django_db


def freeze(desk, loan: Loan) -> Freeze:
    return freezes.freeze(account_of(loan), reason="a court order", by=desk.risk, now=desk.now)


def account_of(loan: Loan) -> MarginAccount:
    return MarginAccount.objects.get(pk=loan.margin_account_id)


def lift(desk, loan: Loan) -> None:
    asked = freezes.ask_to_lift(account_of(loan), reason="the order was withdrawn", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)


@pytest.fixture
def called(desk) -> Loan:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(10)
    return loan


def test_the_time_in_which_an_account_was_frozen_is_given_back_to_its_call(desk, called):
    due_at = desk.call(called).cure_due_at
    freeze(desk, called)
    desk.minutes(15)
    assert desk.now > due_at
    lift(desk, called)
    call = desk.call(called)
    # Stopped with 10 of 20 minutes to go, and 10 are left when it is set free.
    assert (call.state, call.paused_s, call.cure_due_at) == (CallState.NOTIFIED, 900, due_at + timedelta(minutes=15))
    told = call.events.filter(kind="paused").latest("pk")
    assert [stop["why"] for stop in told.facts["stops"]] == ["the account was frozen"]
    desk.minutes(9)
    assert not SaleCause.objects.exists()
    desk.minutes(2)
    assert SaleCause.objects.get().declared_at >= call.cure_due_at
    assert invariants.check() == []


def test_a_freeze_stops_the_clock_for_six_hours_and_the_sale_for_as_long_as_it_lasts(desk, called):
    due_at = desk.call(called).cure_due_at
    freeze(desk, called)
    # In minutes, so that marks stay good; the clock alone would have run out after six hours.
    desk.now += timedelta(hours=7)
    assert desk.call(called).cure_due_at == due_at
    lift(desk, called)
    call = desk.call(called)
    assert (call.paused_s, call.cure_due_at) == (6 * 3600, due_at + timedelta(hours=6))


def test_a_freeze_during_an_outage_counts_once(desk, called):
    start = desk.now
    asset = called.margin_account.pledges.get().asset
    AssetOutage.objects.create(asset=asset, start_at=start, end_at=start + timedelta(minutes=6))
    desk.now = start + timedelta(minutes=4)
    freeze(desk, called)
    desk.now = start + timedelta(minutes=9)
    lift(desk, called)
    call = desk.call(called)
    assert call.paused_s == 9 * 60
    told = call.events.get(kind="paused").facts["stops"]
    assert [stop["why"] for stop in told] == ["BTC was out", "the account was frozen"]


def test_who_froze_it_when_and_why_stands_on_the_row_and_the_trail(desk, called):
    row = freeze(desk, called)
    frozen_at = desk.now
    assert account_of(called).frozen
    desk.minutes(1)
    lift(desk, called)
    row.refresh_from_db()
    assert (row.frozen_at, row.frozen_by, row.reason) == (frozen_at, desk.risk, "a court order")
    assert (row.lifted_at, row.lift_maker, row.lift_checker) == (desk.now, desk.risk, desk.second)
    assert not account_of(called).frozen
    trail = AuditRecord.objects.filter(action__startswith="account_").order_by("pk")
    assert list(trail.values_list("action", "reason", "actor")) == [
        ("account_frozen", "a court order", desk.risk.pk),
        ("account_unfrozen", "the order was withdrawn", desk.second.pk),
    ]


def test_one_person_freezes_and_two_set_free(desk, called):
    account = account_of(called)
    with pytest.raises(freezes.UnableToFreeze, match="it is not frozen"):
        freezes.ask_to_lift(account, reason="why", maker=desk.risk, now=desk.now)
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        freezes.freeze(account, reason="why", by=staff(Role.OPERATIONS), now=desk.now)
    freeze(desk, called)
    with pytest.raises(freezes.UnableToFreeze, match="frozen already"):
        freeze(desk, called)
    asked = freezes.ask_to_lift(account, reason="over", maker=desk.second, now=desk.now)
    with pytest.raises(freezes.UnableToFreeze, match="asked for already"):
        freezes.ask_to_lift(account, reason="over", maker=desk.risk, now=desk.now)
    with pytest.raises(UnableToApprove, match="can not decide it"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    assert account_of(called).frozen
    row = Freeze.objects.get()
    with pytest.raises(DatabaseError, match="freeze_lifted_by_maker_and_checker"), transaction.atomic():
        Freeze.objects.filter(pk=row.pk).update(lifted_at=desk.now, lift_maker=desk.risk, lift_checker=desk.risk)


def test_a_lift_of_an_older_freeze_does_not_end_a_newer_one(desk, called):
    freeze(desk, called)
    old = freezes.ask_to_lift(account_of(called), reason="over", maker=desk.risk, now=desk.now)
    Approval.objects.filter(pk=old.pk).update(expires_at=desk.now + timedelta(days=9))
    row = Freeze.objects.get()
    freezes.lift(approved(old, desk), now=desk.now)
    desk.now += timedelta(minutes=1)
    newer = freeze(desk, called)
    with pytest.raises(UnableToApprove, match="the freeze that was meant is over"):
        freezes.lift(approved(old, desk), now=desk.now)
    newer.refresh_from_db()
    assert newer.lifted_at is None
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        Freeze.objects.filter(pk=row.pk).update(reason="another")
    with pytest.raises(DatabaseError, match="lifted, once"), transaction.atomic():
        Freeze.objects.filter(pk=row.pk).update(lift_reason="another")


def approved(row: Approval, desk) -> Approval:
    row.checker = desk.second
    return row


@pytest.mark.parametrize(("reason", "said"), [("  ", "say why"), ("x" * 401, "401 characters, and 400 are kept")])
def test_a_reason_is_needed_and_kept_whole(desk, called, reason, said):
    with pytest.raises(freezes.UnableToFreeze, match=said):
        freezes.freeze(account_of(called), reason=reason, by=desk.risk, now=desk.now)
