"""What a desk sets up before its first client: assets, price policies, ladders, products, dealers and people."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction

from deploy import set_up
from lending import ids
from lending.engine.chart import AccountKind
from lending.models import (
    Asset,
    Book,
    Calendar,
    DayCount,
    GlCode,
    LadderTerms,
    Prepayment,
    Product,
    Role,
    RoleGrant,
    ScheduleKind,
    Tenor,
    User,
)
from risk.scenarios import Scenario

BOOK = "otc-lending"

#          code    name         kind          decimals  chain       confirmations, seconds for one
ASSETS = (
    ("USD", "US dollar", "fiat", 2, "fedwire", 0, 60),
    ("USDC", "USD Coin", "stablecoin", 6, "ethereum", 12, 12),
    ("USDT", "Tether", "stablecoin", 6, "ethereum", 12, 12),
    ("BTC", "Bitcoin", "crypto", 8, "bitcoin", 3, 600),
    ("ETH", "Ether", "crypto", 18, "ethereum", 12, 12),
    ("LINK", "Chainlink", "crypto", 18, "ethereum", 12, 12),
)

# Rounded figures for May 2021 of what one desk could reach.
_LIMITS = (
    "quorum", "clamp", "max_spread", "band", "daily_volume_usd", "daily_volatility", "half_spread", "lot", "clip_usd",
    "throttle_usd_per_minute",
)  # fmt: skip
POLICIES = (
    ("USDC", 2, "0.005", "0.02", "0.05", "500000000", "0.003", "0.0002", "0.01", "5000000", "50000000"),
    ("USDT", 2, "0.005", "0.02", "0.05", "5000000000", "0.003", "0.0002", "0.01", "5000000", "50000000"),
    ("BTC", 3, "0.005", "0.02", "0.15", "3000000000", "0.06", "0.0005", "0.0001", "5000000", "25000000"),
    ("ETH", 3, "0.005", "0.02", "0.20", "2000000000", "0.08", "0.0006", "0.001", "4000000", "20000000"),
    ("LINK", 3, "0.015", "0.03", "0.25", "300000000", "0.10", "0.0012", "0.01", "1000000", "5000000"),
)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A ladder preset of this desk, with the clocks of its cure periods."""

    name: str
    levels: Mapping[str, str]
    cure_period_s: int
    accelerated_cure_period_s: int
    family: str = "term"

    def product(self, asset: str) -> str:
        """Return the code of the product that lends an asset on this ladder."""
        return f"{self.family}-{asset.lower()}-{self.cure_period_s // 3600}h"


# Levels as several retail lenders publish them, and those of a lender who waits long and sells late.
_TIGHT = {
    "initial_ltv": "0.55",
    "warning_ltv": "0.65",
    "margin_call_ltv": "0.70",
    "accelerated_ltv": "0.75",
    "liquidation_ltv": "0.80",
    "cure_to": "0.60",
    "liquidate_to": "0.60",
    "clear_ltv": "0.65",
    "release_trigger": "0.40",
    "release_to": "0.50",
}
_PATIENT = {
    "initial_ltv": "0.50",
    "warning_ltv": "0.571",
    "margin_call_ltv": "0.667",
    "accelerated_ltv": "0.741",
    "liquidation_ltv": "0.909",
    "cure_to": "0.606",
    "liquidate_to": "0.50",
    "clear_ltv": "0.62",
    "release_trigger": "0.35",
    "release_to": "0.45",
}
# Levels of a published prime brokerage agreement (FalconX-Parataxis); the targets and clocks it leaves open are ours.
_PRIME = {
    "initial_ltv": "0.752",
    "warning_ltv": "0.82",
    "margin_call_ltv": "0.87",
    "accelerated_ltv": "0.91",
    "liquidation_ltv": "0.952",
    "cure_to": "0.80",
    "liquidate_to": "0.752",
    "clear_ltv": "0.82",
    "release_trigger": "0.606",
    "release_to": "0.752",
}
LADDERS = (
    Ladder(name="One hour", levels=_TIGHT, cure_period_s=3600, accelerated_cure_period_s=1800),
    Ladder(name="Four hours", levels=_PATIENT, cure_period_s=4 * 3600, accelerated_cure_period_s=3600),
    Ladder(name="One day", levels=_PATIENT, cure_period_s=24 * 3600, accelerated_cure_period_s=4 * 3600),
)
PRIME = Ladder(name="Prime", levels=_PRIME, cure_period_s=4 * 3600, accelerated_cure_period_s=3600, family="prime")
# On the ladders of the term loans, paid month by month.
INTEREST = replace(LADDERS[2], family="interest")
INSTALMENT = replace(LADDERS[1], family="instalment")
# Without a fixed end: either side ends it with notice.
OPEN = replace(LADDERS[2], family="open")
LINE = replace(LADDERS[2], family="line")
OFFERED = (*LADDERS, PRIME, INTEREST, INSTALMENT, OPEN, LINE)
_KINDS = {
    "interest": ScheduleKind.INTEREST_ONLY,
    "instalment": ScheduleKind.EQUAL_INSTALMENT,
    "open": ScheduleKind.INTEREST_ONLY,
    "line": ScheduleKind.INTEREST_ONLY,
}
_GRACE_DAYS = 3
_NOTICE_DAYS = {"open": 5, "line": 10}

_TENORS = {"open": Tenor.OPEN, "line": Tenor.REVOLVING}
_CALLED = {"open": "open-term", "line": "revolving"}
_PERIODS = {3600: "one hour", 4 * 3600: "four hours", 24 * 3600: "one day"}

STAFF = (
    ("robin", "Robin Marsh", Role.RELATIONSHIP_MANAGER),
    ("rosa", "Rosa Lindqvist", Role.RELATIONSHIP_MANAGER),
    ("ravi", "Ravi Chandran", Role.RELATIONSHIP_MANAGER),
    ("renata", "Renata Duarte", Role.RELATIONSHIP_MANAGER),
    ("rhea", "Rhea Okafor", Role.RISK),
    ("hugo", "Hugo Brandt", Role.RISK_HEAD),
    ("dana", "Dana Whitfield", Role.DESK_HEAD),
    ("theo", "Theo Lam", Role.DESK_TRADER),
    ("olga", "Olga Petrov", Role.OPERATIONS),
    ("cora", "Cora Nunez", Role.COMPLIANCE),
    ("audrey", "Audrey Klein", Role.AUDITOR),
    ("casper", "Casper Holm", Role.COMPLIANCE),
)
MANAGERS = ("robin", "rosa", "ravi", "renata")
# The codes of a small desk's general ledger.
GL_CODES = {
    AccountKind.CUSTODY: ("1100", "Assets in custody"),
    AccountKind.LOAN_PRINCIPAL: ("1200", "Loans to clients"),
    AccountKind.INTEREST_RECEIVABLE: ("1210", "Interest receivable"),
    AccountKind.FEES_RECEIVABLE: ("1220", "Fees receivable"),
    AccountKind.DEFICIENCY_CLAIM: ("1230", "Claims for shortfalls"),
    AccountKind.DEFICIENCY_ALLOWANCE: ("1239", "Allowance for shortfalls"),
    AccountKind.DESK_INVENTORY: ("1300", "Desk inventory"),
    AccountKind.DEALER_SETTLEMENT: ("1400", "Settlement with dealers"),
    AccountKind.EXCHANGE: ("1490", "Exchange between assets"),
    AccountKind.CLIENT_FREE: ("2100", "Owed to clients, free"),
    AccountKind.CLIENT_RESERVED: ("2105", "Owed to clients, set aside for margin calls"),
    AccountKind.CLIENT_PLEDGED: ("2110", "Owed to clients, pledged"),
    AccountKind.COLLATERAL_TO_RETURN: ("2115", "Owed to clients, collateral to be returned"),
    AccountKind.LIQUIDATION_HOLD: ("2120", "Owed to clients, held for sale"),
    AccountKind.SALE_PROCEEDS: ("2130", "Owed to clients, proceeds of sales"),
    AccountKind.DEPOSITS_PENDING: ("2200", "Deposits on their way"),
    AccountKind.WITHDRAWALS_PENDING: ("2210", "Withdrawals on their way"),
    AccountKind.FUNDING: ("2300", "Funding"),
    AccountKind.CAPITAL: ("3000", "Capital"),
    AccountKind.OPENING_BALANCE: ("3010", "Opening balances of loans taken over"),
    AccountKind.INTEREST_INCOME: ("4100", "Interest income"),
    AccountKind.DEFAULT_INTEREST_INCOME: ("4110", "Default interest income"),
    AccountKind.FEE_INCOME: ("4200", "Fee income"),
    AccountKind.SPREAD_INCOME: ("4300", "Spread income"),
    AccountKind.TRADING_INCOME: ("4310", "Trading income"),
    AccountKind.RECOVERY: ("4400", "Recoveries"),
    AccountKind.FUNDING_COST: ("5100", "Funding cost"),
    AccountKind.EXECUTION_COST: ("5200", "Execution cost"),
    AccountKind.CREDIT_LOSS: ("5300", "Credit losses"),
}
DEALERS = (("harbour", "Harbour OTC"), ("meridian", "Meridian Markets"), ("northgate", "Northgate Trading"))


def demo_password() -> str:
    """Return the password of every demo user of this data folder; made at random the first time it is asked for."""
    path = Path(settings.DATA_DIR) / "demo_password"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(12))
    return path.read_text().strip()


@transaction.atomic
def load(scenario: Scenario, *, now: datetime) -> None:
    """Write the desk's reference data; a second call changes nothing."""
    set_up.set_up(json.dumps(_file(scenario)).encode(), now=now)
    _products(Book.objects.get(code=BOOK))
    for kind, (code, name) in GL_CODES.items():
        GlCode.objects.get_or_create(kind=kind, asset=None, defaults={"code": code, "name": name})
    _staff(now)


def _file(scenario: Scenario) -> dict[str, Any]:
    """Return what the desk sets up from a file: what it deals in, and the sources that a scenario has prices of."""
    policies = {code: dict(zip(_LIMITS, limits, strict=True)) for code, *limits in POLICIES}
    sources: dict[str, dict[str, Any]] = {}
    for feed in scenario.feeds:
        named = {"code": feed.source, "name": feed.source_name, "synthetic": feed.synthetic, "feeds": []}
        sources.setdefault(feed.source, named)["feeds"].append(
            {"base": feed.base, "quote": feed.quote, "weight": str(feed.weight), "stale_after_s": feed.stale_after_s}
        )
    return {
        "books": [{"code": BOOK, "name": "OTC lending"}],
        "assets": [
            {
                "code": code,
                "name": name,
                "kind": kind,
                "decimals": decimals,
                "networks": [{"chain": chain, "confirmations": confirmations, "block_s": block_s}],
                **({"policy": policies[code]} if code in policies else {}),
            }
            for code, name, kind, decimals, chain, confirmations, block_s in ASSETS
        ],
        "sources": list(sources.values()),
        "dealers": [
            {"code": code, "name": name, "simulated": True, "settlement_address": f"paper:dealer:{code}"}
            for code, name in DEALERS
        ],
    }


def _products(book: Book) -> None:
    for ladder in OFFERED:
        terms, _ = LadderTerms.objects.get_or_create(
            name=ladder.name,
            is_preset=True,
            defaults={
                **{name: Decimal(level) for name, level in ladder.levels.items()},
                "cure_period_s": ladder.cure_period_s,
                "accelerated_cure_period_s": ladder.accelerated_cure_period_s,
            },
        )
        for code, day_count in (("USD", DayCount.ACT_360), ("USDC", DayCount.ACT_365F)):
            Product.objects.get_or_create(
                code=ladder.product(code),
                defaults={
                    "name": f"{code} {_CALLED.get(ladder.family, ladder.family)} loan, "
                    f"cure period of {_PERIODS[ladder.cure_period_s]}",
                    "asset": Asset.objects.get(code=code),
                    "day_count": day_count,
                    "terms": terms,
                    "origination_fee": Decimal("0.0025"),
                    "book": book,
                    "schedule_kind": _KINDS.get(ladder.family, ScheduleKind.BULLET),
                    # Dollars move over Fedwire, coins every day; who pays each month has some days of grace.
                    "calendar": Calendar.FEDWIRE if ladder.family in _KINDS and code == "USD" else Calendar.EVERY_DAY,
                    "tenor": _TENORS.get(ladder.family, Tenor.FIXED),
                    "unused_fee": Decimal("0.005") if ladder.family == "line" else Decimal(0),
                    "late_fee": Decimal("0.05") if ladder.family in _KINDS else Decimal(0),
                    # Instalments that are paid early cost the interest lost, less what money earns overnight.
                    "prepayment": Prepayment.INTEREST if ladder.family == "instalment" else Prepayment.NOTHING,
                    "prepayment_rate": Decimal("0.03") if ladder.family == "instalment" else Decimal(0),
                    "notice_days": _NOTICE_DAYS.get(ladder.family, 0),
                    "grace_days": _GRACE_DAYS if ladder.family in _KINDS else 0,
                },
            )


def _staff(now: datetime) -> None:
    password = make_password(demo_password())  # once: a good hash is slow on purpose
    for extension, (local, name, role) in enumerate(STAFF, start=101):
        email = f"{local}@plimsoll.example"
        if User.objects.filter(email=email).exists():
            continue
        user = User.objects.create(
            email=email,
            password=password,
            name=name,
            phone=f"+44 20 7946 0{extension}",  # numbers that are kept for fiction
            is_staff=True,
            public_id=ids.derived("user", email),
        )
        RoleGrant.objects.create(user=user, role=role, granted_at=now)


def staff(local: str) -> User:
    """Return the demo desk's member with this local part of the e-mail address."""
    return User.objects.get(email=f"{local}@plimsoll.example")
