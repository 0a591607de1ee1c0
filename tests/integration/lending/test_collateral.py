"""Collateral: pledged, held, sold, released; the pledge and the ledger move together or not at all."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import access, breaks, collateral, draws, dunning, ledger, loans, opening, permits
from lending.engine import accounts, entries
from lending.models import (
    AuditRecord,
    CustodyBreak,
    Loan,
    LoanState,
    MarginAccount,
    Obligation,
    Pledge,
    PledgeMovement,
    Role,
    Withdrawal,
)
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW


@pytest.fixture
def account() -> MarginAccount:
    """Return a margin account whose client has 10 BTC free."""
    row = make.MarginAccountFactory()
    make.give(row.client, "BTC", "10")
    return row


def stands(account: MarginAccount) -> dict[str, Decimal]:
    """Return what the ledger says of BTC: free, pledged, held; as positive numbers."""
    owner = ("BTC", account.client_id, account.pk)
    keys = {
        "free": accounts.client_free("BTC", account.client_id),
        "pledged": accounts.client_pledged(*owner),
        "held": accounts.liquidation_hold(*owner),
    }
    return {name: -ledger.balance(key) for name, key in keys.items()}


def test_pledge_hold_unhold_move_ledger_and_pledge_together(account: MarginAccount) -> None:
    btc = make.asset("BTC")
    collateral.pledge(account, btc, Decimal(8), key="p1", now=NOW)
    collateral.hold(account, btc, Decimal(5), key="h1", now=NOW)
    collateral.unhold(account, btc, Decimal(2), key="u1", now=NOW)

    assert stands(account) == {"free": 2, "pledged": 5, "held": 3}
    row = Pledge.objects.get()
    assert (row.quantity, row.held_quantity) == (5, 3)
    assert MarginAccount.objects.get().version == 3
    assert list(PledgeMovement.objects.order_by("pk").values_list("kind", "quantity")) == [
        ("pledge", 8),
        ("hold", 5),
        ("unhold", 2),
    ]


def test_the_same_key_moves_once_and_other_content_is_refused(account: MarginAccount) -> None:
    btc = make.asset("BTC")
    first = collateral.pledge(account, btc, Decimal(4), key="p1", now=NOW)
    later = NOW + dt.timedelta(minutes=5)
    assert collateral.pledge(account, btc, Decimal(4), key="p1", now=later) == first
    assert stands(account)["pledged"] == 4
    with pytest.raises(collateral.UnableToPledge, match="the key p1 was used for another movement: pledge of 4"):
        collateral.pledge(account, btc, Decimal(5), key="p1", now=NOW)
    with pytest.raises(collateral.UnableToHold, match="the key p1 was used for another movement"):
        collateral.hold(account, btc, Decimal(4), key="p1", now=NOW)


@pytest.mark.parametrize(
    ("code", "quantity", "message"),
    [
        ("BTC", "0", "0 BTC is not a quantity above zero"),
        ("BTC", "-1", "-1 BTC is not a quantity above zero"),
        ("BTC", "NaN", "NaN BTC is not a quantity above zero"),
        ("BTC", "0.000000001", r"finer than BTC can move \(8 decimals\)"),
        ("BTC", "10.00000001", "has 10 BTC free, not 10.00000001"),
        ("ETH", "1", "has 0 ETH free, not 1"),
        ("USD", "1", "USD is cash: it repays a loan, it can not secure one"),
    ],
)
def test_a_pledge_that_can_not_be_is_refused_in_words(
    account: MarginAccount, code: str, quantity: str, message: str
) -> None:
    with pytest.raises(collateral.UnableToPledge, match=message):
        collateral.pledge(account, make.asset(code), Decimal(quantity), key="p1", now=NOW)
    assert not Pledge.objects.exists()


def test_no_more_is_held_or_put_back_than_there_is(account: MarginAccount) -> None:
    btc = make.asset("BTC")
    with pytest.raises(collateral.UnableToHold, match="no BTC is pledged"):
        collateral.hold(account, btc, Decimal(1), key="h0", now=NOW)
    collateral.pledge(account, btc, Decimal(4), key="p1", now=NOW)
    with pytest.raises(collateral.UnableToHold, match=r"there are 4 pledged BTC, not 5"):
        collateral.hold(account, btc, Decimal(5), key="h1", now=NOW)
    collateral.hold(account, btc, Decimal(3), key="h2", now=NOW)
    with pytest.raises(collateral.UnableToHold, match=r"there are 3 BTC held for sale, not 4"):
        collateral.unhold(account, btc, Decimal(4), key="u1", now=NOW)
    with pytest.raises(collateral.UnableToHold, match="-1 is not a quantity above zero"):
        collateral.hold(account, btc, Decimal(-1), key="h3", now=NOW)


def test_a_sale_takes_what_its_entry_has_sold(account: MarginAccount) -> None:
    btc = make.asset("BTC")
    make.asset("USD")
    collateral.pledge(account, btc, Decimal(4), key="p1", now=NOW)
    collateral.hold(account, btc, Decimal(3), key="h1", now=NOW)
    heading = entries.Heading(
        key="sale:1", effective_at=NOW, book_id=make.BookFactory().pk, client_id=account.client_id
    )
    sale = entries.sale(
        heading,
        asset="BTC",
        quantity=Decimal(2),
        proceeds_asset="USD",
        proceeds=Decimal(60000),
        margin_account_id=account.pk,
        dealer="harbour",
    )
    entry = ledger.post(sale, now=NOW)
    collateral.sell_held(account, btc, Decimal(2), entry=entry, key="sale:1", now=NOW)
    assert Pledge.objects.get().held_quantity == 1
    assert stands(account)["held"] == 1
    with pytest.raises(collateral.UnableToHold, match=r"there are 1 BTC held for sale, not 2"):
        collateral.sell_held(account, btc, Decimal(2), entry=entry, key="sale:2", now=NOW)


def release(loan: Loan, quantity: str = "1", **changes: object) -> PledgeMovement:
    """Release some BTC of a loan, by olga and rhea under a fresh permit unless told otherwise."""
    given = {
        "permit": make.release_permit(loan.margin_account, "BTC", quantity),
        "maker": make.staff("olga", Role.OPERATIONS),
        "checker": make.staff("rhea", Role.RISK),
        "key": "r1",
        "now": NOW,
        **changes,
    }
    return collateral.release(loan.margin_account, make.asset("BTC"), Decimal(quantity), **given)  # type: ignore[arg-type]


def test_a_release_takes_a_permit_two_persons_and_sends_the_coins() -> None:
    loan = make.active_loan()
    make.allowed(loan.client, "BTC", "bc1-allowed")
    movement = release(loan, destination="bc1-allowed")
    assert (movement.maker.name, movement.checker.name) == ("Olga", "Rhea")  # type: ignore[union-attr]
    withdrawal = Withdrawal.objects.get(purpose="release")
    assert (withdrawal.quantity, withdrawal.destination, withdrawal.state) == (1, "bc1-allowed", "requested")
    assert stands(loan.margin_account) == {"free": 0, "pledged": 24, "held": 0}
    trail = AuditRecord.objects.get(action="collateral_released")
    assert (trail.actor, trail.before["pledged"], trail.after["pledged"]) == (movement.checker, "25", "24")
    assert release(loan, destination="bc1-allowed") == movement
    assert Withdrawal.objects.filter(purpose="release").count() == 1


def test_a_release_is_refused_in_words() -> None:
    loan = make.active_loan()
    rhea = make.staff("rhea", Role.RISK)
    with pytest.raises(access.UnableToAccess, match="made this and can not also approve"):
        release(loan, maker=rhea)
    with pytest.raises(access.UnableToAccess, match=r"manages .* and can not approve, release or waive"):
        release(loan, checker=make.staff("robin", Role.RISK))
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        release(loan, checker=make.staff("dana", Role.DESK_HEAD))
    with pytest.raises(collateral.UnableToRelease, match="are pledged and not held for a sale, not 26"):
        release(loan, "26")
    with pytest.raises(permits.UnableToVerify, match="is for 1 BTC, not for 2"):
        release(loan, "2", permit=make.release_permit(loan.margin_account, "BTC", "1"))
    with pytest.raises(permits.UnableToVerify, match="for a draw, not for a release"):
        release(loan, permit=make.draw_permit(loan))
    assert not PledgeMovement.objects.filter(kind="release").exists()


def test_nothing_is_released_while_frozen_broken_in_default_or_in_sale() -> None:
    loan = make.active_loan()
    account = loan.margin_account
    gap = CustodyBreak.objects.create(
        custodian="paper",
        asset=make.asset("BTC"),
        code="BTC",
        words="1 BTC less there",
        ledger_quantity=25,
        custodian_quantity=24,
        found_at=NOW,
    )
    with pytest.raises(collateral.UnableToRelease, match="1 BTC less there: releases wait until that is explained"):
        release(loan)
    breaks.close(gap, "found", now=NOW)
    MarginAccount.objects.filter(pk=account.pk).update(frozen=True)
    with pytest.raises(collateral.UnableToRelease, match="frozen"):
        release(loan)
    MarginAccount.objects.filter(pk=account.pk).update(frozen=False)
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="test", now=NOW)
    with pytest.raises(collateral.UnableToRelease, match=r"nothing is released while .* is liquidating"):
        release(loan)


def test_what_is_due_holds_back_what_secures_debt_and_draws() -> None:
    product = make.ProductFactory(code="kind", schedule_kind="interest_only")
    loan = make.active_loan(now=NOW, days=92, product=product)
    revolving = make.ProductFactory(code="line", tenor="revolving", notice_days=10, schedule_kind="interest_only")
    line = make.active_loan(loan.client, product=revolving, days=None)
    other = make.active_loan(loan.client, days=200)
    due = Obligation.objects.filter(loan=loan).order_by("due_at")[0].due_at
    dunning.work_due(now=due - dt.timedelta(seconds=1))
    release(other, key="before")
    dunning.work_due(now=due)
    said = r"[\d,.]+ USD of USD 500,000 \w{8} was due on 19 Jun 2021 and is not paid"
    with pytest.raises(collateral.UnableToRelease, match=f"nothing is released while {said}"):
        release(other)
    with pytest.raises(draws.UnableToDraw, match=f"nothing can be drawn while {said}"):
        draws.ask(line, Decimal(1000), by=make.borrower(f"signer{line.client_id}", line.client), now=due)
    waits, permit = make.pending_loan(loan.client, now=due), make.draw_permit
    with pytest.raises(loans.UnableToFund, match=f"nothing is lent while {said}"):
        loans.fund(waits, permit=permit(waits, now=due), actor=make.staff("olga", Role.OPERATIONS), now=due)
    with pytest.raises(loans.UnableToFund, match=f"nothing is lent while {said}"):
        opening.fund_all([(waits, permit(waits, now=due))], actor=make.staff("olga", Role.OPERATIONS), now=due)
    # What secures no debt any more is the client's own.
    Loan.objects.filter(pk=other.pk).update(principal_outstanding=0, interest_due=0, fees_due=0)
    release(other)


def test_the_database_refuses_a_release_checked_by_its_maker(account: MarginAccount) -> None:
    movement = collateral.pledge(account, make.asset("BTC"), Decimal(1), key="p1", now=NOW)
    olga = make.staff("olga")
    movement.pk, movement.key, movement.kind = None, "forged", "release"
    movement.maker = movement.checker = olga
    with pytest.raises(DatabaseError, match="release_by_maker_and_checker"), transaction.atomic():
        movement.save(force_insert=True)
