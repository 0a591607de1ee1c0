"""Who leaves is out at once: of a role, of a client's access; and a client goes to another manager, or is closed."""

from collections.abc import Iterator

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, transaction
from django.test import Client as Browser

from lending import access, allow_list, approvals, departures, notices, people, prospects
from lending.models import (
    Approval,
    AuditRecord,
    Client,
    ClientUser,
    Deposit,
    Notice,
    RelationshipPeriod,
    Role,
    RoleGrant,
    User,
)
from lending.notices import Letter
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import asset, borrower, staff


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def press(user: User, address: str, **typed: str) -> str:
    return signed_in(user).post(address, typed, follow=True).content.decode()


def test_a_role_ends_at_once_and_with_the_last_one_the_way_in(cast: Cast) -> None:
    olga = signed_in(cast.olga)
    page = f"/admin/lending/user/{cast.olga.pk}/"
    asked = allow_list.ask(cast.harbourside, asset("USD"), "wire:1", reason="a letter", maker=cast.olga, now=NOW)
    assert "End it at once" not in olga.get(f"{page}change/").content.decode()  # olga sees people and ends no role
    assert "does not hold the role" in press(cast.olga, f"{page}end-role/", role="operations", reason="gone")
    assert signed_in(cast.robin).get(f"{page}change/").status_code == 403
    assert "End it at once" in signed_in(cast.dirk).get(f"{page}change/").content.decode()
    for typed, says in (
        ({"role": "risk", "reason": "gone"}, "Refused: choose a role that they hold"),
        ({"role": "operations", "reason": " "}, "Refused: say why"),
        ({"role": "operations", "reason": "x" * 401}, "Refused: the reason has 401 characters, and 400 are kept"),
    ):
        assert says in press(cast.dirk, f"{page}end-role/", **typed)
    RoleGrant.objects.create(user=cast.olga, role=Role.AUDITOR, granted_at=NOW)
    assert "Olga is not operations any more" in press(cast.dirk, f"{page}end-role/", role="operations", reason="gone")
    assert access.roles_of(cast.olga) == {Role.AUDITOR}
    assert olga.get("/admin/").status_code == 200
    press(cast.dirk, f"{page}end-role/", role="auditor", reason="gone")
    assert olga.get("/admin/").status_code == 302  # the session that was open
    asked.refresh_from_db()
    assert asked.state == Approval.State.WITHDRAWN
    assert AuditRecord.objects.filter(action="role_ended", reason="gone", actor=cast.dirk).count() == 2
    ended = RoleGrant.objects.filter(user=cast.olga).first()
    for change in ({"revoked_at": None, "revoked_by": None}, {"role": "risk"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            RoleGrant.objects.filter(pk=ended.pk).update(**change)
    with pytest.raises(departures.UnableToLeave, match="Olga is not operations any more"):
        departures.end_role(ended, reason="gone", by=cast.dirk, now=NOW)
    # Who comes back gets a new way in; the old password opens nothing.
    back, fresh = people.grant(
        cast.olga.email, Role.AUDITOR, name="Olga", password="another-one-9", granted_by=cast.dirk, now=NOW
    )
    assert fresh
    assert back.is_active
    assert back.check_password("another-one-9")


def test_who_acts_for_a_client_no_more_reads_nothing_and_is_told_nothing(cast: Cast) -> None:
    bob, page = signed_in(cast.bob), f"/admin/lending/client/{cast.harbourside.pk}/"
    of_bob = str(cast.bob.public_id)
    rita = cast.quayside.relationship_manager
    assert signed_in(rita).post(f"{page}remove/", {"person": of_bob, "why_ended": "x"}).status_code == 404
    assert "does not hold the role" in press(cast.rhea, f"{page}remove/", person=of_bob, why_ended="x")
    assert "Refused: choose who acts" in press(cast.robin, f"{page}remove/", person="bob", why_ended="left them")
    assert "Refused: say why" in press(cast.robin, f"{page}remove/", person=of_bob, why_ended="")
    assert bob.get("/portal/").status_code == 200
    assert "Bob acts for Harbourside" in press(cast.robin, f"{page}remove/", person=of_bob, why_ended="left them")
    assert bob.get("/portal/").status_code == 302
    assert "End an access" in signed_in(cast.olga).get(f"{page}change/").content.decode()
    notices.enqueue([Letter(client=cast.harbourside, kind="x", subject="x", body="x", key="later")], now=NOW)
    told = {notice.kind: {row.address for row in notice.deliveries.all()} for notice in Notice.objects.all()}
    assert told["x"] == {"portal", cast.alice.email}
    assert told["person_removed"] == {"portal", cast.alice.email, cast.bob.email}  # who is removed hears of it too
    # Taken on again, they choose a password anew, and the others are told of it again.
    again = people.invite(
        cast.harbourside, cast.bob.email, Role.BORROWER_VIEWER, name="Bob", invited_by=cast.robin,
        origin="https://desk.example", now=NOW,
    )  # fmt: skip
    assert again.user == cast.bob
    assert again.user.is_active
    assert not again.user.has_usable_password()
    departures.remove(again, reason="after all", by=cast.olga, now=NOW)
    assert Notice.objects.filter(kind="person_removed").count() == 2


def test_who_acts_for_another_client_too_keeps_that(cast: Cast) -> None:
    ClientUser.objects.create(client=cast.quayside, user=cast.alice, role=Role.BORROWER_VIEWER, created_at=NOW)
    mine = ClientUser.objects.get(client=cast.harbourside, user=cast.alice)
    asked = departures.remove(mine, reason="left them", by=cast.cora, now=NOW)
    approvals.decide(asked, checker=cast.dirk, approve=True, now=NOW)
    assert "Quayside" in (page := signed_in(cast.alice).get("/portal/").content.decode())
    assert "Harbourside" not in page


def test_the_last_who_signs_for_a_client_goes_by_two_persons_and_hears_of_it(cast: Cast) -> None:
    page, of_alice = f"/admin/lending/client/{cast.harbourside.pk}/", str(cast.alice.public_id)
    said = press(cast.robin, f"{page}remove/", person=of_alice, why_ended="left them")
    assert "Asked: nobody else would sign for Harbourside Trading" in said
    assert "Open the request" in said
    assert "it waits for a second person already" in press(cast.olga, f"{page}remove/", person=of_alice, why_ended="x")
    assert cast.harbourside.client_users.filter(user=cast.alice).exists()
    asked = Approval.objects.get(kind=departures.LAST_SIGNER)
    with pytest.raises(access.UnableToAccess):
        approvals.decide(asked, checker=cast.olga, approve=True, now=NOW)
    approvals.decide(asked, checker=cast.cora, approve=True, now=NOW)
    assert signed_in(cast.alice).get("/portal/").status_code == 302
    told = Notice.objects.get(kind="person_removed").deliveries.filter(channel="email")
    assert {row.address for row in told} == {cast.alice.email, cast.bob.email}
    # Who is left only looks, and letters go to them alone: they go by two persons, too.
    assert "Asked: nobody else" in press(cast.robin, f"{page}remove/", person=str(cast.bob.public_id), why_ended="x")
    # Asked again after they went: nobody is there any more to be removed.
    gone = Approval.objects.create(
        kind=asked.kind, client=asked.client, payload=asked.payload, payload_hash=asked.payload_hash,
        maker=cast.robin, requested_at=NOW, expires_at=asked.expires_at,
    )  # fmt: skip
    with pytest.raises(approvals.UnableToApprove, match="does not act for it any more"):
        approvals.decide(gone, checker=cast.cora, approve=True, now=NOW)


def test_who_may_sign_in_as_a_signer_and_is_not_named_as_one_leaves_no_signer_behind(cast: Cast) -> None:
    eve = ClientUser.objects.create(
        client=cast.harbourside, user=borrower("eve", cast.quayside), role=Role.BORROWER_ADMIN, created_at=NOW
    )
    alice = ClientUser.objects.get(client=cast.harbourside, user=cast.alice)
    assert departures.remove(alice, reason="left them", by=cast.robin, now=NOW) is not None
    assert ClientUser.objects.filter(pk=alice.pk).exists()
    assert departures.remove(eve, reason="a slip", by=cast.robin, now=NOW) is None


def test_a_client_is_handed_over_by_two_persons(cast: Cast) -> None:
    client, rita = cast.harbourside, cast.quayside.relationship_manager
    RelationshipPeriod.objects.create(client=client, user=cast.robin, start_at=client.created_at)
    page = f"/admin/lending/client/{client.pk}/"
    typed = {"to": str(rita.public_id), "why_handed": "Robin is away for a year"}
    for changes, says in (
        ({"to": str(cast.rhea.public_id)}, "Refused: choose who looks after it"),
        ({"to": ""}, "Refused: choose who looks after it"),
        ({"why_handed": ""}, "Refused: say why"),
    ):
        assert says in press(cast.robin, f"{page}hand-over/", **typed | changes)
    assert "does not hold the role" in press(cast.olga, f"{page}hand-over/", **typed)
    assert "Asked: it waits" in press(cast.robin, f"{page}hand-over/", **typed)
    assert "it waits for a second person already" in press(cast.robin, f"{page}hand-over/", **typed)
    with pytest.raises(departures.UnableToLeave, match="looks after Harbourside Trading already"):
        departures.ask_hand_over(client, cast.robin, reason="x", maker=cast.dirk, now=NOW)
    asked = Approval.objects.get(kind=departures.HAND_OVER)
    for user in (cast.robin, rita):  # neither who gives nor who gets it, whatever else they are
        RoleGrant.objects.create(user=user, role=Role.DESK_HEAD, granted_at=NOW)
        with pytest.raises((approvals.UnableToApprove, access.UnableToAccess)):
            approvals.decide(asked, checker=user, approve=True, now=NOW)
    for grant in RoleGrant.objects.filter(user__in=(cast.robin, rita), role=Role.DESK_HEAD):
        departures.end_role(grant, reason="a trial", by=cast.cora, now=NOW)
    approvals.decide(asked, checker=cast.dirk, approve=True, now=NOW)
    client.refresh_from_db()
    assert client.relationship_manager == rita
    periods = RelationshipPeriod.objects.filter(client=client).order_by("pk").values_list("user", "end_at")
    assert list(periods) == [(cast.robin.pk, NOW), (rita.pk, None)]
    assert signed_in(cast.robin).get(f"{page}change/").status_code in {302, 404}
    assert "Harbourside" in signed_in(rita).get(f"{page}change/").content.decode()
    assert Notice.objects.get(kind="client_handed_over").subject == f"{rita} looks after you from now on"
    with pytest.raises(IntegrityError), transaction.atomic():
        RelationshipPeriod.objects.create(client=client, user=cast.robin, start_at=NOW)
    # Asked for before it went elsewhere, another request stands no more.
    late = departures.ask_hand_over(client, staff("ruth", Role.RELATIONSHIP_MANAGER), reason="x", maker=rita, now=NOW)
    Client.objects.filter(pk=client.pk).update(relationship_manager=cast.robin)
    with pytest.raises(approvals.UnableToApprove, match="Robin looks after Harbourside Trading by now"):
        approvals.decide(late, checker=cast.dirk, approve=True, now=NOW)


def test_a_lost_prospect_leaves_the_pipeline_and_can_come_back(cast: Cast) -> None:
    lost = people.register(
        name="Lost Cove", kind="entity", jurisdiction="CH", time_zone="UTC", manager=cast.robin, now=NOW
    )
    page = f"/admin/lending/client/{lost.pk}/"
    assert "Lost Cove" in signed_in(cast.robin).get("/admin/pipeline/").content.decode()
    assert "Refused: say why" in press(cast.robin, f"{page}close/", why_closed=" ")
    assert "and 400 are kept" in press(cast.robin, f"{page}close/", why_closed="x" * 401)
    assert "does not hold the role" in press(cast.rhea, f"{page}close/", why_closed="no")
    again = {"why_reopened": "they called"}
    assert "Refused: Lost Cove is not closed" in press(cast.robin, f"{page}reopen/", **again)
    assert "Closed: it stands" in press(cast.robin, f"{page}close/", why_closed="went elsewhere")
    assert "Lost Cove is closed already" in press(cast.robin, f"{page}close/", why_closed="went elsewhere")
    assert "Lost Cove" not in signed_in(cast.robin).get("/admin/pipeline/").content.decode()
    assert "Refused: say why" in press(cast.robin, f"{page}reopen/", why_reopened=" ")
    assert "Taken up again" in press(cast.robin, f"{page}reopen/", **again)
    lost.refresh_from_db()
    assert lost.stage == Client.Stage.PROSPECT
    # Nobody is closed with whom something is open.
    stray = {"custodian": "paper", "custodian_ref": "x", "position": 1, "sent_to": "a", "seen_at": NOW, "quantity": 1}
    held = Deposit.objects.create(client=lost, asset=asset("BTC"), state=Deposit.State.HELD, **stray)
    said = press(cast.robin, f"{page}close/", why_closed="went elsewhere")
    assert "Refused: a transfer of BTC to it is not credited yet: that is settled first" in said
    Deposit.objects.filter(pk=held.pk).update(state=Deposit.State.REORGED)
    assert "Closed: it stands" in press(cast.robin, f"{page}close/", why_closed="went elsewhere")
    loan = stories.running(cast)
    at = f"/admin/lending/client/{cast.harbourside.pk}/close/"
    assert f"Refused: {loan} is active: it ends first" in press(cast.robin, at, why_closed="gone")
    stories.deposited(cast.quayside, "USD", loan.principal)
    with pytest.raises(prospects.UnableToClose, match="USD of it is still on the books"):
        prospects.close(cast.quayside, reason="gone", by=cast.cora, now=NOW)


def test_who_could_borrow_at_once_is_taken_up_again_by_two_persons(cast: Cast) -> None:
    client, page = cast.harbourside, f"/admin/lending/client/{cast.harbourside.pk}/"
    prospects.close(client, reason="their funds are looked into", by=cast.cora, now=NOW)
    again = {"why_reopened": "they have explained it"}
    assert "Asked: it could borrow at once" in press(cast.robin, f"{page}reopen/", **again)
    assert "it waits for a second person already" in press(cast.robin, f"{page}reopen/", **again)
    shown = signed_in(cast.robin).get(f"{page}change/").content.decode()
    assert "Open the request" in shown
    client.refresh_from_db()
    assert client.stage == Client.Stage.CLOSED
    asked = Approval.objects.get(kind=prospects.REOPEN)
    for nobody in (cast.robin, cast.olga):
        with pytest.raises((approvals.UnableToApprove, access.UnableToAccess)):
            approvals.decide(asked, checker=nobody, approve=True, now=NOW)
    approvals.decide(asked, checker=cast.cora, approve=True, now=NOW)
    client.refresh_from_db()
    assert client.stage == Client.Stage.ACTIVE
    assert AuditRecord.objects.get(action="client_reopened").reason == "they have explained it"
    with pytest.raises(approvals.UnableToApprove, match="is not closed any more"):
        prospects.carry_out(asked, now=NOW)
