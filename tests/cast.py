"""The cast: the people of every story, and the clients they belong to."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pytest
from django.contrib.auth.hashers import get_hasher, make_password

from lending.models import Client, ClientUser, Role, RoleGrant, User

NOW = datetime(2021, 5, 19, 12, 0, tzinfo=UTC)
PASSWORD = "draught-marks-amidships-41"


@dataclass(frozen=True)
class Cast:
    """Everybody, by name: what each may see is told in the access table."""

    alice: User
    bob: User
    charlie: User
    rhea: User
    rolf: User
    dana: User
    dirk: User
    robin: User
    olga: User
    cora: User
    harbourside: Client
    quayside: Client


@cache
def _hash(hasher: str) -> str:
    """Hash the one password once for each way of hashing: a good one is slow on purpose."""
    return make_password(PASSWORD, hasher=hasher)


def _staff(name: str, role: Role) -> User:
    user = User.objects.create(
        email=f"{name}@plimsoll.example", password=_hash(get_hasher().algorithm), name=name.title(), is_staff=True
    )
    RoleGrant.objects.create(user=user, role=role, granted_at=NOW)
    return user


def _borrower(name: str, client: Client, role: Role) -> User:
    email = f"{name}@{client.name.split()[0].lower()}.example"
    user = User.objects.create(email=email, password=_hash(get_hasher().algorithm), name=name.title())
    ClientUser.objects.create(client=client, user=user, role=role, created_at=NOW)
    return user


def assemble() -> Cast:
    """Create everybody: alice signs and bob looks for one client, charlie belongs to another."""
    robin = _staff("robin", Role.RELATIONSHIP_MANAGER)
    other = _staff("rita", Role.RELATIONSHIP_MANAGER)
    clients = [
        Client.objects.create(
            name=name,
            kind=Client.Kind.ENTITY,
            jurisdiction="GB",
            time_zone="Europe/London",
            stage=Client.Stage.ACTIVE,
            relationship_manager=manager,
            created_at=NOW,
        )
        for name, manager in (("Harbourside Trading", robin), ("Quayside Holdings", other))
    ]
    return Cast(
        alice=_borrower("alice", clients[0], Role.BORROWER_ADMIN),
        bob=_borrower("bob", clients[0], Role.BORROWER_VIEWER),
        charlie=_borrower("charlie", clients[1], Role.BORROWER_ADMIN),
        rhea=_staff("rhea", Role.RISK),
        rolf=_staff("rolf", Role.RISK_HEAD),
        dana=_staff("dana", Role.DESK_TRADER),
        dirk=_staff("dirk", Role.DESK_HEAD),
        robin=robin,
        olga=_staff("olga", Role.OPERATIONS),
        cora=_staff("cora", Role.COMPLIANCE),
        harbourside=clients[0],
        quayside=clients[1],
    )


@pytest.fixture
def cast(db: None) -> Cast:
    """Everybody, in a transaction that is rolled back."""
    return assemble()


def _member(name: str) -> object:
    @pytest.fixture(name=name)
    def member(cast: Cast) -> object:
        return getattr(cast, name)

    return member


alice, bob, charlie = _member("alice"), _member("bob"), _member("charlie")
rhea, dana, robin = _member("rhea"), _member("dana"), _member("robin")
