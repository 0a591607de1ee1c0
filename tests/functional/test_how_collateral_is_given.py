"""Title transfer has its own account from pledge to return; a security interest is perfected, and its filing lapses."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from lending import approvals, collateral, invariants, ledger, offers, perfections, products
from lending.engine import accounts
from lending.models import Approval, Asset, Entry, Loan, MarginAccount, Perfection, PledgeTerms, Product, User
from lending.products import Wanted
from risk import invariants as of_risk
from tests.factories import lending as make
from tests.factories.risk import Desk, wrongful

pytestmark = pytest.mark.django_db
D = Decimal
BY_TITLE = 2


@pytest.fixture
def desk() -> Desk:
    return Desk()


def by_title(desk: Desk, **pledged: str) -> Loan:
    sold = make.ProductFactory(code="by-title", terms=desk.terms, pledge_terms_id=BY_TITLE)
    return desk.loan("20000", product=sold, **(pledged or {"BTC": "1"}))


def standing(loan: Loan) -> dict[str, Decimal]:
    owner = ("BTC", loan.client_id, loan.margin_account_id)
    kinds = (accounts.client_pledged, accounts.collateral_to_return, accounts.liquidation_hold)
    return {kind.__name__: ledger.owed(kind(*owner)) for kind in kinds} | {
        "client_free": ledger.owed(accounts.client_free("BTC", loan.client_id))
    }


def test_by_title_the_coins_are_owed_back_and_a_sale_takes_that_off(desk: Desk) -> None:
    loan = by_title(desk)
    nothing = {"client_pledged": 0, "collateral_to_return": 0, "liquidation_hold": 0, "client_free": 0}
    assert standing(loan) == {**nothing, "collateral_to_return": 1}
    assert Entry.objects.filter(kind="title_transfer").count() == 1
    desk.step(BTC="24000")
    desk.steps(3)
    (order,) = desk.orders(loan)
    assert standing(loan)["liquidation_hold"] == order.quantity
    desk.sell_out(loan, price="23900")
    left = standing(loan)
    assert left == {**nothing, "collateral_to_return": desk.pledged(loan, "BTC")}
    desk.pay(loan, desk.payoff(loan))
    permit = make.release_permit(loan.margin_account, "BTC", left["collateral_to_return"], now=desk.now)
    collateral.release(
        loan.margin_account, Asset.objects.get(code="BTC"), left["collateral_to_return"], permit=permit,
        maker=desk.operations, checker=desk.risk, key="back", now=desk.now,
    )  # fmt: skip
    assert standing(loan) == {**nothing, "client_free": left["collateral_to_return"]}
    assert Entry.objects.filter(kind="title_return").count() == 1
    assert (wrongful(), invariants.check(), of_risk.check()) == ([], [], [])
    borrower = loan.client.client_users.get().user
    assert "given by title transfer" in desk.page(borrower, f"/portal/loans/{loan.public_id}/")
    assert "title transfer: the coins are the desk" in desk.page(desk.risk, f"/admin/lending/loan/{loan.pk}/change/")


def test_how_collateral_is_given_is_never_changed(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    account = MarginAccount.objects.filter(pk=loan.margin_account_id)
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        account.update(pledge_terms=BY_TITLE)
    with pytest.raises(DatabaseError), transaction.atomic():
        PledgeTerms.objects.filter(pk=1).update(rank=2)


def test_a_product_is_changed_by_two_persons_and_a_pool_stays_as_it_was(desk: Desk) -> None:
    pooled = desk.loan("20000", opens_pool=True, BTC="1")
    product = Product.objects.get(pk=pooled.product_id)
    wanted = Wanted(code=product.code, columns={"pledge_terms": PledgeTerms.objects.get(pk=BY_TITLE)})
    asked = products.ask(wanted, reason="our paper says so", maker=desk.risk, now=desk.now)
    assert asked.payload["pledge_terms"] == "Title transfer"
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    product.refresh_from_db()
    assert (product.pledge_terms.by_title, Approval.objects.get().state) == (True, Approval.State.EXECUTED)
    assert "Title transfer" in desk.page(desk.risk, f"/admin/lending/product/{product.pk}/change/")
    pool = MarginAccount.objects.get(pk=pooled.margin_account_id)
    assert not pool.pledge_terms.by_title
    with pytest.raises(offers.UnableToQuote, match="given by Security interest, first rank"):
        offers.check_pool(pool, pooled.client, product)


def recorded(loan: Loan, by: User, desk: Desk, **changes: Any) -> Perfection:
    given: dict[str, Any] = {
        "kind": "filing", "reference": "2021-77", "held_with": "Secretary of State", "from_date": date(2021, 5, 1),
        "lapse_date": desk.now.date() + timedelta(days=20), "document": None,
    }  # fmt: skip
    return perfections.record(loan.margin_account, **{**given, **changes}, by=by, now=desk.now)


def test_an_interest_is_perfected_and_its_filing_lapses(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    door = f"/admin/perfections/{loan.pk}/"
    assert "nothing that is recorded" in desk.page(desk.risk, door)
    typed = {"kind": "filing", "reference": "2021-77", "held_with": "Secretary of State", "from_date": "2021-05-01"}
    assert "Refused: a filing lapses: say on which day" in desk.page(desk.operations, door, **typed)
    assert 'value="2021-77"' in desk.page(desk.operations, door, **typed, lapse_date="soon")
    assert "Refused: " in desk.page(desk.risk, door, **typed, lapse_date="2021-06-05")
    assert "The year 9999 is a slip" in desk.page(desk.operations, door, **typed, lapse_date="9999-12-31")
    assert not Perfection.objects.exists()
    lapses = (desk.now + timedelta(days=20)).date()
    assert "Recorded: filing 2021-77" in desk.page(desk.operations, door, **typed, lapse_date=lapses.isoformat())
    assert "Secretary of State" in desk.page(desk.risk, door)
    home = desk.page(desk.manager, "/admin/")
    assert "lapses: filing 2021-77" in home
    recorded(loan, desk.operations, desk, reference="NY-1", held_with="New York", lapse_date=date(2026, 6, 1))
    assert "lapses: filing 2021-77" in desk.page(desk.manager, "/admin/")  # which that in another registry renews not
    assert [row.reference for row in perfections.standing(loan.margin_account)] == ["NY-1", "2021-77"]
    recorded(loan, desk.operations, desk, reference="2021-99", lapse_date=date(2026, 6, 1))
    assert "2021-77" not in desk.page(desk.manager, "/admin/")  # a newer one stands
    with pytest.raises(DatabaseError), transaction.atomic():
        Perfection.objects.update(lapse_date=date(2030, 1, 1))


def test_what_perfects_nothing(desk: Desk) -> None:
    loan, other = desk.loan("20000", BTC="1"), by_title(desk)
    for words, changes in {
        "after today": {"from_date": desk.now.date() + timedelta(days=1)},
        "a filing lapses": {"lapse_date": None},
        "it lapsed on": {"lapse_date": desk.now.date()},
    }.items():
        with pytest.raises(perfections.UnableToRecord, match=words):
            recorded(loan, desk.operations, desk, **changes)
    with pytest.raises(perfections.UnableToRecord, match="no interest to perfect"):
        recorded(other, desk.operations, desk)
    with pytest.raises(DatabaseError, match="only a security interest is perfected"), transaction.atomic():
        Perfection.objects.create(
            client=other.client, margin_account=other.margin_account, kind="control_agreement", reference="A",
            held_with="B", from_date=date(2021, 5, 1), recorded_by=desk.operations, recorded_at=desk.now,
        )  # fmt: skip
