"""Clients and who looks after them; the desk's own people and their roles."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from lending import access, audit
from lending.models import Client, ClientUser, RelationshipPeriod, Role, RoleGrant, User


class UnableToGrant(Exception):
    """A role can not be given; the message says why."""


@transaction.atomic
def register(*, name: str, kind: str, jurisdiction: str, time_zone: str, manager: User, now: datetime) -> Client:
    """
    Take on a client, looked after by the relationship manager who registers it.

    Raises
    ------
    lending.access.UnableToAccess
        If the manager is no relationship manager.
    """
    access.require_role(manager, Role.RELATIONSHIP_MANAGER)
    client = Client.objects.create(
        name=name,
        kind=kind,
        jurisdiction=jurisdiction,
        time_zone=time_zone,
        stage=Client.Stage.ONBOARDING,
        relationship_manager=manager,
        created_at=now,
    )
    RelationshipPeriod.objects.create(client=client, user=manager, start_at=now)
    audit.write("client_registered", actor=manager, obj=client, after={"name": name, "kind": kind}, now=now)
    return client


@transaction.atomic
def grant(
    email: str, role: Role, *, name: str, password: str, granted_by: User | None, now: datetime
) -> tuple[User, bool]:
    """
    Give a person of the desk a role, and return the person and whether they were made just now.

    A role that is held already is left as it is. Only the operator of the platform grants without `granted_by`.

    Raises
    ------
    UnableToGrant
        If the address is none, the role is a borrower's, the person acts for a client, or grants it to themselves.
    """
    try:
        validate_email(email)
    except ValidationError as error:
        raise UnableToGrant(f"{email!r} is not an e-mail address") from error
    if role in (Role.BORROWER_ADMIN, Role.BORROWER_VIEWER):
        raise UnableToGrant(f"{role.label} is a role at a client: add the person to the client instead")
    user = User.objects.filter(email=email.lower()).first()
    made = user is None
    if user is None:
        user = User.objects.create_user(email, password, name=name or email, is_staff=True)
    if ClientUser.objects.filter(user=user).exists():
        raise UnableToGrant(f"{user.email} acts for a client and can not also work for the desk")
    if granted_by == user:
        raise UnableToGrant("nobody grants a role to themselves")
    if not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
    _row, new = RoleGrant.objects.get_or_create(
        user=user, role=role, revoked_at=None, defaults={"granted_by": granted_by, "granted_at": now}
    )
    if new:
        audit.write("role_granted", actor=granted_by, obj=user, after={"role": role.value}, now=now)
    return user, made
