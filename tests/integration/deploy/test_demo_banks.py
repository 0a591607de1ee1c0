"""The demo desk's banks: one agrees with the books to the cent, the other leaves operations something to do."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings

from deploy.demo import banks
from lending import bank_statements, collateral, custody, loans, ports
from lending.models import BankLine, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
LATER = make.NOW + timedelta(hours=1)


def test_what_the_banks_say_is_taken_in_once(settings: LazySettings) -> None:
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_inprocess.build"
    ports.custodian.cache_clear()
    loan = make.pending_loan(payout_address="wire:1")
    make.paper().simulate_opening("capital:USD", asset="USD", quantity=Decimal(1_000_000), at=make.NOW)
    custody.poll_due(now=make.NOW)
    custody.credit_due(now=make.NOW)
    make.give(loan.client, "BTC", "25")
    collateral.pledge(loan.margin_account, make.asset("BTC"), Decimal(25), key="pledge", now=make.NOW)
    loans.fund(loan, permit=make.draw_permit(loan), actor=make.staff("olga", Role.OPERATIONS), now=make.NOW)
    for minutes in (5, 10, 15):
        custody.send_due(now=make.NOW + timedelta(minutes=minutes))
    banks.send(now=LATER)
    banks.send(now=LATER)
    live, small = bank_statements.standing()
    assert (live.account.code, live.difference, live.open, live.unlined) == (banks.LIVE, 0, 0, 0)
    assert (small.account.code, small.booked, small.before) == (banks.SMALL, 0, 1000)
    waiting = BankLine.objects.filter(state=BankLine.State.OPEN)
    assert set(waiting.values_list("account__code", flat=True)) == {banks.SMALL}
    assert waiting.count() == 4
    ports.custodian.cache_clear()
