"""A small desk for tests of margin: three venues, clients with funded loans, and time that moves in rounds."""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal

import time_machine
from django.db import connection, transaction
from django.test import Client as Browser

from lending import collateral, interest, ledger, loans, margin_accounts, notices, offers, repayments
from lending.engine import entries, money
from lending.models import (
    Asset,
    ClientUser,
    CustodyReading,
    LadderTerms,
    Loan,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Product,
    Repayment,
    Role,
    RoleGrant,
    User,
)
from risk import cycle, exposures, liquidations, margin_calls, permits, prices
from risk.cycle import CycleReport
from risk.exposures import Judgement
from risk.models import LIVE_ORDER_STATES, LiquidationOrder, MarginCall, MarginStatus, SaleCause
from tests.factories.lending import AT, ClientFactory, LadderTermsFactory, ProductFactory, UserFactory
from tests.factories.prices import feed, policy, ticks
from tests.independent.wrongful_sales import Checker

VENUES = ("alder", "birch", "cedar")
START = {"BTC": "40000", "ETH": "2500", "LINK": "30", "USDC": "1"}
ROUND_S = 15


def staff(role: Role) -> User:
    """Return a person of the desk with one role."""
    user = UserFactory()
    RoleGrant.objects.create(user=user, role=role, granted_at=AT)
    return user


@dataclass
class Desk:
    """The platform in one process: its people, its market and its clock."""

    now: dt.datetime = AT
    prices: dict[str, str] = field(default_factory=lambda: dict(START))
    silent: set[str] = field(default_factory=set)
    heard: bool = True
    count: int = 0
    beat: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        cycle.forget()
        for code in START:
            policy(code)
            for venue in VENUES:
                feed(venue, code, "USD")
        self.manager = staff(Role.RELATIONSHIP_MANAGER)
        self.risk, self.second = staff(Role.RISK), staff(Role.RISK_HEAD)
        self.operations = staff(Role.OPERATIONS)
        # Clocks of minutes, so that a story is told in tens of rounds.
        self.terms = LadderTermsFactory(cure_period_s=1200, accelerated_cure_period_s=600, clear_hold_s=300)
        self.round()

    # --- time and prices ---

    def quote(self, **by_venue_or_all: str | dict[str, str]) -> None:
        """Record one tick per venue and asset; a dict gives venues prices of their own."""
        self.prices |= {code: price for code, price in by_venue_or_all.items() if isinstance(price, str)}
        rows = []
        # A venue whose price never moves at all is taken for a dead one.
        self.beat = Decimal("0.000001") if not self.beat else Decimal(0)
        for code in sorted(self.prices.keys() - self.silent):
            own = by_venue_or_all.get(code)
            for venue in VENUES:
                price = own[venue] if isinstance(own, dict) and venue in own else self.prices[code]
                rows.append((venue, f"{code}-USD", str(Decimal(price) + self.beat)))
        prices.record(ticks(rows, at=self.now), received_at=self.now)

    def round(self, *, seconds: int = ROUND_S, **quotes: str | dict[str, str]) -> CycleReport:
        """Let time pass, quote every asset and mark the book."""
        self.now += dt.timedelta(seconds=seconds)
        self.quote(**quotes)
        if self.heard:  # what reading a custodian without news leaves behind
            CustodyReading.objects.update_or_create(custodian="paper", defaults={"read_at": self.now})
        return cycle.run(0, now=self.now)

    def step(self, *, seconds: int = ROUND_S, **quotes: str | dict[str, str]) -> CycleReport:
        """Do one round of everything that lending and risk do, in the order of the platform."""
        report = self.round(seconds=seconds, **quotes)
        notices.send_due(now=self.now)
        margin_calls.assess_due(now=self.now)
        margin_calls.expire_due(now=self.now)
        liquidations.order_due(now=self.now)
        liquidations.complete_due(now=self.now)
        return report

    def steps(self, count: int, **quotes: str | dict[str, str]) -> None:
        """Do some rounds at the same prices."""
        for _ in range(count):
            self.step(**quotes)

    def minutes(self, minutes: int) -> None:
        """Let minutes pass with a round in each, so that marks stay GOOD."""
        for _ in range(minutes):
            self.step(seconds=60)

    # --- clients ---

    def loan(
        self, principal: str = "20000", asset: str = "USD", terms: LadderTerms | None = None,
        product: Product | None = None, pool: Loan | None = None, opens_pool: bool = False, days: int = 180,
        **pledged: str,
    ) -> Loan:  # fmt: skip
        """Return a funded loan secured by what is pledged, through the verbs: of a client, or in a loan's pool."""
        self.count += 1
        account = None
        if pool is None:
            borrower = UserFactory()
            client = ClientFactory(relationship_manager=self.manager, signers=[borrower.email])
            ClientUser.objects.create(client=client, user=borrower, role=Role.BORROWER_ADMIN, created_at=self.now)
        else:
            client, borrower = pool.client, ClientUser.objects.get(client=pool.client).user
            account = MarginAccount.objects.get(pk=pool.margin_account_id)
        product = product or ProductFactory(
            asset=Asset.objects.get_or_create(
                code=asset, defaults={"name": asset, "kind": Asset.Kind.FIAT, "decimals": 2}
            )[0],
            terms=terms or self.terms,
        )
        loan = offers.quote(
            client=client, product=product, principal=Decimal(principal), annual_rate=Decimal("0.10"),
            maturity_date=(self.now + dt.timedelta(days=days)).date() if product.has_fixed_end else None,
            quoted_until=self.now + dt.timedelta(days=1),
            made_by=self.manager, margin_account=account, opens_pool=opens_pool, now=self.now,
        )  # fmt: skip
        loan = offers.accept(loan, by=borrower, now=self.now)
        loan = offers.approve(loan, by=self.risk, now=self.now)
        loan = offers.collateral_pending(loan, actor=self.manager, now=self.now)
        for code, quantity in pledged.items():
            self.top_up(loan, code, quantity, kind=PledgeMovement.Kind.PLEDGE)
        permit = permits.issue_draw(loan.margin_account, loan.asset, loan.principal, now=self.now)
        return loans.fund(loan, permit=permit, actor=self.operations, now=self.now)

    def deposit(self, loan: Loan, code: str, quantity: str) -> None:
        """Have an amount arrive in a client's free balance."""
        self.count += 1
        heading = entries.Heading(
            key=f"deposit:test:{self.count}", effective_at=self.now, book_id=margin_accounts.house_book().pk,
            client_id=loan.client_id,
        )  # fmt: skip
        ledger.post(entries.deposit(heading, asset=code, quantity=Decimal(quantity), custodian="paper"), now=self.now)

    def top_up(self, loan: Loan, code: str, quantity: str, *, kind: str = PledgeMovement.Kind.TOP_UP) -> PledgeMovement:
        """Have a client add collateral."""
        self.deposit(loan, code, quantity)
        account = MarginAccount.objects.get(pk=loan.margin_account_id)
        return collateral.pledge(
            account,
            Asset.objects.get(code=code),
            Decimal(quantity),
            key=f"pledge:{self.count}",
            now=self.now,
            kind=kind,
        )

    def pay(self, loan: Loan, amount: str | Decimal) -> Repayment:
        """Have a client pay cash."""
        self.deposit(loan, loan.asset.code, str(amount))
        return repayments.record(loan, Decimal(amount), key=f"pay:{self.count}", received_at=self.now, now=self.now)

    # --- what stands ---

    def judged(self, loan: Loan) -> Judgement:
        """Return where a loan's account stands at the published marks."""
        facts = exposures.load([loan.margin_account_id], now=self.now)[loan.margin_account_id]
        return exposures.judge(facts, prices.current(now=self.now))

    def state(self, loan: Loan) -> str:
        """Return the stored margin state of a loan's account."""
        return MarginStatus.objects.get(margin_account=loan.margin_account_id).state

    def call(self, loan: Loan) -> MarginCall:
        """Return the newest call of a loan's account."""
        return MarginCall.objects.filter(margin_account=loan.margin_account_id).latest("episode")

    def orders(self, loan: Loan) -> list[LiquidationOrder]:
        """Return the orders of a loan's account in the order in which they were made."""
        found = LiquidationOrder.objects.filter(margin_account=loan.margin_account_id)
        return list(found.order_by("episode", "slice", "asset__code"))

    def pledged(self, loan: Loan, code: str) -> Decimal:
        """Return what is pledged and not held of an asset."""
        return Pledge.objects.get(margin_account=loan.margin_account_id, asset__code=code).quantity

    def payoff(self, loan: Loan) -> Decimal:
        """Return what pays a loan off."""
        return interest.payoff(Loan.objects.get(pk=loan.pk), now=self.now).total

    def sell(self, order: LiquidationOrder, *, price: str, part: str = "1") -> None:
        """Fill a part of an order at a price and settle it, as the desk does."""
        quantity = liquidations.open_quantity(order) * Decimal(part)
        sell(order, quantity, Decimal(price), now=self.now)

    def sell_out(self, loan: Loan, *, price: str) -> None:
        """Fill order after order at a price below the mark, so that a rest is ordered again, until there is none."""
        while live := [order for order in self.orders(loan) if order.state in LIVE_ORDER_STATES]:
            self.step()
            self.sell(live[0], price=price)
            self.step()

    def page(self, who: User, address: str, **fields: str) -> str:
        """Open a page, or send a form of it, as somebody at the platform's time."""
        browser = Browser()
        browser.force_login(who)
        with time_machine.travel(self.now, tick=False):
            answer = browser.post(address, fields, follow=True) if fields else browser.get(address)
        return answer.content.decode()


def wrongful() -> list[str]:
    """Return what the independent checker has against the sales of this database."""
    with connection.cursor() as cursor:
        return [sale.reason for sale in Checker(cursor).wrongful()]


@transaction.atomic
def sell(order: LiquidationOrder, quantity: Decimal, price: Decimal, *, now: dt.datetime) -> None:
    """Commit, fill, book and apply one sale of collateral for dollars."""
    account = margin_accounts.lock(order.margin_account_id)
    granted = liquidations.commit(order, quantity, now=now)
    assert granted == quantity
    proceeds = money.quantize_down(quantity * price, 2)
    liquidations.record_fill(order, quantity, proceeds, now=now)
    loan = order.cause.loan or Loan.objects.get(margin_account=account)
    key = f"test-sale:{order.public_id}:{quantity:f}"
    heading = entries.Heading(
        key=key, effective_at=now, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk
    )
    fee = money.quantize_up(proceeds * account.terms.liquidation_fee, 2)
    draft = entries.sale(
        heading, asset=order.asset.code, quantity=quantity, proceeds_asset="USD", proceeds=proceeds,
        margin_account_id=account.pk, dealer="harbour", liquidation_fee=fee,
    )  # fmt: skip
    entry = ledger.post(draft, now=now)
    collateral.sell_held(account, order.asset, quantity, entry=entry, key=f"{key}:held", now=now)
    standing = -ledger.balance(entries.sale_proceeds("USD", loan.client_id, account.pk))
    repayments.apply(standing, loan, key=f"{key}:apply", cause=order.cause.kind, now=now)


def expired(desk, **pledged: str) -> Loan:
    """Return a loan whose call has expired and whose first slice is ordered."""
    loan = desk.loan("20000", **(pledged or {"BTC": "1"}))
    desk.step(BTC="28000", ETH="1750", LINK="21")
    desk.minutes(22)
    return loan


def at_the_liquidation_level(desk) -> tuple[Loan, MarginCall]:
    """Return a loan past its liquidation level whose first slice is ordered, and its call."""
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="24000")
    desk.steps(3)
    assert SaleCause.objects.get().kind == "liquidation_level"
    return loan, desk.call(loan)
