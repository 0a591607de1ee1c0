"""What the database refuses about cases, papers and agreements, whoever asks."""

import hashlib
from datetime import timedelta

import pytest
from django.db import Error, connection, transaction

from deploy.demo import onboarded
from lending import kyc, offers, parties, people
from lending.models import (
    AgreementVersion,
    CaseFact,
    ChecklistItem,
    Document,
    KycCase,
    RelatedParty,
    SignedAgreement,
    SigningRule,
    StoredFile,
)
from tests import stories
from tests.cast import NOW, Cast


@pytest.fixture
def approved(cast: Cast) -> KycCase:
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    drydock = people.register(
        name="Drydock Partners", kind="entity", jurisdiction="GB", time_zone="UTC", manager=cast.robin, now=NOW
    )
    newcomer = onboarded.Newcomer(client=drydock, signers=[("Dora", "dora@drydock.example")])
    onboarded.complete([newcomer], checker=cast.cora, now=NOW)
    return KycCase.objects.get(client=drydock)


def refused(statement: str, *values: object) -> str:
    """Return what the database says to a statement of the role that the platform runs as."""
    with pytest.raises(Error) as said, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
    return str(said.value)


def test_the_maker_is_never_the_checker(cast: Cast) -> None:
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    said = refused(
        "UPDATE lending_kyccase SET state = 'approved', maker_id = %s, checker_id = %s, approved_at = %s,"
        " review_date = '2022-01-01', risk_rating = 'low' WHERE id = %s",
        cast.robin.pk, cast.robin.pk, NOW, case.pk,
    )  # fmt: skip
    assert "case_maker_is_not_checker" in said
    said = refused("UPDATE lending_kyccase SET state = 'approved' WHERE id = %s", case.pk)
    assert "case_approved_whole" in said


@pytest.mark.parametrize("part", ["a person", "a line of the matrix", "the rating"])
def test_who_made_a_part_of_a_case_does_not_approve_it(cast: Cast, part: str) -> None:
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    CaseFact.objects.filter(case=case).delete()
    RelatedParty.objects.filter(case=case).update(recorded_by=cast.olga if part == "a person" else None)
    SigningRule.objects.filter(case=case).update(recorded_by=cast.olga if part == "a line of the matrix" else None)
    KycCase.objects.filter(pk=case.pk).update(rated_by=cast.olga if part == "the rating" else None)
    KycCase.objects.filter(client=case.client, state="approved").update(state="superseded")
    statement = (
        "UPDATE lending_kyccase SET state = 'approved', maker_id = %s, checker_id = %s, approved_at = %s,"
        " review_date = '2022-01-01', risk_rating = 'low' WHERE id = %s"
    )
    said = refused(statement, cast.robin.pk, cast.olga.pk, NOW, case.pk)
    assert "who has made a part of what a case rests on does not approve it" in said


def test_who_writes_the_people_and_the_matrix_of_a_case_or_rates_it_is_known(cast: Cast) -> None:
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    party = parties.add_party(case, name="Dora", country="CH", is_director=True, by=cast.olga, now=NOW)
    rule = parties.allow(case, SigningRule.Action.ACCEPT, signatures=2, by=cast.olga, now=NOW)
    kyc.rate(case, "low", "plain business", (NOW + timedelta(days=30)).date(), by=cast.olga, now=NOW)
    case.refresh_from_db()
    assert (party.recorded_by, rule.recorded_by, case.rated_by) == (cast.olga, cast.olga, cast.olga)
    with pytest.raises(kyc.UnableToKeep, match="the reason has 401 characters, and 400 are kept"):
        kyc.rate(case, "low", "x" * 401, (NOW + timedelta(days=30)).date(), by=cast.olga, now=NOW)


def test_an_approved_case_and_what_belongs_to_it_stay(approved: KycCase) -> None:
    key = approved.pk
    assert "can not be changed" in refused("UPDATE lending_kyccase SET risk_rating = 'high' WHERE id = %s", key)
    assert "can not be changed" in refused("UPDATE lending_kyccase SET state = 'open' WHERE id = %s", key)
    assert "denied" in refused("DELETE FROM lending_kyccase WHERE id = %s", key)
    for table in (CaseFact, RelatedParty, SigningRule):
        name = table._meta.db_table
        assert "only while it is open" in refused(f"DELETE FROM {name} WHERE case_id = %s", key)
        assert "only while it is open" in refused(f"UPDATE {name} SET client_id = client_id WHERE case_id = %s", key)
    said = refused(
        "INSERT INTO lending_signingrule (case_id, client_id, action, signatures) VALUES (%s, %s, 'accept', 1)",
        key, approved.client_id,
    )  # fmt: skip
    assert "only while it is open" in said


def test_a_case_begins_open_and_one_at_a_time(cast: Cast, approved: KycCase) -> None:
    insert = "INSERT INTO lending_kyccase (public_id, client_id, state, opened_by_id, opened_at, risk_rating,"
    insert += " rating_reason, content) VALUES (gen_random_uuid(), %s, %s, %s, now(), '', '', '{}')"
    assert "begins as open" in refused(insert, cast.quayside.pk, "approved", cast.robin.pk)
    kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    assert "one_open_case" in refused(insert, cast.harbourside.pk, "open", cast.robin.pk)


def test_people_belong_to_the_client_of_their_case(cast: Cast) -> None:
    case = kyc.open_case(cast.harbourside, by=cast.robin, now=NOW)
    row = parties.add_party(case, name="Dora", country="CH", is_director=True, by=cast.robin, now=NOW)
    said = refused("UPDATE lending_relatedparty SET client_id = %s WHERE id = %s", cast.quayside.pk, row.pk)
    assert "with its client" in said


def test_a_file_is_what_its_hash_says_and_stays(approved: KycCase) -> None:
    row = StoredFile.objects.first()
    assert row
    insert = (
        "INSERT INTO lending_storedfile (sha256, content, content_type, size) VALUES (%s, %s, 'application/pdf', %s)"
    )
    other = hashlib.sha256(b"something else").digest()
    assert "storedfile_hash_is_of_content" in refused(insert, other, b"this", 4)
    assert "storedfile_size_is_of_content" in refused(insert, hashlib.sha256(b"this").digest(), b"this", 5)
    assert "denied" in refused("UPDATE lending_storedfile SET content = 'x' WHERE id = %s", row.pk)
    assert "denied" in refused("DELETE FROM lending_storedfile WHERE id = %s", row.pk)


def test_papers_are_only_withdrawn_and_only_once(cast: Cast, approved: KycCase) -> None:
    paper = Document.objects.get(kind="identity")
    assert "denied" in refused("UPDATE lending_document SET kind = 'other' WHERE id = %s", paper.pk)
    withdraw = "UPDATE lending_document SET withdrawn_at = %s, withdrawn_by_id = %s WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.execute(withdraw, [NOW, cast.robin.pk, paper.pk])
    assert "only be withdrawn, once" in refused(withdraw, NOW + timedelta(days=1), cast.robin.pk, paper.pk)


def test_rules_and_versions_are_ended_once_and_signatures_stay(cast: Cast, approved: KycCase) -> None:
    item, version = ChecklistItem.objects.first(), AgreementVersion.objects.get(code="2020-01")
    signed = SignedAgreement.objects.get(version=version)
    assert item
    plain = "UPDATE {} SET end_date = '2022-01-01' WHERE id = %s"
    by_two = plain.replace(" WHERE", f", end_maker_id = {cast.cora.pk}, end_checker_id = {cast.rolf.pk} WHERE")
    for end, table, key in (
        (by_two, "lending_checklistitem", item.pk), (plain, "lending_agreementversion", version.pk),
    ):  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(end.format(table), [key])
        assert "only be ended, once" in refused(end.format(table), key)
        assert "denied" in refused(f"UPDATE {table} SET start_date = '2019-01-01' WHERE id = %s", key)
    assert "denied" in refused("UPDATE lending_signedagreement SET signed_by = 'x' WHERE id = %s", signed.pk)


def test_nobody_is_active_without_an_approved_case_and_a_signed_agreement(cast: Cast) -> None:
    insert = (
        "INSERT INTO lending_client (public_id, name, kind, jurisdiction, time_zone, stage, source, geography,"
        " classification, relationship_manager_id, created_at)"
        " VALUES (gen_random_uuid(), 'X', 'entity', 'CH', 'UTC', %s, '', '', '', %s, now())"
    )
    assert "no approved case" in refused(insert, "active", cast.robin.pk)
    with connection.cursor() as cursor:
        cursor.execute(insert, ["onboarding", cast.robin.pk])
    assert "no approved case" in refused("UPDATE lending_client SET stage = 'active' WHERE name = 'X'")


def test_a_loan_goes_no_further_without_an_approved_case(cast: Cast) -> None:
    loan = offers.accept(stories.offered(cast), by=cast.alice, now=NOW)
    KycCase.objects.filter(client=cast.harbourside).update(state="superseded")
    approve = "UPDATE lending_loan SET state = 'approved', approved_by_id = %s WHERE id = %s"
    assert "has no approved case" in refused(approve, cast.rhea.pk, loan.pk)


def test_a_rule_of_eligibility_takes_two_to_begin_and_two_to_end(cast: Cast) -> None:
    insert = (
        "INSERT INTO lending_eligibilityrule (jurisdiction, classification, allowed, reason, start_date, maker_id,"
        " checker_id) VALUES ('', '', true, 'x', '2021-01-01', %s, %s)"
    )
    end = "UPDATE lending_eligibilityrule SET end_date = '2022-01-01', end_maker_id = %s, end_checker_id = %s"
    assert "eligibility_maker_is_not_checker" in refused(insert, cast.cora.pk, cast.cora.pk)
    assert "eligibility_is_ended_by_two" in refused(end, cast.cora.pk, cast.cora.pk)
    assert "eligibility_is_ended_by_two" in refused("UPDATE lending_eligibilityrule SET end_date = '2022-01-01'")
    with connection.cursor() as cursor:
        cursor.execute(end, [cast.cora.pk, cast.rolf.pk])
    assert "only be ended, once" in refused(end, cast.rolf.pk, cast.cora.pk)
    assert "denied" in refused("UPDATE lending_eligibilityrule SET allowed = NOT allowed")
    assert "denied" in refused("DELETE FROM lending_eligibilityrule")
