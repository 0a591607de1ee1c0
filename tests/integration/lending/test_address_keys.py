"""Deposit addresses from an extended public key: set by two persons, given out without gaps, shown once watched."""

import datetime as dt
from dataclasses import replace

import pytest
from django.db import DatabaseError, transaction

from lending import address_keys, approvals, custody, deposits, outbox
from lending.access import UnableToAccess
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import addresses
from lending.models import AddressKey, Approval, AuditRecord, DepositAddress, Loan, Role, User
from tests.factories import lending as make
from tests.unit.lending.engine.test_addresses import XPUB, ZPUB

pytestmark = pytest.mark.django_db
NOW = make.NOW
MINUTE = dt.timedelta(minutes=1)
# The master key of BIP-32's first test vector: private, and known to everybody.
PRIVATE = (
    "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi"
)


@pytest.fixture
def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


def used(chain: str = "bitcoin", xpub: str = ZPUB) -> AddressKey:
    """Return a key that two persons have set."""
    asked = address_keys.ask(chain, xpub, reason="the vault", maker=make.staff("olga", Role.OPERATIONS), now=NOW)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=NOW)
    return AddressKey.objects.get(xpub=xpub)


def opened(loan: Loan) -> list[DepositAddress]:
    for _ in range(2):  # the addresses are opened, then watched
        outbox.deliver_due(now=NOW)
    return list(DepositAddress.objects.filter(margin_account=loan.margin_account).order_by("purpose", "asset__code"))


def test_a_key_is_set_by_two_persons_who_see_its_first_address(olga: User) -> None:
    asked = address_keys.ask("bitcoin", f" {ZPUB} ", reason="the vault", maker=olga, now=NOW)
    assert asked.payload["first_address"] == addresses.derive(ZPUB, "bitcoin", 0)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, checker=olga, approve=True, now=NOW)
    assert not AddressKey.objects.exists()
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=NOW)
    assert AddressKey.objects.get().xpub == ZPUB
    assert AuditRecord.objects.filter(action="address_key_used").exists()


@pytest.mark.parametrize(
    ("chain", "xpub", "reason", "words"),
    [
        ("bitcoin", PRIVATE, "mine", "this is a private key: it must never be shown to anybody"),
        ("bitcoin", ZPUB[:-1] + "t", "mine", "mistyped or cut short"),
        ("bitcoin", "", "mine", "an extended public key is written in letters and digits"),
        ("ethereum", ZPUB, "mine", "a zpub is made for bitcoin's addresses"),
        ("dogecoin", XPUB, "mine", "no addresses are derived on 'dogecoin'"),
        ("bitcoin", ZPUB, "  ", "say where it comes from"),
    ],
)
def test_what_can_not_be_used_is_refused_in_words_and_kept_nowhere(
    olga: User, chain: str, xpub: str, reason: str, words: str
) -> None:
    with pytest.raises(address_keys.UnableToUse, match=words) as refused:
        address_keys.ask(chain, xpub, reason=reason, maker=olga, now=NOW)
    assert not xpub or xpub not in str(refused.value)
    assert not Approval.objects.exists()


def test_a_key_is_used_once_and_by_who_may(olga: User) -> None:
    with pytest.raises(UnableToAccess):
        address_keys.ask("bitcoin", ZPUB, reason="x", maker=make.staff("rhea", Role.RISK), now=NOW)
    address_keys.ask("ethereum", XPUB, reason="x", maker=olga, now=NOW)
    with pytest.raises(address_keys.UnableToUse, match="asked for already"):
        address_keys.ask("ethereum", XPUB, reason="x", maker=olga, now=NOW)
    used()
    for spelling in (ZPUB, addresses._written(replace(addresses._read(ZPUB), version=bytes.fromhex("0488b21e")))):
        with pytest.raises(address_keys.UnableToUse, match="the same addresses would be given out again"):
            address_keys.ask("bitcoin", spelling, reason="x", maker=olga, now=NOW)


def test_each_client_loan_and_asset_has_the_next_address_and_the_custodian_watches_it(
    custodian: PaperCustodian,
) -> None:
    for code in ("BTC", "ETH", "LINK"):
        make.asset(code)
    used()
    used("ethereum", XPUB)
    first, second = opened(make.pending_loan()), opened(make.pending_loan())
    derived = [(row.asset.code, row.index) for row in (*first, *second) if row.address_key]
    assert derived == [("BTC", 0), ("ETH", 0), ("LINK", 1), ("BTC", 1), ("ETH", 2), ("LINK", 3)]
    for row in (*first, *second):
        if row.address_key:
            assert row.address == addresses.derive(row.address_key.xpub, row.address_key.chain, row.index or 0)
            assert custodian.watched[row.address] == f"{row.margin_account.public_id}:collateral"
    assert [row.address[:4] for row in first] == ["bc1q", first[1].address[:4], first[2].address[:4], "usd-"]


def test_an_address_is_shown_once_it_is_watched_and_given_out_once(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    used()
    loan = make.pending_loan()
    for _ in range(3):
        custody.open_all([loan.margin_account], now=NOW)
    shown = deposits.addresses(loan.margin_account_id, now=NOW)
    assert [code for _, code in shown] == ["USD"]
    outbox.deliver_due(now=NOW)
    shown = deposits.addresses(loan.margin_account_id, now=NOW)
    assert sorted(code for _, code in shown) == ["BTC", "USD"]
    assert AddressKey.objects.get().next_index == 1


def test_a_key_that_is_retired_or_replaced_gives_nothing_more(olga: User) -> None:
    make.asset("BTC")
    old = used()
    before = opened(make.pending_loan())
    new = used("bitcoin", XPUB)
    old.refresh_from_db()
    assert (old.retired_at, old.next_index) == (NOW, 1)
    assert opened(make.pending_loan())[0].address_key == new
    address_keys.retire(new, by=olga, now=NOW)
    assert opened(make.pending_loan())[0].address.startswith("btc-")  # the custodian's own again
    assert before[0].address == addresses.derive(ZPUB, "bitcoin", 0)


@pytest.mark.parametrize("index", [0, 2, 7])
def test_the_database_refuses_an_index_that_is_not_the_next(index: int) -> None:
    make.asset("BTC")
    key = used()
    row = opened(make.pending_loan())[0]
    other = make.MarginAccountFactory()
    with pytest.raises(DatabaseError, match="one after the other"), transaction.atomic():
        DepositAddress.objects.create(
            client=other.client, margin_account=other, asset=row.asset, purpose="collateral", address="bc1qother",
            address_key=key, index=index, created_at=NOW,
        )  # fmt: skip
    with pytest.raises(DatabaseError, match="as two persons set it"), transaction.atomic():
        AddressKey.objects.update(next_index=9)
