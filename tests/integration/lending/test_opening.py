"""A book that is opened at once stands as if each loan had gone its way alone."""

import datetime as dt
from decimal import Decimal

import pytest
from django.forms.models import model_to_dict

from lending import access, custody, ids, loans, offers, opening, outbox, permits
from lending.adapters.paper_custodian import PaperCustodian
from lending.models import (
    Client,
    Deposit,
    DepositAddress,
    Entry,
    Event,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Posting,
    Role,
    TermSheet,
    User,
    Withdrawal,
)
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
LATER = NOW + dt.timedelta(hours=1)


def offer(client: Client, signer: User, number: int = 1, **changes: object) -> opening.Offer:
    given = {
        "client": client,
        "product": make.ProductFactory(),
        "principal": Decimal(500_000),
        "annual_rate": Decimal("0.09"),
        "maturity_date": NOW.date() + dt.timedelta(days=30),
        "accepted_by": signer,
        "payout_address": "wire:1",
        "public_id": ids.derived("test", number),
        **changes,
    }
    return opening.Offer(**given)  # type: ignore[arg-type]


def send_collateral(custodian: PaperCustodian, loan: Loan) -> None:
    address = DepositAddress.objects.get(margin_account=loan.margin_account, asset__code="BTC")
    ref = f"d:{loan.public_id}"
    custodian.simulate_deposit(ref, address=address.address, asset="BTC", quantity=Decimal(25), at=NOW)


def written(loan: Loan) -> list[object]:
    """Return all that is remembered of a loan, without keys and ids of its own."""
    account = loan.margin_account
    own = {
        "id",
        "public_id",
        "margin_account",
        "key",
        "loan",
        "entry",
        "address",
        "payload",
        "custodian_ref",
        "sent_to",
    }
    own |= {"position", "touched_xid", "shard", "stream", "seq", "version"}

    def plain(row: object) -> dict[str, object]:
        return {name: value for name, value in model_to_dict(row).items() if name not in own}  # type: ignore[arg-type]

    tables: list[object] = [plain(Loan.objects.get(pk=loan.pk)), plain(MarginAccount.objects.get(pk=account.pk))]
    found = (
        LoanEvent.objects.filter(loan=loan).order_by("pk"),
        DepositAddress.objects.filter(margin_account=account).order_by("purpose", "asset__code"),
        Deposit.objects.filter(address__margin_account=account),
        Pledge.objects.filter(margin_account=account),
        PledgeMovement.objects.filter(margin_account=account),
        Withdrawal.objects.filter(key__contains=str(loan.public_id)),
    )
    tables += [[plain(row) for row in rows] for rows in found]
    sheet = TermSheet.objects.get(loan=loan)
    tables.append(sheet.content.replace(str(loan.public_id), "its own"))
    assert tables[2][1]["evidence"].pop("sha256") == sheet.fingerprint  # type: ignore[index]
    named = (str(loan.public_id), str(account.public_id))
    entries = Entry.objects.filter(idempotency_key__regex="|".join(named)).order_by("kind")
    tables.append(
        [
            (
                entry.kind,
                entry.effective_at,
                entry.actor_id,
                list(
                    Posting.objects.filter(entry=entry)
                    .order_by("account__kind")
                    .values_list("account__kind", "amount", "category", "client", "book", "cause")
                ),
            )
            for entry in entries
        ]
    )
    tables.append(sorted(Event.objects.filter(payload__loan=named[0]).values_list("kind", "client")))
    return tables


def test_loans_opened_at_once_are_what_single_verbs_leave(custodian: PaperCustodian) -> None:
    make.capital("USD", "9000000", now=NOW)
    make.asset("BTC")
    client = make.ClientFactory()
    signer = make.borrower("alice", client)
    rhea, olga = make.staff("rhea", Role.RISK), make.staff("olga", Role.OPERATIONS)

    single = offers.quote(
        client=client,
        product=make.ProductFactory(),
        principal=Decimal(500_000),
        annual_rate=Decimal("0.09"),
        maturity_date=NOW.date() + dt.timedelta(days=30),
        quoted_until=NOW + dt.timedelta(hours=1),
        made_by=client.relationship_manager,
        payout_address="wire:1",
        public_id=ids.derived("test", 0),
        now=NOW,
    )
    offers.accept(single, by=signer, now=NOW)
    offers.approve(single, by=rhea, now=NOW)
    offers.collateral_pending(single, actor=olga, now=NOW)
    outbox.deliver_due(now=NOW)
    wanted = [offer(client, signer, number) for number in (1, 2)]
    together = opening.open_offers(wanted, approved_by=rhea, actor=olga, now=NOW)
    for loan in (single, *together):
        send_collateral(custodian, loan)
    custody.poll_due(now=LATER)
    assert custody.credit_due(now=LATER) == 3
    loans.fund(single, permit=make.draw_permit(single, now=LATER), actor=olga, now=LATER)
    draws = [(loan, make.draw_permit(loan, now=LATER)) for loan in together]
    opening.fund_all(draws, actor=olga, now=LATER)

    expected = written(single)
    assert expected[0]["state"] == LoanState.ACTIVE  # type: ignore[index]
    for loan in together:
        assert written(loan) == expected
    versions = MarginAccount.objects.values_list("version", flat=True).distinct()
    assert list(versions) == [2]  # pledged, funded


def test_one_bad_offer_and_nothing_is_written() -> None:
    client = make.ClientFactory()
    alice, bob = make.borrower("alice", client), make.borrower("bob", client, Role.BORROWER_VIEWER)
    rhea, olga = make.staff("rhea", Role.RISK), make.staff("olga", Role.OPERATIONS)
    good, usdc = offer(client, alice), make.ProductFactory(asset=make.asset("USDC"))
    for bad, error, message in (
        (offer(client, alice, 2, principal=Decimal("0.001")), offers.UnableToQuote, "is not a principal"),
        (offer(client, alice, 2, maturity_date=NOW.date()), offers.UnableToQuote, "that is not after today"),
        (offer(client, alice, 2, product=usdc), offers.UnableToQuote, "0x and 40 hexadecimal digits"),
        (offer(client, bob, 2), access.UnableToAccess, "Bob may not sign for"),
    ):
        with pytest.raises(error, match=message):
            opening.open_offers([good, bad], approved_by=rhea, actor=olga, now=NOW)
    for approver, message in (
        (client.relationship_manager, "made this and can not also approve it"),
        (make.staff("dana", Role.DESK_HEAD), "does not hold the role"),
    ):
        with pytest.raises(access.UnableToAccess, match=message):
            opening.open_offers([good], approved_by=approver, actor=olga, now=NOW)
    assert not Loan.objects.exists()


def test_one_bad_permit_and_nothing_is_funded() -> None:
    client = make.ClientFactory()
    alice = make.borrower("alice", client)
    rhea, olga = make.staff("rhea", Role.RISK), make.staff("olga", Role.OPERATIONS)
    first, second = opening.open_offers(
        [offer(client, alice, n) for n in (1, 2)], approved_by=rhea, actor=olga, now=NOW
    )
    mine = make.draw_permit(first)
    with pytest.raises(permits.UnableToVerify, match="for another margin account"):
        opening.fund_all([(first, mine), (second, mine)], actor=olga, now=NOW)
    with pytest.raises(loans.UnableToFund, match="a loan stands twice"):
        opening.fund_all([(first, mine), (first, mine)], actor=olga, now=NOW)
    with pytest.raises(access.UnableToAccess, match="operations"):
        opening.fund_all([(first, mine)], actor=rhea, now=NOW)
    assert set(Loan.objects.values_list("state", flat=True)) == {LoanState.COLLATERAL_PENDING}


def test_what_was_signed_too_long_ago_is_not_funded_among_others_either() -> None:
    client = make.ClientFactory()
    rhea, olga = make.staff("rhea", Role.RISK), make.staff("olga", Role.OPERATIONS)
    (loan,) = opening.open_offers(
        [offer(client, make.borrower("alice", client))], approved_by=rhea, actor=olga, now=NOW
    )
    late = NOW + loans.PAID_OUT_WITHIN
    with pytest.raises(loans.UnableToFund, match="signed more than 14 days ago: offer it anew"):
        opening.fund_all([(loan, make.draw_permit(loan, now=late))], actor=olga, now=late)
