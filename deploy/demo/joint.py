"""Two who sign jointly on the demo desk: a family trust whose first offer one of them has signed, and a visitor not."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from deploy.demo import onboarded, reference
from deploy.demo.books import VISITORS
from deploy.demo.onboarded import Newcomer
from lending import offers, people
from lending.models import Client, ClientUser, Product, Role, User

_NAME, _FIRST, _FIRST_EMAIL = "Thornbury Family Trust", "Henry Thornbury", "henry@trust.example"
_LENT, _RATE = Decimal(400_000), Decimal("0.085")
_TERM, _STANDS_FOR, _KNOWN_FOR = timedelta(days=180), timedelta(hours=72), timedelta(days=9)


@transaction.atomic
def load(*, now: datetime) -> None:
    """Take the trust on, offer it a loan, and have the first of its two signers accept that."""
    visitor = User.objects.filter(name=VISITORS[0]).first()
    if visitor is None:
        return
    manager, at = reference.staff("robin"), now - _KNOWN_FOR
    trust = people.register(
        name=_NAME, kind=Client.Kind.ENTITY, jurisdiction="GB", time_zone="Europe/London", manager=manager, now=at,
        source=Client.Source.EXISTING, geography=Client.Geography.UNITED_KINGDOM, expected_size_usd=Decimal(2_000_000),
    )  # fmt: skip
    first = User.objects.create(email=_FIRST_EMAIL, name=_FIRST, password=visitor.password)
    both = [(user.name, user.email) for user in (first, visitor)]
    onboarded.complete([Newcomer(client=trust, signers=both, jointly=True)], checker=reference.staff("cora"), now=at)
    ClientUser.objects.bulk_create(
        ClientUser(client=trust, user=user, role=Role.BORROWER_ADMIN, created_at=at) for user in (first, visitor)
    )
    offer = offers.quote(
        client=trust,
        product=Product.objects.get(code=reference.LADDERS[2].product("USD")),
        principal=_LENT,
        annual_rate=_RATE,
        maturity_date=now.date() + _TERM,
        quoted_until=now + _STANDS_FOR,
        made_by=manager,
        now=now,
    )
    offers.accept(offer, by=first, now=now)
