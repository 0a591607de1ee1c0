"""Who may mark a group: leases in wall time, fencing tokens that outlive them."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction

from risk import cycle, leases
from risk.models import MarginStatus, ShardLease
from tests.factories.lending import AT

pytestmark = pytest.mark.django_db


def test_a_lease_is_held_prolonged_given_back_and_taken_over():
    first = leases.acquire(3, "a", wall_now=AT, lease_s=10)
    assert leases.acquire(3, "b", wall_now=AT + timedelta(seconds=9)) is None
    again = leases.acquire(3, "a", wall_now=AT + timedelta(seconds=9), lease_s=10)
    assert again == first
    second = leases.acquire(3, "b", wall_now=AT + timedelta(seconds=20), lease_s=10)
    assert second.fence == first.fence + 1
    leases.release(second, wall_now=AT + timedelta(seconds=21))
    third = leases.acquire(3, "a", wall_now=AT + timedelta(seconds=21))
    assert third.fence == second.fence + 1


def test_a_former_holder_marks_and_writes_nothing(desk):
    loan = desk.loan("20000", BTC="1")
    old = leases.acquire(0, "a", wall_now=AT)
    young = leases.acquire(0, "b", wall_now=AT + timedelta(hours=1))
    desk.now += timedelta(seconds=15)
    desk.quote()
    cycle.run(0, now=desk.now, fence=young.fence)
    desk.now += timedelta(seconds=15)
    desk.quote(BTC="28000")
    with pytest.raises(leases.UnableToFence):
        cycle.run(0, now=desk.now, fence=old.fence)
    assert desk.state(loan) == "healthy"


def test_a_token_that_was_overtaken_in_the_middle_of_a_round_writes_nothing(desk):
    loan = desk.loan("20000", BTC="1")
    desk.round()
    MarginStatus.objects.update(fence=7)
    desk.now += timedelta(seconds=15)
    desk.quote(BTC="28000")
    with pytest.raises(leases.UnableToFence), transaction.atomic():
        cycle.run(0, now=desk.now)
    assert desk.state(loan) == "healthy"
    assert not loan.margin_account.margin_calls.exists()


def test_postgresql_refuses_an_older_fence(desk):
    desk.loan("20000", BTC="1")
    desk.round()
    MarginStatus.objects.update(fence=7)
    for rows in (MarginStatus.objects.all(), ShardLease.objects.filter(fence__gte=0)):
        rows.update(fence=9)
        with pytest.raises(DatabaseError, match="is older than 9"), transaction.atomic():
            rows.update(fence=8)
