"""Clients and loans of a demo desk, made through the platform's own verbs from a seed."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from deploy.demo import outside, reference
from lending import custody, ids, opening
from lending.engine import money
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

LOANS_PER_CLIENT = 6
COLLATERAL = ("BTC", "ETH", "LINK")
MIXES = (("BTC",), ("BTC",), ("ETH",), ("ETH",), ("LINK",), ("BTC", "ETH"), ("BTC", "ETH", "LINK"))
FOUNDED_BEFORE = timedelta(hours=6)
FUNDED_BEFORE = timedelta(seconds=15)
_CLIENTS_WHO_SIGN_IN = 3

_FIRST = ("Aldgate", "Bramble", "Calder", "Dunmore", "Ember", "Fenwick", "Galley", "Harrow", "Isla", "Juniper")
_SECOND = ("Capital", "Holdings", "Family Office", "Partners", "Trading", "Ventures", "Treasury", "Trust")
_ZONES = (("GB", "Europe/London"), ("CH", "Europe/Zurich"), ("SG", "Asia/Singapore"), ("US", "America/New_York"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One loan to be booked, as drawn from the seed."""

    number: int
    asset: str
    cure_period_h: int
    principal: Decimal
    rate: Decimal
    term_days: int
    collateral: tuple[tuple[str, Decimal], ...]


def plans(seed: int, loans_wanted: int, price: dict[str, Decimal]) -> Iterator[Plan]:
    """Yield the loans of a desk: sizes, assets and LTVs spread as a desk of wealthy clients has them."""
    draw = random.Random(f"desk/{seed}")  # noqa: S311  reproducible on purpose
    for number in range(loans_wanted):
        principal = Decimal(draw.choice((25, 50, 75, 100, 150, 250, 500))) * 1000
        ladder = draw.choice(reference.LADDERS)
        ltv = Decimal(str(round(draw.triangular(0.28, float(ladder.levels["initial_ltv"]) - 0.001, 0.48), 4)))
        mix = draw.choice([mix for mix in MIXES if price.keys() >= set(mix)])
        with money.exact():
            value = money.div_up(principal, ltv, 2)
            collateral = tuple(
                (code, money.quantize_up(money.div_up(value, len(mix) * price[code], 18), 6)) for code in mix
            )
        yield Plan(
            number=number,
            asset=draw.choice(("USD", "USD", "USDC")),
            cure_period_h=ladder.cure_period_s // 3600,
            principal=principal,
            rate=Decimal(draw.choice((800, 900, 1050, 1200))) / 10_000,
            term_days=draw.choice((30, 90, 180, 365)),
            collateral=collateral,
        )


def build(scenario: Scenario, *, loans: int, seed: int, now: datetime) -> None:
    """
    Set a desk up as it stands at an instant of a scenario: reference data, capital, clients, funded loans.

    Loans are sized and funded at the scenario's first prices, whatever `now` is: a replay that starts in the middle of
    a crash meets the desk that the crash found. A desk that stands already is left as it is.
    """
    if Client.objects.exists():
        return
    before, funded = now - FOUNDED_BEFORE, now - FUNDED_BEFORE
    reference.load(scenario, now=before)
    price = {code: scenario.mid(code, scenario.start_at) for code in COLLATERAL if code in scenario.assets}
    wanted = list(plans(seed, loans, price))
    _capital(wanted, now=before)
    people = _People.of()
    products = {product.code: product for product in Product.objects.select_related("asset", "book")}
    offers = []
    for start in range(0, len(wanted), LOANS_PER_CLIENT):
        client, signer = _client(start // LOANS_PER_CLIENT, people, now=before)
        offers += [
            _offer(plan, client, signer, products, seed=seed, now=before)
            for plan in wanted[start : start + LOANS_PER_CLIENT]
        ]
    booked = opening.open_offers(offers, approved_by=people.checker, actor=people.operations, now=before)
    _send_collateral(wanted, booked, now=before)
    _until_done(custody.poll_due, now=funded)
    _until_done(custody.credit_due, now=funded)
    # The scenario's first prices stand in for the moment before it: loans are funded against a mark like any other.
    prices.record(scenario.ticks(scenario.start_at, stamped=funded), received_at=funded)
    prices.publish(now=funded)
    with transaction.atomic():
        draws = zip(booked, permits.issue_draws(booked, now=funded), strict=True)
        opening.fund_all(list(draws), actor=people.operations, now=funded)
    _until_done(custody.send_due, now=funded)


def _until_done(step: Callable[..., int], *, now: datetime) -> None:
    """Repeat a step until it finds nothing more that is due."""
    while step(now=now):
        continue


@dataclass(frozen=True, kw_only=True)
class _People:
    """Those of the desk who act when a loan is booked."""

    managers: tuple[User, User]
    checker: User
    operations: User
    password: str

    @classmethod
    def of(cls) -> "_People":
        return cls(
            managers=(reference.staff("robin"), reference.staff("rosa")),
            checker=reference.staff("hugo"),
            operations=reference.staff("olga"),
            password=reference.demo_password(),
        )


def _capital(wanted: list[Plan], *, now: datetime) -> None:
    """Have what the desk lends out of arrive at the custodian; it is booked like any other deposit."""
    for asset in ("USD", "USDC"):
        lent = sum((plan.principal for plan in wanted if plan.asset == asset), Decimal(1_000_000))
        outside.bank().simulate_opening(f"capital:{asset}", asset=asset, quantity=2 * lent, at=now)


def _client(number: int, people: _People, *, now: datetime) -> tuple[Client, User]:
    """Take one client on, and return it with the person who signs for it."""
    draw = random.Random(f"client/{number}")  # noqa: S311  reproducible on purpose
    country, zone = draw.choice(_ZONES)
    manager = people.managers[number % 2]
    client = Client.objects.create(
        public_id=ids.derived("client", number),
        name=f"{_FIRST[number % len(_FIRST)]} {_SECOND[number // len(_FIRST) % len(_SECOND)]}"
        + (f" {number // 80 + 1}" if number >= 80 else ""),
        kind=Client.Kind.ENTITY,
        jurisdiction=country,
        time_zone=zone,
        stage=Client.Stage.ACTIVE,
        relationship_manager=manager,
        created_at=now,
    )
    RelationshipPeriod.objects.create(client=client, user=manager, start_at=now)
    people_of_client = []
    for name, role in _signers(number):
        email = f"{name}@client{number + 1}.example"
        user = User(email=email, name=name.title(), public_id=ids.derived("user", email))
        # A thousand password hashes would take minutes; only the first clients' people sign in to the demo.
        user.set_password(people.password) if number < _CLIENTS_WHO_SIGN_IN else user.set_unusable_password()
        user.save()
        ClientUser.objects.create(client=client, user=user, role=role, created_at=now)
        people_of_client.append(user)
    return client, people_of_client[0]


def _signers(number: int) -> tuple[tuple[str, str], ...]:
    """Return who acts for a client: alice and bob for the first, charlie for the second."""
    if number == 0:
        return ("alice", Role.BORROWER_ADMIN), ("bob", Role.BORROWER_VIEWER)
    return (("charlie" if number == 1 else "signer", Role.BORROWER_ADMIN),)


def _offer(
    plan: Plan, client: Client, signer: User, products: dict[str, Product], *, seed: int, now: datetime
) -> opening.Offer:
    """Return one loan as its client's manager offers it and its signer accepts it."""
    return opening.Offer(
        client=client,
        product=products[f"term-{plan.asset.lower()}-{plan.cure_period_h}h"],
        principal=plan.principal,
        annual_rate=plan.rate,
        maturity_date=now.date() + timedelta(days=plan.term_days),
        accepted_by=signer,
        payout_address=f"paper:client:{client.public_id}",
        public_id=ids.derived("loan", seed, plan.number),
    )


def _send_collateral(wanted: list[Plan], booked: list[Loan], *, now: datetime) -> None:
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
