"""The cast: the people of every story, and the clients they belong to."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from lending.models import Client, ClientUser, Role, RoleGrant, User
from tests.factories import files
from tests.factories.lending import hashed

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


_STAFF = {
    "rhea": Role.RISK,
    "rolf": Role.RISK_HEAD,
    "dana": Role.DESK_TRADER,
    "dirk": Role.DESK_HEAD,
    "robin": Role.RELATIONSHIP_MANAGER,
    "rita": Role.RELATIONSHIP_MANAGER,
    "olga": Role.OPERATIONS,
    "cora": Role.COMPLIANCE,
}
_BORROWERS = {
    "alice": ("Harbourside Trading", Role.BORROWER_ADMIN),
    "bob": ("Harbourside Trading", Role.BORROWER_VIEWER),
    "charlie": ("Quayside Holdings", Role.BORROWER_ADMIN),
}


def assemble() -> Cast:
    """Create everybody: alice signs and bob looks for one client, charlie belongs to another. Both may borrow."""
    addresses = {name: f"{name}@plimsoll.example" for name in _STAFF}
    addresses |= {name: f"{name}@{client.split()[0].lower()}.example" for name, (client, _) in _BORROWERS.items()}
    made = User.objects.bulk_create(
        User(email=email, password=hashed(PASSWORD), name=name.title(), is_staff=name in _STAFF)
        for name, email in addresses.items()
    )
    people = dict(zip(addresses, made, strict=True))
    RoleGrant.objects.bulk_create(
        RoleGrant(user=people[name], role=role, granted_at=NOW) for name, role in _STAFF.items()
    )
    clients = Client.objects.bulk_create(
        Client(
            name=name,
            kind=Client.Kind.ENTITY,
            jurisdiction="GB",
            time_zone="Europe/London",
            stage=Client.Stage.ONBOARDING,
            relationship_manager=people[manager],
            created_at=NOW,
        )
        for name, manager in (("Harbourside Trading", "robin"), ("Quayside Holdings", "rita"))
    )
    named = {client.name: client for client in clients}
    ClientUser.objects.bulk_create(
        ClientUser(client=named[client], user=people[name], role=role, created_at=NOW)
        for name, (client, role) in _BORROWERS.items()
    )
    harbourside, quayside = clients
    files.complete({harbourside: [addresses["alice"]], quayside: [addresses["charlie"]]}, now=NOW)
    del people["rita"]
    return Cast(**people, harbourside=harbourside, quayside=quayside)


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
