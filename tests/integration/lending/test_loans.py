"""Loans: the way from an offer to funding, and what refuses to go it."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import access, lapses, ledger, loans, offers, permits
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import AuditRecord, Loan, LoanEvent, LoanState, Notice, Role, Withdrawal
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
HOUR = dt.timedelta(hours=1)


def test_a_loan_goes_from_offer_to_funding_and_leaves_its_trail() -> None:
    loan = make.active_loan(payout_address="wire:CH93-0076")

    assert loan.state == LoanState.ACTIVE
    assert loan.principal_outstanding == 500000
    assert list(LoanEvent.objects.filter(loan=loan).order_by("pk").values_list("to_state", flat=True)) == [
        "quoted",
        "accepted",
        "approved",
        "collateral_pending",
        "active",
    ]
    trail = AuditRecord.objects.filter(object_id=str(loan.public_id)).order_by("pk")
    who = [row.actor.name if row.actor else "" for row in trail]
    assert who == ["Robin", f"Signer{loan.client_id}", "Rhea", "", "Olga"]
    owed = accounts.of_loan(AccountKind.LOAN_PRINCIPAL, "USD", loan.client_id, loan.pk)
    assert ledger.balance(owed) == 500000
    # Half a percent stays with the desk, the rest is on its way out.
    assert ledger.balance(accounts.house(AccountKind.FEE_INCOME, "USD")) == -2500
    transfer = Withdrawal.objects.get()
    assert transfer.quantity == 497500
    # Whoever named the address asks, whoever funds is the second person; the approver is a third.
    assert (transfer.maker, transfer.checker.name) == (loan.made_by, "Olga")  # type: ignore[union-attr]
    assert ledger.balance(accounts.client_free("USD", loan.client_id)) == 0


def test_without_a_payout_address_the_proceeds_stay_in_the_free_balance() -> None:
    loan = make.active_loan()
    assert ledger.balance(accounts.client_free("USD", loan.client_id)) == -497500
    assert not Withdrawal.objects.exists()


def test_a_payout_address_is_one_that_its_asset_can_be_sent_to() -> None:
    usdc = make.ProductFactory(asset=make.asset("USDC"))
    right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    with pytest.raises(offers.UnableToQuote, match="copy it with its capitals"):
        make.quoted_loan(product=usdc, payout_address=right.lower())
    assert make.quoted_loan(product=usdc, payout_address=right).payout_address == right


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"principal": "0"}, "0 is not a principal that USD allows"),
        ({"principal": "-5"}, "-5 is not a principal"),
        ({"principal": "100.001"}, "100.001 is not a principal that USD allows"),
        ({"annual_rate": "8.5"}, "8.5 is not an annual rate; 8.5 % is 0.085"),
        ({"annual_rate": "-0.01"}, "not an annual rate"),
        ({"days": 0}, "that is not after today"),
    ],
)
def test_terms_that_make_no_loan_are_refused(terms: dict[str, object], message: str) -> None:
    with pytest.raises(offers.UnableToQuote, match=message):
        make.quoted_loan(**terms)  # type: ignore[arg-type]


def test_only_a_relationship_manager_who_sees_the_client_quotes() -> None:
    client = make.ClientFactory()
    other = make.staff("rupert", Role.RELATIONSHIP_MANAGER)
    for user, message in ((make.staff("rhea", Role.RISK), "relationship manager"), (other, "no such client")):
        with pytest.raises(access.UnableToAccess, match=message):
            offers.quote(
                client=client,
                product=make.ProductFactory(),
                principal=Decimal(1),
                annual_rate=Decimal("0.1"),
                maturity_date=NOW.date() + dt.timedelta(days=9),
                quoted_until=NOW + HOUR,
                made_by=user,
                now=NOW,
            )


def test_an_offer_is_accepted_by_a_signer_of_the_client_before_it_ends() -> None:
    loan = make.quoted_loan()
    outsider = make.borrower("charlie", make.ClientFactory())
    viewer = make.borrower("bob", loan.client, Role.BORROWER_VIEWER)
    for user in (outsider, viewer):
        with pytest.raises(access.UnableToAccess, match="may not sign for"):
            offers.accept(loan, by=user, now=NOW)
    alice = make.borrower("alice", loan.client)
    with pytest.raises(loans.UnableToMove, match="the offer ended at 2021-05-19 09:00 UTC"):
        offers.accept(loan, by=alice, now=NOW + HOUR)
    assert offers.accept(loan, by=alice, now=NOW).accepted_by == alice
    with pytest.raises(loans.UnableToMove, match="is accepted and can not become accepted"):
        offers.accept(loan, by=alice, now=NOW)


def test_an_approval_needs_a_second_person_who_does_not_manage_the_client() -> None:
    loan = make.quoted_loan()
    offers.accept(loan, by=make.borrower("alice", loan.client), now=NOW)
    robin = make.staff("robin", Role.RELATIONSHIP_MANAGER, Role.RISK)
    with pytest.raises(access.UnableToAccess, match="made this and can not also approve"):
        offers.approve(loan, by=robin, now=NOW)
    with pytest.raises(access.UnableToAccess, match="risk"):
        offers.approve(loan, by=make.staff("dana", Role.DESK_TRADER), now=NOW)
    offers.approve(loan, by=make.staff("rhea", Role.RISK), now=NOW)
    with pytest.raises(loans.UnableToMove, match="is approved and can not become approved"):
        offers.approve(loan, by=make.staff("rita", Role.RISK_HEAD), now=NOW)


def test_the_manager_of_the_client_does_not_approve_what_a_colleague_quoted() -> None:
    loan = make.quoted_loan()
    offers.accept(loan, by=make.borrower("alice", loan.client), now=NOW)
    rhea = make.staff("rhea", Role.RISK)
    loan.client.relationship_manager = rhea
    loan.client.save()
    with pytest.raises(access.UnableToAccess, match=r"manages .* and can not approve"):
        offers.approve(loan, by=rhea, now=NOW)


def test_the_database_refuses_the_maker_as_checker_and_undeclared_steps() -> None:
    loan = make.quoted_loan()
    with pytest.raises(DatabaseError, match="loan_maker_is_not_checker"), transaction.atomic():
        Loan.objects.filter(pk=loan.pk).update(approved_by=loan.made_by_id)
    with pytest.raises(DatabaseError, match="a loan can not go from quoted to matured"), transaction.atomic():
        Loan.objects.filter(pk=loan.pk).update(state="matured", approved_by=make.staff("rhea").pk)
    with pytest.raises(DatabaseError, match="or when two persons take it over"), transaction.atomic():
        Loan.objects.filter(pk=loan.pk).update(state="active", approved_by=make.staff("rhea").pk)


def test_the_database_knows_who_funded_a_loan_and_that_it_is_a_third() -> None:
    loan = make.pending_loan()
    rows, olga = Loan.objects.filter(pk=loan.pk), make.staff("olga", Role.OPERATIONS)
    for nobody in (loan.made_by_id, loan.approved_by_id):
        with pytest.raises(DatabaseError, match="loan_funded_by_a_third"), transaction.atomic():
            rows.update(state="active", start_at=NOW, accrued_at=NOW, funded_by=nobody)
    with pytest.raises(DatabaseError, match="funded by somebody, who stays known"), transaction.atomic():
        rows.update(state="active", start_at=NOW, accrued_at=NOW)
    rows.update(state="active", start_at=NOW, accrued_at=NOW, funded_by=olga)
    with pytest.raises(DatabaseError, match="funded by somebody, who stays known"), transaction.atomic():
        rows.update(funded_by=None)


def test_funding_needs_operations_and_another_person_than_the_approver() -> None:
    loan = make.pending_loan()
    make.capital("USD", "900000")
    permit = make.draw_permit(loan)
    with pytest.raises(access.UnableToAccess, match="operations"):
        loans.fund(loan, permit=permit, actor=make.staff("dana", Role.DESK_TRADER), now=NOW)
    rhea = make.staff("rhea", Role.OPERATIONS)
    with pytest.raises(loans.UnableToFund, match="approved this loan and can not also fund it"):
        loans.fund(loan, permit=permit, actor=rhea, now=NOW)
    make.staff(loan.made_by.name.lower(), Role.OPERATIONS)
    with pytest.raises(loans.UnableToFund, match="made this loan and can not also fund it"):
        loans.fund(loan, permit=permit, actor=loan.made_by, now=NOW)
    loan.margin_account.frozen = True
    loan.margin_account.save()
    with pytest.raises(loans.UnableToFund, match="frozen"):
        loans.fund(loan, permit=permit, actor=make.staff("olga", Role.OPERATIONS), now=NOW)


def test_a_permit_is_for_one_version_one_amount_one_account_and_a_short_time() -> None:
    loan = make.pending_loan()
    other = make.pending_loan()
    olga = make.staff("olga", Role.OPERATIONS)
    permit = make.draw_permit(loan)
    with pytest.raises(permits.UnableToVerify, match="another margin account"):
        loans.fund(other, permit=permit, actor=olga, now=NOW)
    with pytest.raises(permits.UnableToVerify, match="expired at 2021-05-19 08:01:00"):
        loans.fund(loan, permit=permit, actor=olga, now=NOW + dt.timedelta(minutes=1))
    for change, message in (
        ({"quantity": Decimal("500000.01")}, "not issued by this platform"),
        ({"version": permit.version + 1}, "not issued by this platform"),
        ({"signature": "0" * 64}, "not issued by this platform"),
    ):
        forged = permits.replace(permit, **change)  # type: ignore[arg-type]
        with pytest.raises(permits.UnableToVerify, match=message):
            loans.fund(loan, permit=forged, actor=olga, now=NOW)
    small = make.draw_permit(loan, amount=Decimal(10))
    with pytest.raises(permits.UnableToVerify, match="is for 10 USD, not for 500000"):
        loans.fund(loan, permit=small, actor=olga, now=NOW)
    release = make.release_permit(loan.margin_account, "USD", "500000")
    with pytest.raises(permits.UnableToVerify, match="for a release, not for a draw"):
        loans.fund(loan, permit=release, actor=olga, now=NOW)


def test_a_permit_ends_when_the_account_changes() -> None:
    loan = make.pending_loan()
    permit = make.draw_permit(loan)
    make.give(loan.client, "BTC", "1")
    make.collateral.pledge(loan.margin_account, make.asset("BTC"), Decimal(1), key="p1", now=NOW)
    with pytest.raises(permits.UnableToVerify, match="has changed since the permit was issued"):
        loans.fund(loan, permit=permit, actor=make.staff("olga", Role.OPERATIONS), now=NOW)


def test_a_loan_that_was_funded_is_not_cancelled() -> None:
    loan = make.active_loan()
    with pytest.raises(loans.UnableToMove, match="is active and can not become cancelled"):
        lapses.cancel(loan, actor=make.staff("robin"), cause="client walked away", now=NOW)
    other = make.quoted_loan()
    cancelled = lapses.cancel(other, actor=make.staff("robin"), cause="client walked away", now=NOW)
    assert cancelled.state == LoanState.CANCELLED
    told = Notice.objects.get(client=other.client)
    assert "has cancelled the offer" in told.body
