"""Who may do and see what: roles of the desk stand in grants, roles of borrowers on their client."""

from django.contrib.auth.models import AnonymousUser
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce, JSONObject, NullIf

from lending.models import Client, ClientUser, JointSignature, Loan, MarginAccount, Role, RoleGrant, User

AnyUser = User | AnonymousUser

BORROWER_ROLES = frozenset({Role.BORROWER_ADMIN, Role.BORROWER_VIEWER})
STAFF_ROLES = frozenset(Role) - BORROWER_ROLES
RISK_ROLES = frozenset({Role.RISK, Role.RISK_HEAD})
APPROVERS = RISK_ROLES

# A desk trader sees no client: whoever knows the margin triggers could trade ahead of them.
SEES_EVERY_CLIENT = STAFF_ROLES - {Role.RELATIONSHIP_MANAGER, Role.DESK_TRADER}


class UnableToAccess(PermissionDenied):
    """The user lacks the role, or the object belongs to a client that the user has nothing to do with."""


def roles_of(user: AnyUser) -> frozenset[Role]:
    """Return every role that a user holds, of the desk or of any client; nobody who is not active holds one."""
    if not isinstance(user, User) or not user.is_active:
        return frozenset()
    granted = RoleGrant.objects.filter(user=user, revoked_at=None).values_list("role")
    borrower = ClientUser.objects.filter(user=user).values_list("role")
    return frozenset(Role(role) for (role,) in granted.union(borrower))


def require_role(user: AnyUser, *roles: Role) -> frozenset[Role]:
    """Check that a user holds one of some roles, and return all that they hold."""
    held = roles_of(user)
    if held.isdisjoint(roles):
        wanted = " or ".join(Role(role).label.lower() for role in roles)
        raise UnableToAccess(f"{user} does not hold the role {wanted}")
    return held


def is_staff(user: AnyUser) -> bool:
    """Return whether a user works for the desk: holds at least one of its roles."""
    return not roles_of(user).isdisjoint(STAFF_ROLES)


def clients_for(user: AnyUser, held: frozenset[Role] | None = None) -> QuerySet[Client]:
    """
    Return the clients that a user may see.

    A relationship manager without another role of the desk sees the clients they manage, a desk trader none, every
    other role of the desk all; a borrower sees their own; anybody else sees none. `held` are the user's roles, where
    somebody has looked them up already.
    """
    roles = roles_of(user) if held is None else held
    if roles & SEES_EVERY_CLIENT:
        return Client.objects.all()
    if Role.RELATIONSHIP_MANAGER in roles:
        return Client.objects.filter(relationship_manager=user.pk)
    return own_clients(user)


def own_clients(user: AnyUser) -> QuerySet[Client]:
    """Return the clients that a borrower's user belongs to, whatever the desk may have granted them besides."""
    if not isinstance(user, User) or not user.is_active:
        return Client.objects.none()
    return Client.objects.filter(client_users__user=user)


def acts_for(user: AnyUser) -> list[ClientUser]:
    """
    Return which clients a borrower's user belongs to and in which role, each with its contact, by name.

    Each says what waits for a second signature (`unsigned`), the oldest first, so that no page asks for that: its
    words, who signed it `first` and when, and when it `expires_at`; instants as texts, those that are past too.
    """
    if not isinstance(user, User) or not user.is_active:
        return []
    waiting = JointSignature.objects.filter(client=OuterRef("client"), second=None, withdrawn_at=None)
    first = Coalesce(NullIf(F("first__name"), Value("")), F("first__email"))
    facts = JSONObject(words="words", first=first, first_at="first_at", expires_at="expires_at")
    unsigned = waiting.order_by("first_at", "pk").values(facts=facts)
    rows = ClientUser.objects.filter(user=user).select_related("client__relationship_manager")
    rows = rows.annotate(unsigned=ArraySubquery(unsigned))
    return list(rows.order_by("client__name", "client"))


def loans_for(user: AnyUser) -> QuerySet[Loan]:
    """Return the loans that a user may see."""
    return Loan.objects.filter(client__in=clients_for(user))


def margin_accounts_for(user: AnyUser) -> QuerySet[MarginAccount]:
    """Return the margin accounts that a user may see."""
    return MarginAccount.objects.filter(client__in=clients_for(user))


def require_client(user: AnyUser, client: Client) -> None:
    """Check that a user may see a client."""
    if not clients_for(user).filter(pk=client.pk).exists():
        raise UnableToAccess("no such client")


def may_sign(user: AnyUser, client: Client) -> bool:
    """Return whether a user may act for a client, and not only look: its borrower admin."""
    return (
        isinstance(user, User)
        and user.is_active
        and ClientUser.objects.filter(user=user, client=client, role=Role.BORROWER_ADMIN).exists()
    )


def require_signer(user: AnyUser, client: Client) -> None:
    """Check that a user may sign for a client."""
    if not may_sign(user, client):
        raise UnableToAccess(f"{user} may not sign for {client}")


def require_checker(user: User, *, client: Client, maker: User, roles: frozenset[Role] = APPROVERS) -> None:
    """Check that a user may be the second person: holds a role for it, did not make it, manages not this client."""
    if user.pk == maker.pk:
        raise UnableToAccess(f"{user} made this and can not also approve it")
    if client.relationship_manager_id == user.pk:
        raise UnableToAccess(f"{user} manages {client} and can not approve, release or waive for it")
    require_role(user, *roles)
