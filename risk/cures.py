"""What would cure a margin call, and how much of it has been paid."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from django.db.models import Max, Q, Sum
from django.db.models.functions import Coalesce

from lending import loans, replays, term_sheets
from lending.engine import money
from lending.models import Asset, Correction, Loan, Pledge, PledgeMovement, Repayment
from risk.engine import cures as engine
from risk.exposures import AccountFacts, Judgement
from risk.models import CollateralCure, MarginCall
from risk.prices import Marks

RATIO_DECIMALS = 12
# numeric(20, 12) ends at eight digits; who pays a demand a million times over has paid it.
MOST_SHOWN = 1_000_000
_IN = (PledgeMovement.Kind.PLEDGE, PledgeMovement.Kind.TOP_UP)


@dataclass(frozen=True, slots=True)
class Demand:
    """What cures a breach: cash in the loan's asset, or units of one collateral asset; never one number."""

    asset: Asset
    cash: Decimal
    collateral: tuple[tuple[Asset, Decimal, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Credited:
    """The newest rows that a call's amounts already took into account; what comes after them is a cure."""

    movement_id: int = 0
    repayment_id: int = 0


def demand(facts: AccountFacts, judged: Judgement, marks: Marks) -> Demand:
    """Return both cures that bring an account to cure_to: cash, at most the payoff, and units of each asset."""
    asset = facts.loans[0].asset
    owed = [debt.amount for debt in facts.position.debts if debt.asset == asset.code]
    usd = engine.rounded_up(missing_usd(facts, judged), facts.terms.call_rounding)
    cash = money.div_up(usd, marks.band(asset.code).high, asset.decimals)
    with money.exact():
        cash = min(cash, sum(owed, money.ZERO))
    return Demand(asset, cash, tuple(_collateral(facts, judged, marks)))


def asked_in(margin_account_id: int) -> Asset | None:
    """
    Return in which asset a call of an account would ask for cash, as `demand` does; None where no loan runs.

    Where nothing is drawn of what runs it is that of the first loan of which something may be.
    """
    running = Loan.objects.filter(margin_account=margin_account_id, state__in=loans.OWING).select_related("asset")
    first = min(running.order_by("public_id"), key=lambda loan: not loans.owes(loan), default=None)
    return first.asset if first else None


def missing_usd(facts: AccountFacts, judged: Judgement) -> Decimal:
    """Return the USD that bring an account to cure_to when paid in cash, before any rounding that was agreed."""
    return engine.cash_cure(judged.exposed, facts.terms.cure_to, decimals=money.DECIMALS)


def _collateral(facts: AccountFacts, judged: Judgement, marks: Marks) -> Iterable[tuple[Asset, Decimal, Decimal]]:
    for pledge in facts.pledges:
        band = marks.band(pledge.asset.code)
        if band.certain:
            with money.exact():
                weight = 1 - pledge.haircut
            units = engine.collateral_cure_quantity(
                judged.exposed, facts.terms.cure_to, weight, band.high, decimals=pledge.asset.decimals
            )
            if step := facts.terms.call_rounding:
                value = engine.collateral_cure(judged.exposed, facts.terms.cure_to, weight, decimals=money.DECIMALS)
                units = money.div_up(engine.rounded_up(value, step), band.high, pledge.asset.decimals)
            yield pledge.asset, units, band.high


def credited(margin_account_ids: Iterable[int]) -> dict[int, Credited]:
    """Return the newest movement and repayment of some locked accounts, in two queries."""
    keys = list(margin_account_ids)
    movements = PledgeMovement.objects.filter(margin_account__in=keys).values_list("margin_account")
    repayments = Repayment.objects.filter(loan__margin_account__in=keys).values_list("loan__margin_account")
    moved = dict(movements.annotate(newest=Max("pk")).order_by())
    repaid = dict(repayments.annotate(newest=Max("pk")).order_by())
    return {key: Credited(moved.get(key, 0), repaid.get(key, 0)) for key in keys}


def paid(call: MarginCall) -> tuple[Decimal, Fraction]:
    """
    Return the cash that was paid towards a call and the fraction of its demand that cash and collateral make up.

    Only what had arrived by the deadline counts, and was not taken back since, at the prices of the call's own
    snapshot: the notice fixes the amounts. Of a payment that is what it took off the debt, as it stands after all
    corrections: what it left over, or cost, cures nothing. Both cures are linear in D - t·A, so their fractions add up.
    """
    in_time = Q() if call.cure_due_at is None else Q(came_at__lte=call.cure_due_at)
    standing = Repayment.objects.exclude(corrections__kind=Correction.Kind.REVERSAL)
    counting = standing.alias(came_at=Coalesce("arrived_at", "received_at")).filter(
        in_time,
        loan__margin_account=call.margin_account_id,
        loan__asset=call.cure_asset_id,
        kind=Repayment.Kind.CASH,
        pk__gt=call.last_repayment_id,
    )
    paid_now = replays.parts_now(counting).values()
    with money.exact():
        cash = sum((part.fees + part.interest + part.principal for part in paid_now), money.ZERO)
    fraction = Fraction(cash) / Fraction(call.cash_cure) if call.cash_cure else Fraction(1)
    required = dict(call.collateral_cures.values_list("asset", "quantity"))
    in_time = Q() if call.cure_due_at is None else Q(effective_at__lte=call.cure_due_at)
    received = PledgeMovement.objects.filter(
        in_time, margin_account=call.margin_account_id, kind__in=_IN, pk__gt=call.last_movement_id
    )
    for asset, units in received.values_list("asset").annotate(total=Sum("quantity")).order_by("asset"):
        needed = required.get(asset) or _required(call, asset)
        if needed:
            fraction += Fraction(units) / Fraction(needed)
    return cash, fraction


def whole(call: MarginCall, asset: Asset) -> Decimal | None:
    """Return the units of a collateral asset that cure all of a call; None where its snapshot has no price of it."""
    stated = call.collateral_cures.filter(asset=asset).values_list("quantity", flat=True).first()
    return _required(call, asset.pk) if stated is None else stated


def left(demanded: Decimal, done: Decimal | Fraction, decimals: int) -> Decimal:
    """Return how much of one way cures what is left of a call of which a part is done, rounded up."""
    return engine.Way(demanded, demanded, demanded, decimals).part(max(1 - Fraction(done), Fraction(0)))


def _required(call: MarginCall, asset_id: int) -> Decimal | None:
    """Return the units of an asset that was not pledged when a call was issued, at the prices of its snapshot."""
    pledge = (
        Pledge.objects.filter(margin_account=call.margin_account_id, asset=asset_id).select_related("asset").first()
    )
    asset = pledge.asset if pledge else Asset.objects.get(pk=asset_id)
    stated = call.snapshot.marks.get(asset.code, {}).get("price")
    if stated is None:
        return None
    agreed = {asset.code: pledge.haircut} if pledge else term_sheets.haircuts(call.margin_account_id)
    terms, price = call.margin_account.terms, Decimal(stated)
    with money.exact():
        missing = call.debt_usd - terms.cure_to * call.weighted_collateral_usd
        weight = terms.cure_to * (1 - agreed.get(asset.code, term_sheets.HAIRCUT))
        scale = weight * price
    if terms.call_rounding:
        value = engine.rounded_up(money.div_up(missing, weight, money.DECIMALS), terms.call_rounding)
        return money.div_up(value, price, asset.decimals)
    return money.div_up(missing, scale, asset.decimals)


def save_collateral(demands: Iterable[tuple[MarginCall, Demand]]) -> None:
    """Write the collateral cures of calls, over those of an earlier opening of the same episode."""
    CollateralCure.objects.bulk_create(
        [
            CollateralCure(call=call, asset=asset, quantity=units, price=price)
            for call, wanted in demands
            for asset, units, price in wanted.collateral
        ],
        update_conflicts=True,
        unique_fields=["call", "asset"],
        update_fields=["quantity", "price"],
    )


def shown(fraction: Fraction) -> Decimal:
    """Return a fraction as it is stored: rounded down, so that 1 means paid."""
    most = min(fraction, Fraction(MOST_SHOWN))
    return money.div_down(Decimal(most.numerator), Decimal(most.denominator), RATIO_DECIMALS)
