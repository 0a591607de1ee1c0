"""Rows of the books. Ledger history is only ever made by the verbs, never by a factory."""

import datetime as dt
import sys
from decimal import Decimal
from functools import cache
from itertools import count

import factory
from django.contrib.auth.hashers import get_hasher, make_password
from factory.django import DjangoModelFactory

from lending import collateral, ledger, loans, margin_accounts, offers, permits, ports, repayments
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import entries
from lending.models import (
    Asset,
    AssetNetwork,
    Book,
    Client,
    ClientUser,
    Deposit,
    LadderTerms,
    Loan,
    LoanState,
    MarginAccount,
    Product,
    Role,
    RoleGrant,
    User,
    WithdrawalAddress,
)
from tests.factories import files

NOW = dt.datetime(2021, 5, 19, 8, 0, tzinfo=dt.UTC)
AT = dt.datetime(2021, 5, 19, 12, 0, tzinfo=dt.UTC)
PASSWORD = "correct horse battery"
ASSETS = {
    "USD": ("US dollar", "fiat", 2),
    "USDC": ("USD Coin", "stablecoin", 6),
    "USDT": ("Tether", "stablecoin", 6),
    "BTC": ("Bitcoin", "crypto", 8),
    "ETH": ("Ether", "crypto", 18),
    "LINK": ("Chainlink", "crypto", 18),
}
_numbers = count(1)


def hashed(password: str) -> str:
    """Return a password as it is stored."""
    return _hashed(password, get_hasher().algorithm)


@cache
def _hashed(password: str, hasher: str) -> str:
    """Hash a password once for each way of hashing: a good one is slow on purpose."""
    return make_password(password, hasher=hasher)


class AssetFactory(DjangoModelFactory):
    """An asset by its code, with its usual decimals."""

    class Meta:
        model = Asset
        django_get_or_create = ("code",)

    code = "BTC"
    name = factory.LazyAttribute(lambda row: ASSETS[row.code][0])
    kind = factory.LazyAttribute(lambda row: ASSETS[row.code][1])
    decimals = factory.LazyAttribute(lambda row: ASSETS[row.code][2])


class AssetNetworkFactory(DjangoModelFactory):
    """The rail an asset moves on: 3 confirmations for BTC, 12 for tokens, 1 for cash."""

    class Meta:
        model = AssetNetwork
        django_get_or_create = ("asset", "chain")

    asset = factory.SubFactory(AssetFactory)
    chain = factory.LazyAttribute(lambda row: {"BTC": "bitcoin", "USD": "wire"}.get(row.asset.code, "ethereum"))
    confirmations = factory.LazyAttribute(lambda row: {"BTC": 3, "USD": 1}.get(row.asset.code, 12))
    block_s = factory.LazyAttribute(lambda row: {"BTC": 600, "USD": 60}.get(row.asset.code, 12))


class BookFactory(DjangoModelFactory):
    """The lending book."""

    class Meta:
        model = Book
        django_get_or_create = ("code",)

    code = "lending"
    name = "Lending"


class UserFactory(DjangoModelFactory):
    """A person who can sign in with PASSWORD."""

    class Meta:
        model = User
        django_get_or_create = ("email",)
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"person{n}@plimsoll.example")
    name = factory.LazyAttribute(lambda row: row.email.split("@")[0].title())
    password = factory.LazyFunction(lambda: hashed(PASSWORD))


class ClientFactory(DjangoModelFactory):
    """A borrower, managed by robin."""

    class Meta:
        model = Client
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"Client {n}")
    kind = Client.Kind.ENTITY
    jurisdiction = "CH"
    stage = Client.Stage.ONBOARDING
    relationship_manager = factory.LazyFunction(lambda: staff("robin", Role.RELATIONSHIP_MANAGER))
    created_at = NOW

    @factory.post_generation
    def signers(self: Client, create: bool, extracted: list[str] | None, **_: object) -> None:
        """Give the client its file; without others, alice and the signer of `pending_loan` may sign for it."""
        usual = [f"{name}@client.example" for name in ("alice", f"signer{self.pk}")]
        files.complete({self: usual if extracted is None else extracted}, now=NOW)


class LadderTermsFactory(DjangoModelFactory):
    """A ladder in the manner of retail lenders, with every target filled."""

    class Meta:
        model = LadderTerms

    name = "Test ladder"
    initial_ltv = Decimal("0.50")
    warning_ltv = Decimal("0.65")
    margin_call_ltv = Decimal("0.70")
    accelerated_ltv = Decimal("0.75")
    liquidation_ltv = Decimal("0.80")
    cure_to = Decimal("0.60")
    liquidate_to = Decimal("0.60")
    clear_ltv = Decimal("0.64")
    release_trigger = Decimal("0.40")
    release_to = Decimal("0.50")
    cure_period_s = 24 * 3600
    accelerated_cure_period_s = 4 * 3600


class ProductFactory(DjangoModelFactory):
    """A fixed-term bullet loan in USD, ACT/360, with half a percent origination fee."""

    class Meta:
        model = Product
        django_get_or_create = ("code",)

    code = factory.LazyAttribute(lambda row: f"bullet-{row.asset.code.lower()}")
    name = factory.LazyAttribute(lambda row: f"Fixed-term bullet, {row.asset.code}")
    asset = factory.SubFactory(AssetFactory, code="USD")
    day_count = "ACT/360"
    terms = factory.SubFactory(LadderTermsFactory)
    origination_fee = Decimal("0.005")
    book = factory.SubFactory(BookFactory)


class MarginAccountFactory(DjangoModelFactory):
    """A margin account without a loan."""

    class Meta:
        model = MarginAccount

    client = factory.SubFactory(ClientFactory)
    terms = factory.SubFactory(LadderTermsFactory)
    created_at = NOW


class LoanFactory(DjangoModelFactory):
    """A quoted loan as a bare row: every later state is reached through the verbs."""

    class Meta:
        model = Loan

    margin_account = factory.SubFactory(MarginAccountFactory)
    client = factory.SelfAttribute("margin_account.client")
    product = factory.SubFactory(ProductFactory)
    book = factory.SelfAttribute("product.book")
    asset = factory.SelfAttribute("product.asset")
    principal = Decimal(100_000)
    annual_rate = Decimal("0.10")
    default_rate = Decimal("0.18")
    day_count = "ACT/360"
    maturity_date = dt.date(2021, 11, 19)
    quoted_until = NOW + dt.timedelta(days=1)
    made_by = factory.SelfAttribute("client.relationship_manager")


def asset(code: str) -> Asset:
    """Return an asset with its network."""
    row = AssetFactory(code=code)
    AssetNetworkFactory(asset=row)
    return row


def staff(name: str, *roles: Role) -> User:
    """Return a user of the desk who holds some roles."""
    user = UserFactory(email=f"{name}@plimsoll.example", name=name.title(), is_staff=True)
    for role in roles:
        RoleGrant.objects.get_or_create(user=user, role=role, revoked_at=None, defaults={"granted_at": NOW})
    return user


def allowed(client: Client, code: str, address: str, *, now: dt.datetime = NOW) -> WithdrawalAddress:
    """Return an address of a client that two persons have allowed long ago."""
    return WithdrawalAddress.objects.create(
        client=client, asset=asset(code), address=address, maker=staff("olga", Role.OPERATIONS),
        checker=staff("rhea", Role.RISK), allowed_at=now - dt.timedelta(days=9), usable_at=now - dt.timedelta(days=8),
    )  # fmt: skip


def borrower(name: str, client: Client, role: Role = Role.BORROWER_ADMIN) -> User:
    """Return a user of a client."""
    user = UserFactory(email=f"{name}@client.example", name=name.title())
    ClientUser.objects.get_or_create(client=client, user=user, defaults={"role": role, "created_at": NOW})
    return user


def paper() -> PaperCustodian:
    """Return the paper custodian of this process."""
    custodian = ports.custodian()
    assert isinstance(custodian, PaperCustodian)
    return custodian


def give(client: Client, code: str, quantity: str | Decimal, *, now: dt.datetime = NOW) -> None:
    """Put something into a client's free balance, and into custody."""
    ref = f"gift-{next(_numbers)}"
    amount = Decimal(quantity)
    asset(code)
    book = margin_accounts.house_book()
    heading = entries.Heading(key=f"deposit:{ref}", effective_at=now, book_id=book.pk, client_id=client.pk)
    _hold(ref, code, amount, now)
    ledger.post(entries.deposit(heading, asset=code, quantity=amount, custodian="paper"), now=now)


def capital(code: str, amount: str | Decimal, *, now: dt.datetime = NOW) -> None:
    """Have the owners pay capital in."""
    ref = f"capital-{next(_numbers)}"
    asset(code)
    _hold(ref, code, Decimal(amount), now)
    heading = entries.Heading(key=ref, effective_at=now, book_id=margin_accounts.house_book().pk)
    ledger.post(entries.capital(heading, asset=code, amount=Decimal(amount), custodian="paper"), now=now)


def _hold(ref: str, code: str, quantity: Decimal, now: dt.datetime) -> None:
    """Have the custodian hold something that was credited by other means than its report."""
    paper().simulate_opening(ref, asset=code, quantity=quantity, at=now)
    (report,) = paper().deposits(after=sys.maxsize, refs=[ref], needed={"BTC": 3}, at=now)
    Deposit.objects.create(
        custodian="paper",
        custodian_ref=ref,
        position=report.position,
        sent_to="gift",
        asset=asset(code),
        quantity=quantity,
        state=Deposit.State.CREDITED,
        seen_at=now,
        credited_at=now,
    )


def draw_permit(loan: Loan, *, amount: Decimal | None = None, now: dt.datetime = NOW) -> permits.Permit:
    """Return a permit to draw a loan, or an amount of a line, as risk issues it after its price check."""
    account = MarginAccount.objects.get(pk=loan.margin_account_id)
    until = now + dt.timedelta(minutes=1)
    drawn = loan.principal if amount is None else amount
    return permits.issue(permits.DRAW, account, loan.asset, drawn, snapshot_id=1, expires_at=until)


def release_permit(
    account: MarginAccount, code: str, quantity: str | Decimal, *, now: dt.datetime = NOW
) -> permits.Permit:
    """Return a permit to release collateral, as risk issues it after its price check."""
    fresh = MarginAccount.objects.get(pk=account.pk)
    until = now + dt.timedelta(minutes=1)
    return permits.issue(permits.RELEASE, fresh, asset(code), Decimal(quantity), snapshot_id=1, expires_at=until)


def sold(loan: Loan, quantity: str, proceeds: str, *, now: dt.datetime = NOW, fee: str = "0") -> None:
    """Sell BTC of a loan's account as a settled fill does; what it brought stands on the account, not yet applied."""
    account, bitcoin, units = loan.margin_account, asset("BTC"), Decimal(quantity)
    key = f"sale-{next(_numbers)}"
    collateral.hold(account, bitcoin, units, key=f"hold:{key}", now=now)
    heading = entries.Heading(
        key=key, effective_at=now, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk
    )
    draft = entries.sale(
        heading, asset="BTC", quantity=units, proceeds_asset=loan.asset.code, proceeds=Decimal(proceeds),
        margin_account_id=account.pk, dealer="harbour", liquidation_fee=Decimal(fee),
    )  # fmt: skip
    collateral.sell_held(account, bitcoin, units, entry=ledger.post(draft, now=now), key=f"held:{key}", now=now)


def broken(loan: Loan, quantity: str, proceeds: str, *, now: dt.datetime = NOW) -> Decimal:
    """Sell all BTC of a loan's account and apply what it brought; return the loss that is taken on the rest."""
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="liquidation level", now=now)
    sold(loan, quantity, proceeds, now=now)
    key = f"{loan.public_id}:{next(_numbers)}"
    repayments.apply(Decimal(proceeds), loan, key=f"apply:{key}", cause="liquidation level", now=now)
    return repayments.shortfall(loan, key=f"loss:{key}", cause="liquidation level", now=now)


def quoted_loan(
    client: Client | None = None,
    *,
    principal: str | Decimal = "500000",
    annual_rate: str | None = "0.09",
    days: int | None = 30,
    now: dt.datetime = NOW,
    product: Product | None = None,
    payout_address: str = "",
    opens_pool: bool = False,
) -> Loan:
    """Return a loan that robin has quoted."""
    client = client or ClientFactory()
    return offers.quote(
        client=client,
        product=product or ProductFactory(),
        principal=Decimal(principal),
        annual_rate=None if annual_rate is None else Decimal(annual_rate),
        maturity_date=(now + dt.timedelta(days=days)).date() if days is not None else None,
        quoted_until=now + dt.timedelta(hours=1),
        made_by=client.relationship_manager,
        now=now,
        payout_address=payout_address,
        opens_pool=opens_pool,
    )


def pending_loan(client: Client | None = None, *, now: dt.datetime = NOW, **terms: object) -> Loan:
    """Return a loan that waits for its collateral: quoted, accepted by the client, approved by rhea."""
    return _pending(quoted_loan(client, now=now, **terms), now)  # type: ignore[arg-type]


def _pending(loan: Loan, now: dt.datetime) -> Loan:
    offers.accept(loan, by=borrower(f"signer{loan.client_id}", loan.client), now=now)
    offers.approve(loan, by=staff("rhea", Role.RISK), now=now)
    return offers.collateral_pending(loan, actor=None, now=now)


def active_loan(
    client: Client | None = None,
    *,
    now: dt.datetime = NOW,
    pledged: dict[str, str] | None = None,
    **terms: object,
) -> Loan:
    """Return a funded loan with its collateral, everything done by the verbs."""
    return _paid_out(pending_loan(client, now=now, **terms), pledged, now)


def funded(loan: Loan, *, now: dt.datetime = NOW) -> Loan:
    """Return a quoted loan once everybody has done their part."""
    return _paid_out(_pending(loan, now), None, now)


def _paid_out(loan: Loan, pledged: dict[str, str] | None, now: dt.datetime) -> Loan:
    capital(loan.asset.code, loan.principal * 2, now=now)
    for code, quantity in (pledged or {"BTC": "25"}).items():
        give(loan.client, code, quantity, now=now)
        key = f"pledge:{loan.public_id}:{code}"
        collateral.pledge(loan.margin_account, asset(code), Decimal(quantity), key=key, now=now)
    return loans.fund(loan, permit=draw_permit(loan, now=now), actor=staff("olga", Role.OPERATIONS), now=now)
