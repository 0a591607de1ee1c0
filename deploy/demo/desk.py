"""A desk with its clients and their loans, as a book plans them, made through the platform's own verbs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import transaction

from deploy.demo import onboarded, outside, reference
from deploy.demo.onboarded import Newcomer
from deploy.demo.roster import GEOGRAPHIES, entrant
from lending import custody, ids, opening
from lending.engine.addresses import checksummed
from lending.models import (
    Client,
    ClientUser,
    DepositAddress,
    Loan,
    Product,
    RelationshipPeriod,
    Role,
    User,
)
from risk import permits, prices
from risk.scenarios import Scenario

COLLATERAL = ("BTC", "ETH", "LINK")
FOUNDED_BEFORE = timedelta(hours=6)
FUNDED_BEFORE = timedelta(seconds=15)
_CLIENTS_AT_ONCE = 10

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One loan to be booked, as a book drew it."""

    public_id: UUID
    product: str
    asset: str
    principal: Decimal
    rate: Decimal
    term_days: int | None  # None: until either side ends it
    collateral: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, kw_only=True)
class Party:
    """One client, by its number in the roster, and the loans that it takes."""

    number: int
    loans: tuple[Plan, ...]


def first_prices(scenario: Scenario) -> dict[str, Decimal]:
    """Return the price of each collateral asset that a scenario knows, at its start: what books are sized by."""
    return {code: scenario.mid(code, scenario.start_at) for code in COLLATERAL if code in scenario.assets}


def build(scenario: Scenario, book: Sequence[Party], *, now: datetime, say: Say = lambda _: None) -> None:
    """
    Set a desk up as it stands at an instant of a scenario: reference data, capital, clients, funded loans.

    Loans are sized and funded at the scenario's first prices, whatever `now` is: see `scenarios.stage`. A desk that
    stands already is left as it is.
    """
    if Client.objects.exists():
        return
    before, funded = now - FOUNDED_BEFORE, now - FUNDED_BEFORE
    reference.load(scenario, now=before)
    wanted = [plan for party in book for plan in party.loans]
    _capital(wanted, now=before)
    people = _People.of()
    products = {product.code: product for product in Product.objects.select_related("asset", "book", "terms")}
    offers, newcomers = [], []
    for done, party in enumerate(book, 1):
        client, signer = _client(party.number, people, now=before)
        newcomers.append(Newcomer(client=client, signers=[(signer.name, signer.email)]))
        offers += [_offer(plan, client, signer, products, now=before) for plan in party.loans]
        if done % _CLIENTS_AT_ONCE == 0 or done == len(book):
            say(f"{done} of {len(book)} clients taken on")
    onboarded.rules(by=people.compliance, second=reference.staff("dana"), now=before)
    onboarded.complete(newcomers, checker=people.compliance, now=before)
    booked = opening.open_offers(offers, approved_by=people.checker, actor=people.operations, now=before)
    say(f"{len(booked)} loans offered, accepted and approved")
    _send_collateral(wanted, booked, now=before)
    _until_done(custody.poll_due, now=funded)
    _until_done(custody.credit_due, now=funded)
    say("collateral has arrived and is pledged")
    # The scenario's first prices stand in for the moment before it: loans are funded against a mark like any other.
    prices.record(scenario.first_ticks(stamped=funded), received_at=funded)
    prices.publish(now=funded)
    with transaction.atomic():
        draws = zip(booked, permits.issue_draws(booked, now=funded), strict=True)
        opening.fund_all(list(draws), actor=people.operations, now=funded)
    say("loans funded")
    _until_done(custody.send_due, now=funded)


def _until_done(step: Callable[..., int], *, now: datetime) -> None:
    """Repeat a step until it finds nothing more that is due."""
    while step(now=now):
        continue


@dataclass(frozen=True, kw_only=True)
class _People:
    """Those of the desk who act when a loan is booked."""

    managers: tuple[User, ...]
    checker: User
    compliance: User
    operations: User
    password: str

    @classmethod
    def of(cls) -> "_People":
        return cls(
            managers=tuple(reference.staff(name) for name in reference.MANAGERS),
            checker=reference.staff("hugo"),
            compliance=reference.staff("cora"),
            operations=reference.staff("olga"),
            # Hashed once for everybody: a good hash is slow on purpose, and they share the demo's one password anyway.
            password=make_password(reference.demo_password()),
        )


def _capital(wanted: Sequence[Plan], *, now: datetime) -> None:
    """Have what the desk lends out of arrive at the custodian; it is booked like any other deposit."""
    for asset in ("USD", "USDC"):
        lent = sum((plan.principal for plan in wanted if plan.asset == asset), Decimal(1_000_000))
        outside.bank().simulate_opening(f"capital:{asset}", asset=asset, quantity=2 * lent, at=now)


def _client(number: int, people: _People, *, now: datetime) -> tuple[Client, User]:
    """Take one client on, and return it with the person who signs for it."""
    known = entrant(number)
    manager = people.managers[number % len(people.managers)]
    client = Client.objects.create(
        public_id=ids.derived("client", number),
        name=known.name,
        kind=known.kind,
        jurisdiction=known.country,
        time_zone=known.zone,
        stage=Client.Stage.ONBOARDING,
        geography=GEOGRAPHIES[known.country],
        relationship_manager=manager,
        created_at=now,
    )
    RelationshipPeriod.objects.create(client=client, user=manager, start_at=now)
    signers = [(known.contact, Role.BORROWER_ADMIN)]
    if number == 0:
        signers.append(("Bob Thornbury", Role.BORROWER_VIEWER))
    users = []
    for name, role in signers:
        email = f"{name.split()[0].lower()}@client{number + 1}.example"
        user = User.objects.create(
            email=email, name=name, password=people.password, public_id=ids.derived("user", email)
        )
        ClientUser.objects.create(client=client, user=user, role=role, created_at=now)
        users.append(user)
    return client, users[0]


def _offer(plan: Plan, client: Client, signer: User, products: dict[str, Product], *, now: datetime) -> opening.Offer:
    """Return one loan as its client's manager offers it and its signer accepts it."""
    return opening.Offer(
        client=client,
        product=products[plan.product],
        principal=plan.principal,
        annual_rate=plan.rate,
        maturity_date=now.date() + timedelta(days=plan.term_days) if plan.term_days else None,
        accepted_by=signer,
        payout_address=_own_address(client, plan.asset),
        collateral=plan.collateral,
        public_id=plan.public_id,
    )


def _own_address(client: Client, asset: str) -> str:
    """Return where a client has its money sent: an account at its bank, or an address of the chain of a stablecoin."""
    if asset == "USD":
        return f"paper:client:{client.public_id}"
    return checksummed(f"0x{sha256(client.public_id.bytes).hexdigest()[:40]}")


def _send_collateral(wanted: Sequence[Plan], booked: Sequence[Loan], *, now: datetime) -> None:
    """Have the clients send what secures their loans to the addresses that were opened for them."""
    addresses = DepositAddress.objects.filter(
        margin_account__in=[loan.margin_account_id for loan in booked],
        purpose=DepositAddress.Purpose.COLLATERAL,
    )
    rows = addresses.values_list("margin_account_id", "asset__code", "address")
    by_account = {(account, code): address for account, code, address in rows}
    for plan, loan in zip(wanted, booked, strict=True):
        for code, quantity in plan.collateral:
            ref = f"collateral:{loan.public_id}:{code}"
            address = by_account[loan.margin_account_id, code]
            outside.bank().simulate_deposit(ref, address=address, asset=code, quantity=quantity, at=now)
