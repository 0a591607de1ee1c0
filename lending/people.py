"""Clients and who looks after them; the desk's own people and their roles."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from lending import access, audit, authority, notices, outbox
from lending.access import AnyUser
from lending.engine import likeness, names
from lending.models import Client, ClientUser, RelationshipPeriod, Role, RoleGrant, User
from lending.notices import Letter

INVITATION = "person.invitation"
ALIKE = 90  # of 100; names less like each other are two clients
IS_CLIENT, ASK_FIRST = "is a client already", "needs a look by compliance first: ask them"


class UnableToGrant(Exception):
    """A role can not be given; the message says why."""


def alike(name: str, kind: str, *, seen_by: AnyUser) -> list[str]:
    """
    Return in words whom a new client of a kind may be, by names that are alike; nothing where nobody is.

    A client whom the reader sees is named; of another's they learn no more than whom to ask.
    """
    known = list(Client.objects.order_by("name", "pk").values_list("pk", "name", "jurisdiction"))
    index, wanted = likeness.Index.of([names.of(written) for _, written, _ in known]), names.of(name)
    person = kind == Client.Kind.INDIVIDUAL
    places = [int(place) for place in index.candidates([wanted])[0]]
    like = [known[place] for place in places if index.compare(wanted, place, is_person=person).score >= ALIKE]
    seen = set(access.clients_for(seen_by).filter(pk__in=[key for key, *_ in like]).values_list("pk", flat=True))
    said = [f"{written} in {country} {IS_CLIENT}" for key, written, country in like if key in seen]
    return said + ([f"{name} {ASK_FIRST}"] if len(seen) < len(like) else [])


@transaction.atomic
def register(
    *,
    name: str,
    kind: str,
    jurisdiction: str,
    time_zone: str,
    manager: User,
    now: datetime,
    source: str = "",
    geography: str = "",
    expected_size_usd: Decimal | None = None,
    classification: str = "",
    although: Sequence[str] = (),
) -> Client:
    """
    Take on a prospect, looked after by the relationship manager who registers it.

    `although` says whom it was said not to be, as `alike` has it; the audit trail keeps that.

    Raises
    ------
    UnableToGrant
        If the name can not be held against a list of names.
    lending.access.UnableToAccess
        If the manager is no relationship manager.
    """
    access.require_role(manager, Role.RELATIONSHIP_MANAGER)
    if wrong := names.problem(name):
        raise UnableToGrant(wrong)
    client = Client.objects.create(
        name=name,
        kind=kind,
        jurisdiction=jurisdiction,
        time_zone=time_zone,
        stage=Client.Stage.PROSPECT,
        stage_at=now,
        source=source,
        geography=geography,
        expected_size_usd=expected_size_usd,
        classification=classification,
        relationship_manager=manager,
        created_at=now,
    )
    RelationshipPeriod.objects.create(client=client, user=manager, start_at=now)
    facts: dict[str, Any] = {"name": name, "kind": kind} | ({"although": list(although)} if although else {})
    audit.write("client_registered", actor=manager, obj=client, after=facts, now=now)
    return client


@transaction.atomic
def grant(
    email: str, role: Role, *, name: str, password: str, granted_by: User | None, now: datetime
) -> tuple[User, bool]:
    """
    Give a person of the desk a role, and return the person and whether `password` is theirs now.

    That is so if they were made just now, or had left and come back.

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
    if not user.is_active:  # somebody who had left: who they were before opens nothing
        user.is_active, made = True, True
        user.set_password(password)
    user.is_staff = True
    user.save(update_fields=["is_active", "is_staff", "password"])
    _row, new = RoleGrant.objects.get_or_create(
        user=user, role=role, revoked_at=None, defaults={"granted_by": granted_by, "granted_at": now}
    )
    if new:
        audit.write("role_granted", actor=granted_by, obj=user, after={"role": role.value}, now=now)
    return user, made


@transaction.atomic
def invite(
    client: Client, email: str, role: Role, *, name: str, invited_by: User, origin: str, now: datetime
) -> ClientUser:
    """
    Add a person to a client, and have them sent a link under `origin` by which they choose a password of their own.

    Nobody at the desk ever knows it: whoever manages a client could otherwise sign for it. A person who signs in for
    another client already is added without a letter.

    Raises
    ------
    UnableToGrant
        If the address is none, the role is none of a client's, the client's approved case does not name them as
        somebody who signs, or the person works for the desk or is added already.
    lending.access.UnableToAccess
        If the inviter is no relationship manager, or is one who does not see the client.
    """
    access.require_role(invited_by, Role.RELATIONSHIP_MANAGER)
    access.require_client(invited_by, client)
    if role not in access.BORROWER_ROLES:
        raise UnableToGrant(f"{role.label} is not a role at a client")
    try:
        validate_email(email)
    except ValidationError as error:
        raise UnableToGrant(f"{email!r} is not an e-mail address") from error
    user = User.objects.filter(email=email.lower()).first()
    if user is not None and (user.is_staff or RoleGrant.objects.filter(user=user).exists()):
        raise UnableToGrant(f"{user.email} works for the desk and can not also act for a client")
    if user is not None and ClientUser.objects.filter(client=client, user=user).exists():
        raise UnableToGrant(f"{user.email} acts for {client} already")
    signers = authority.matrices([client])[client.pk].persons
    bound = signers or client.kind == Client.Kind.INDIVIDUAL
    if role == Role.BORROWER_ADMIN and bound and email.lower() not in signers:
        raise UnableToGrant(f"the case of {client} does not name {email} as somebody who signs: open a review for that")
    if user is not None and not user.is_active:  # somebody who had left: they choose a password anew
        user.is_active = True
        user.save(update_fields=["is_active"])
    user = user or User.objects.create_user(email, None, name=name or email)
    told = ClientUser.objects.filter(client=client).exists()
    added = ClientUser.objects.create(client=client, user=user, role=role, created_at=now)
    facts = {"person": user.email, "role": role.value}
    audit.write("person_added", actor=invited_by, obj=client, after=facts, now=now)
    if told:
        # Who acts for a client learns of everybody who is added beside them.
        does = "may sign for" if role == Role.BORROWER_ADMIN else "may look at what concerns"
        body = f"{added.user.name} ({user.email}) {does} {client} from now on. If you do not know them, call us."
        key = f"person_added:{client.public_id}:{user.public_id}:{added.pk}"
        subject = "Somebody was added to your account"
        notices.enqueue([Letter(client=client, kind="person_added", subject=subject, body=body, key=key)], now=now)
    if not user.has_usable_password():
        payload = {"user": str(user.public_id), "client": client.name, "origin": origin}
        outbox.put(INVITATION, payload, key=f"invitation:{client.public_id}:{user.public_id}:{added.pk}", now=now)
    return added


def send_invitation(payload: Mapping[str, Any], *, now: datetime) -> None:
    """Send the letter by which a person chooses their password; nothing, once they have chosen one."""
    user = User.objects.get(public_id=payload["user"])
    if user.has_usable_password():
        return
    words = {"uidb64": urlsafe_base64_encode(force_bytes(user.pk)), "token": default_token_generator.make_token(user)}
    link = f"{payload['origin'].rstrip('/')}{reverse('first_password', kwargs=words)}"
    EmailMessage(
        subject=f"Your access to {payload['client']} at Plimsoll",
        body=(
            f"Good day {user},\n\nyou can now look after the loans of {payload['client']}. Choose a password here; the"
            f" link works once, for three days:\n\n{link}\n\nIf you did not expect this, do not use the link.\n"
        ),
        to=[user.email],
    ).send()
