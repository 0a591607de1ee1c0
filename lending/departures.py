"""People leave: a role of the desk ends, somebody acts for a client no more, a client goes to another manager."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from lending import access, approvals, audit, authority, notices, reasons
from lending.models import Approval, Client, ClientUser, RelationshipPeriod, Role, RoleGrant, User
from lending.notices import Letter

HAND_OVER, LAST_SIGNER = "hand_over", "last_signer"
ENDERS = frozenset({Role.DESK_HEAD, Role.RISK_HEAD, Role.COMPLIANCE})
REMOVERS = frozenset({Role.RELATIONSHIP_MANAGER, Role.OPERATIONS, Role.COMPLIANCE})
HANDERS = frozenset({Role.RELATIONSHIP_MANAGER, Role.DESK_HEAD, Role.RISK_HEAD, Role.COMPLIANCE})


class UnableToLeave(Exception):
    """A role or an access can not be ended like that, or a client not be handed over; the message says why."""


@transaction.atomic
def end_role(grant: RoleGrant, *, reason: str, by: User, now: datetime) -> RoleGrant:
    """
    End a role of a person of the desk at once; one person is enough for what only takes power away.

    Who holds none any more is signed out everywhere, and what they asked for and nobody has decided is taken back.

    Raises
    ------
    UnableToLeave
        If the role has ended already, or no reason is given, or too long a one.
    lending.access.UnableToAccess
        If `by` does not end roles.
    """
    access.require_role(by, *ENDERS)
    why = reasons.kept(reason, UnableToLeave, missing="say why")
    row = RoleGrant.objects.select_for_update(of=("self",)).select_related("user").get(pk=grant.pk)
    if row.revoked_at is not None:
        raise UnableToLeave(f"{row.user} is not {row.get_role_display().lower()} any more")
    row.revoked_at, row.revoked_by = now, by
    row.save(update_fields=["revoked_at", "revoked_by"])
    audit.write("role_ended", actor=by, obj=row.user, before={"role": row.role}, reason=why, now=now)
    if not RoleGrant.objects.filter(user=row.user, revoked_at=None).exists():
        _take_back(Approval.objects.filter(maker=row.user), by=by, now=now)
        _shut_out(row.user)
    return row


@transaction.atomic
def remove(person: ClientUser, *, reason: str, by: User, now: datetime) -> Approval | None:
    """
    Have somebody act for a client no more, at once; they are told, and those who still do.

    What they asked for as a client and nobody has decided is taken back. Who acts for no client is signed out. Where
    nobody is left who signs for it, or nobody at all, it is asked of a second person instead, and the request comes
    back: nobody at the desk alone leaves a client without anybody who could object.

    Raises
    ------
    UnableToLeave
        If no reason is given, or too long a one, or it waits for a second person already.
    lending.access.UnableToAccess
        If `by` does not look after the client's people, or does not see the client.
    """
    access.require_role(by, *REMOVERS)
    access.require_client(by, person.client)
    why = reasons.kept(reason, UnableToLeave, missing="say why")
    client = Client.objects.select_for_update(of=("self",)).get(pk=person.client_id)
    left = ClientUser.objects.filter(client=client, user__is_active=True)
    if person.role == Role.BORROWER_ADMIN:  # who signs stands in the approved case, once there is one
        named = authority.signers().filter(client=client)
        left = named if named.exists() else left.filter(role=Role.BORROWER_ADMIN)
    if left.exclude(pk=person.pk).exists():
        _remove(person, reason=why, by=by, now=now)
        return None
    if LAST_SIGNER in waiting(client, now=now):
        raise UnableToLeave("it waits for a second person already")
    asked = {"client": str(client.public_id), "person": person.user.email, "role": person.role, "reason": why}
    return approvals.request(LAST_SIGNER, asked, maker=by, now=now, client=client)


@transaction.atomic
def carry_out_removal(approval: Approval, *, now: datetime) -> None:
    """Have the last signer of a client act for it no more; lending.approvals.UnableToApprove if they do not by now."""
    asked, by = approval.payload, approval.checker
    acting = ClientUser.objects.select_related("client", "user")
    person = acting.filter(client=approval.client, user__email=asked["person"]).first()
    if by is None or person is None:
        raise approvals.UnableToApprove(f"{asked['person']} does not act for it any more")
    _remove(person, reason=asked["reason"], by=by, now=now)


def _remove(person: ClientUser, *, reason: str, by: User, now: datetime) -> None:
    client, user = person.client, person.user
    letter = Letter(
        client=client, kind="person_removed", subject=f"{user.name} does not act for {client} any more",
        body=f"{user.name} ({user.email}) does not act for {client} any more. If that is a mistake, call us.",
        key=f"person_removed:{client.public_id}:{user.public_id}:{person.pk}",
    )  # fmt: skip
    notices.enqueue([letter], now=now)  # before they are gone, so that it goes to them too
    facts = {"person": user.email, "role": person.role}
    person.delete()
    audit.write("person_removed", actor=by, obj=client, before=facts, reason=reason, now=now)
    _take_back(Approval.objects.filter(maker=user, client=client), by=by, now=now)
    if not ClientUser.objects.filter(user=user).exists():
        _shut_out(user)


@transaction.atomic
def ask_hand_over(client: Client, to: User, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to give a client to another relationship manager.

    Raises
    ------
    UnableToLeave
        If the other is no relationship manager or has the client already, no reason is given, or too long a one, or it
        is asked for already.
    lending.access.UnableToAccess
        If the maker hands no clients over, or does not see the client.
    """
    access.require_role(maker, *HANDERS)
    access.require_client(maker, client)
    why = reasons.kept(reason, UnableToLeave, missing="say why")
    _check_manager(to)
    if to.pk == client.relationship_manager_id:
        raise UnableToLeave(f"{to} looks after {client} already")
    if HAND_OVER in waiting(client, now=now):
        raise UnableToLeave("it waits for a second person already")
    payload = {
        "client": str(client.public_id), "from": client.relationship_manager.email, "to": to.email, "reason": why,
    }  # fmt: skip
    return approvals.request(HAND_OVER, payload, maker=maker, now=now, client=client)


def waiting(client: Client, *, now: datetime) -> dict[str, Approval]:
    """Return the requests to hand a client over, or to remove its last signer, that wait for a second person."""
    found = Approval.objects.filter(
        kind__in=(HAND_OVER, LAST_SIGNER), client=client, state=Approval.State.REQUESTED, expires_at__gt=now
    )
    return {row.kind: row for row in found.select_related("maker")}


def managers() -> list[User]:
    """Return who may look after a client, by name."""
    held = RoleGrant.objects.filter(role=Role.RELATIONSHIP_MANAGER, revoked_at=None)
    return list(User.objects.filter(pk__in=held.values("user"), is_active=True).order_by("name", "email"))


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Client:
    """
    Hand a client over as two persons agreed: what it earns from now on is the new manager's.

    Raises
    ------
    lending.approvals.UnableToApprove
        If somebody else looks after it by now, the new manager is none any more, or would approve it themselves.
    """
    asked = approval.payload
    client = Client.objects.select_for_update(of=("self",)).get(public_id=asked["client"])
    before, to = client.relationship_manager, User.objects.get(email=asked["to"])
    if before.email != asked["from"]:
        raise approvals.UnableToApprove(f"{before} looks after {client} by now")
    if approval.checker_id == to.pk:
        raise approvals.UnableToApprove(f"{to} is to look after {client}: another approves it")
    try:
        _check_manager(to)
    except UnableToLeave as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    RelationshipPeriod.objects.filter(client=client, end_at=None).update(end_at=now)
    RelationshipPeriod.objects.create(client=client, user=to, start_at=now)
    client.relationship_manager = to
    client.save(update_fields=["relationship_manager"])
    was, now_is = {"manager": before.email}, {"manager": to.email}
    audit.write(
        "client_handed_over", actor=approval.checker, obj=client, before=was, after=now_is, reason=asked["reason"],
        now=now,
    )  # fmt: skip
    if ClientUser.objects.filter(client=client).exists():
        reached = f"{to}, {to.email}{f', {to.phone}' if to.phone else ''}"
        letter = Letter(
            client=client, kind="client_handed_over", subject=f"{to} looks after you from now on",
            body=f"Your contact at the desk is {reached}, instead of {before}.",
            key=f"client_handed_over:{approval.public_id}",
        )  # fmt: skip
        notices.enqueue([letter], now=now)
    return client


def _check_manager(to: User) -> None:
    if Role.RELATIONSHIP_MANAGER not in access.roles_of(to):
        raise UnableToLeave(f"{to} is no relationship manager")


def _take_back(asked: QuerySet[Approval], *, by: User, now: datetime) -> None:
    for row in asked.filter(state=Approval.State.REQUESTED).order_by("pk"):
        approvals.withdraw(row, by=by, now=now)


def _shut_out(user: User) -> None:
    """End all that somebody could still sign in with; whoever takes them on again gives them a new way in."""
    user.is_active = False
    user.set_unusable_password()
    user.save(update_fields=["is_active", "password"])
