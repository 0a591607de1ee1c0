"""The authority matrix decides who signs for a client, up to how much, alone or two jointly."""

from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from uuid import uuid4

import psycopg
import pytest
from django.conf import LazySettings
from django.db import Error, connection, transaction

from deploy import databases
from lending import access, authority, kyc, offers, parties
from lending.models import (
    Asset,
    Client,
    ClientUser,
    JointSignature,
    KycCase,
    LoanState,
    RelatedParty,
    Role,
    SigningRule,
    User,
)
from risk import disputes
from tests import stories
from tests.cast import NOW, Cast, assemble

ACCEPT = SigningRule.Action.ACCEPT


def second_signer(cast: Cast) -> User:
    dora = User.objects.create(email="dora@harbourside.example", name="Dora")
    ClientUser.objects.create(client=cast.harbourside, user=dora, role=Role.BORROWER_ADMIN, created_at=NOW)
    return dora


def reviewed(cast: Cast, *rules: dict[str, object], action: str = ACCEPT) -> None:
    """Put a case in force in which alice and dora sign under other rules for one action."""
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    known = {"country": "GB", "email": "Dora@harbourside.example", "is_signer": True, "by": cast.robin, "now": NOW}
    RelatedParty.objects.filter(case=case, name="Dora").delete()
    parties.add_party(case, name="Dora", owner_share=None, is_director=False, birth_date=None, **known)
    SigningRule.objects.filter(case=case, action=action).delete()
    for rule in rules:
        parties.allow(case, action, by=cast.robin, now=NOW, **rule)  # type: ignore[arg-type]
    KycCase.objects.filter(client=cast.harbourside, state="approved").update(state="superseded")
    KycCase.objects.filter(pk=case.pk).update(
        state="approved", maker=cast.robin, checker=cast.cora, approved_at=NOW, risk_rating="low",
        review_date=(NOW + timedelta(days=300)).date(),
    )  # fmt: skip


def test_a_second_persons_signature_completes_what_two_sign_jointly(cast: Cast) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    loan = stories.offered(cast)
    for _ in range(2):  # signing twice is signing once
        loan = offers.accept(loan, by=cast.alice, now=NOW)
        assert loan.state == LoanState.QUOTED
    row = JointSignature.objects.get()
    with pytest.raises(authority.UnableToSign, match="Alice has signed it already: a second person signs it too"):
        authority.complete(row, by=cast.alice, now=NOW)
    with pytest.raises(access.UnableToAccess, match="Bob may not sign"):
        authority.complete(row, by=cast.bob, now=NOW)
    authority.complete(row, by=dora, now=NOW)
    loan.refresh_from_db()
    row.refresh_from_db()
    assert (loan.state, loan.accepted_by) == (LoanState.ACCEPTED, dora)
    assert (row.first, row.second) == (cast.alice, dora)
    assert not authority.waiting([cast.harbourside], now=NOW)
    with pytest.raises(authority.UnableToSign, match="waits for no signature any more"):
        authority.complete(row, by=dora, now=NOW)


def test_a_signature_under_other_terms_does_not_count(cast: Cast) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    one, other = stories.offered(cast), stories.offered(cast, principal=Decimal(700_000))
    offers.accept(one, by=cast.alice, now=NOW)
    assert offers.accept(other, by=dora, now=NOW).state == LoanState.QUOTED
    assert JointSignature.objects.filter(second=None).count() == 2


def test_a_first_signature_ends_with_its_offer_or_is_taken_back(cast: Cast) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    lapsed, declined, refused = (stories.offered(cast) for _ in range(3))
    for loan in (lapsed, declined, refused):
        offers.accept(loan, by=cast.alice, now=NOW)
    assert authority.waiting([cast.harbourside], now=NOW).count() == 3
    assert not authority.waiting([cast.harbourside], now=lapsed.quoted_until)
    offers.decline(declined, by=dora, reason="", now=NOW)
    row = authority.waiting([cast.harbourside], now=NOW).get(loan=refused)
    authority.withdraw(row, by=dora, now=NOW)
    assert authority.waiting([cast.harbourside], now=NOW).get().loan == lapsed
    assert offers.accept(refused, by=dora, now=NOW).state == LoanState.QUOTED, "taken back: dora is the first now"


def test_a_first_signer_who_may_no_longer_sign_counts_for_nothing(cast: Cast) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    loan = stories.offered(cast)
    offers.accept(loan, by=cast.alice, now=NOW)
    ClientUser.objects.filter(user=cast.alice).update(role=Role.BORROWER_VIEWER)
    assert offers.accept(loan, by=dora, now=NOW).state == LoanState.QUOTED


def test_the_database_takes_two_people_and_no_second_thoughts(cast: Cast) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    loan = stories.offered(cast)
    offers.accept(loan, by=cast.alice, now=NOW)
    sign = "UPDATE lending_jointsignature SET second_id = %s, second_at = now()"

    def refused(statement: str, *values: object) -> str:
        with pytest.raises(Error) as said, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
        return str(said.value)

    assert "two_different_people_sign" in refused(sign, cast.alice.pk)
    assert "denied" in refused("UPDATE lending_jointsignature SET words = 'another'")
    assert "denied" in refused("DELETE FROM lending_jointsignature")
    offers.accept(loan, by=dora, now=NOW)
    assert "ends once" in refused("UPDATE lending_jointsignature SET withdrawn_at = now()")


def test_a_limit_is_kept_and_told(cast: Cast) -> None:
    second_signer(cast)
    stories.offered(cast)
    usd = Asset.objects.get(code="USD")
    reviewed(cast, {"asset": usd, "up_to": Decimal(600_000)}, {"signatures": 2, "asset": usd})
    assert offers.accept(stories.offered(cast), by=cast.alice, now=NOW).state == LoanState.ACCEPTED
    larger = stories.offered(cast, principal=Decimal(600_001))
    assert offers.accept(larger, by=cast.alice, now=NOW).state == LoanState.QUOTED


def test_beyond_every_line_nothing_is_signed(cast: Cast) -> None:
    dora = second_signer(cast)
    stories.offered(cast)
    usd = Asset.objects.get(code="USD")
    alice = RelatedParty.objects.get(case__client=cast.harbourside, email=cast.alice.email)
    reviewed(cast, {"asset": usd, "up_to": Decimal(100_000), "person": alice.person})
    loan = stories.offered(cast)
    with pytest.raises(authority.UnableToSign, match=r"lets Alice accept offers and amendments up to 100000 USD"):
        offers.accept(loan, by=cast.alice, now=NOW)
    with pytest.raises(authority.UnableToSign, match="does not let Dora accept"):
        offers.accept(loan, by=dora, now=NOW)
    with pytest.raises(authority.UnableToSign, match="up to 100000 USD"):
        offers.decline(loan, by=cast.alice, reason="", now=NOW)
    assert not JointSignature.objects.exists()


def test_disputing_and_repaying_are_lines_of_the_matrix_too(cast: Cast) -> None:
    call = stories.called(cast)
    reviewed(cast, action=SigningRule.Action.DISPUTE)
    with pytest.raises(authority.UnableToSign, match="does not let Alice dispute a margin call"):
        disputes.open_against(
            call, part="debt", asset=None, claimed=Decimal(1), statement="No.", by=cast.alice, now=NOW
        )
    usd = Asset.objects.get(code="USD")
    reviewed(cast, {"asset": usd, "up_to": Decimal(500)}, action=SigningRule.Action.REPAY)
    repay = {"asset": usd, "amount": Decimal(501)}
    with pytest.raises(authority.UnableToSign, match="lets Alice repay up to 500 USD"):
        authority.require(cast.alice, cast.harbourside, SigningRule.Action.REPAY, **repay)
    assert authority.require(cast.alice, cast.harbourside, SigningRule.Action.REPAY, asset=usd, amount=Decimal(500))


def test_whom_a_manager_lets_in_later_signs_nothing_before_the_next_case(cast: Cast) -> None:
    dora = second_signer(cast)
    loan = stories.offered(cast)
    with pytest.raises(authority.UnableToSign, match="does not let Dora accept"):
        offers.accept(loan, by=dora, now=NOW)
    with pytest.raises(access.UnableToAccess, match="may not sign"):
        offers.accept(loan, by=cast.bob, now=NOW)
    assert [row.user for row in authority.signers().filter(client=cast.harbourside)] == [cast.alice]


def test_a_person_who_is_the_client_signs_without_a_matrix(cast: Cast) -> None:
    Client.objects.filter(pk=cast.quayside.pk).update(kind=Client.Kind.INDIVIDUAL)
    cast.quayside.refresh_from_db()
    acting = {cast.charlie.pk, cast.bob.pk}
    matrix = authority.Matrix(cast.quayside, persons={cast.charlie.email: uuid4()}, acting=acting)
    assert matrix.signatures(cast.charlie, ACCEPT, None, None) == authority.ALONE
    for other in (cast.alice, cast.bob):  # bob signs in for them, and their case does not name him
        with pytest.raises(authority.UnableToSign):
            matrix.signatures(other, ACCEPT, None, None)


def test_a_person_approved_before_cases_named_who_signs_goes_on_signing(real_db: str, settings: LazySettings) -> None:
    cast = assemble()
    clients = {}
    for name, people in {"Yuki": [cast.alice], "Tom": [cast.alice, cast.charlie]}.items():
        clients[name] = person = Client.objects.create(
            name=name, kind="individual", jurisdiction="JP", relationship_manager=cast.robin, created_at=NOW
        )
        for user in people:
            ClientUser.objects.create(client=person, user=user, role=Role.BORROWER_ADMIN, created_at=NOW)
        case = KycCase.objects.create(client=person, opened_by=cast.robin, opened_at=NOW)
        KycCase.objects.filter(pk=case.pk).update(
            state="approved", maker=cast.robin, checker=cast.cora, approved_at=NOW, risk_rating="low",
            review_date=(NOW + timedelta(days=300)).date(),
        )  # fmt: skip
    with pytest.raises(authority.UnableToSign, match="does not name alice@"):
        authority.require(cast.alice, clients["Yuki"], ACCEPT)
    upgrade = import_module("lending.migrations.0052_signers_of_their_own").NAME_THEM
    with psycopg.connect(databases.url_of(settings.OWNER_DATABASE_URL, real_db)) as owner:
        owner.execute(upgrade)
        owner.execute(upgrade)  # which finds nobody twice
    assert authority.require(cast.alice, clients["Yuki"], ACCEPT) == authority.ALONE
    named = RelatedParty.objects.get(client=clients["Yuki"])
    assert (named.name, named.country, named.email, named.is_signer) == ("Yuki", "JP", cast.alice.email, True)
    with pytest.raises(authority.UnableToSign, match="does not name alice@"):  # who of two signs is for a review to say
        authority.require(cast.alice, clients["Tom"], ACCEPT)
    with pytest.raises(Error, match="only while it is open"), transaction.atomic():
        RelatedParty.objects.filter(pk=named.pk).update(email="another@person.example")
