"""Permits: risk's leave to draw or release, on GOOD marks, for one version of one margin account."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from lending import breaks, permits
from lending.engine import money
from lending.models import Asset, Loan, MarginAccount
from lending.permits import Permit
from risk import exchanges, exposures, letters, prices
from risk.engine.cures import max_release, substitute_quantity
from risk.engine.ltv import Exposure, Owed, Pledged, Position, exposure, ltv_of
from risk.exposures import AccountFacts
from risk.models import OPEN_CALL_STATES, MarginCall
from risk.prices import Marks

LIFETIME = timedelta(minutes=5)
PAR = Decimal(1)


class UnableToPermit(Exception):
    """A draw or a release is not within its limits; the message says which one."""


def issue_draw(margin_account: MarginAccount, asset: Asset, amount: Decimal, *, now: datetime) -> Permit:
    """
    Return leave to draw an amount, if the LTV after it is at most initial_ltv.

    Raises
    ------
    UnableToPermit
        If the LTV would be above initial_ltv, a mark is not GOOD, a call is open, or the account is frozen.
    """
    facts, marks = _facts(margin_account, now=now)
    _check_earmarked([facts.account])
    _check_draw(facts, asset, amount, marks)
    return _permit(permits.DRAW, facts, asset, amount, marks, now=now)


def issue_draws(loans: Sequence[Loan], *, now: datetime) -> list[Permit]:
    """
    Return leave to draw each of some loans in full, in order, reading what they share once.

    Raises
    ------
    UnableToPermit
        If one of them may not be drawn, as `issue_draw` says.
    """
    marks = prices.current(now=now)
    found = exposures.load((loan.margin_account_id for loan in loans), now=now)
    _check_earmarked([facts.account for facts in found.values()])
    for loan in loans:
        _check_draw(found[loan.margin_account_id], loan.asset, loan.principal, marks)
    snapshot = prices.snapshot(marks, now=now)
    return [
        permits.issue(
            permits.DRAW,
            found[loan.margin_account_id].account,
            loan.asset,
            loan.principal,
            snapshot_id=snapshot.pk,
            expires_at=now + LIFETIME,
        )
        for loan in loans
    ]


def _check_draw(facts: AccountFacts, asset: Asset, amount: Decimal, marks: Marks) -> None:
    drawn = Position(facts.position.pledges, (*facts.position.debts, Owed(asset.code, amount)))
    _check(facts, drawn, marks)
    exposed = _exposed(drawn, marks)
    if exposed.exceeds(facts.terms.initial_ltv):
        limit = letters.percent(facts.terms.initial_ltv)
        if not exposed.weighted:
            raise UnableToPermit(f"no collateral has arrived; the LTV may be {limit} at most")
        raise UnableToPermit(f"the LTV after it would be {letters.percent(ltv_of(exposed))}, above {limit}")


def issue_release(margin_account: MarginAccount, asset: Asset, quantity: Decimal, *, now: datetime) -> Permit:
    """
    Return leave to release a quantity of collateral: below release_trigger, down to release_to, at most what is free.

    Without debt everything may leave.

    Raises
    ------
    UnableToPermit
        If the LTV is not below release_trigger, it is too much, a mark is not GOOD, a call is open, the account is
        frozen, or custody does not agree with the ledger on the asset.
    """
    facts, marks = _facts(margin_account, now=now)
    _check_earmarked([facts.account])
    _check(facts, facts.position, marks)
    if why := breaks.blocks_releases(asset, facts.account.client_id):
        raise UnableToPermit(why)
    pledge = next((row for row in facts.pledges if row.asset_id == asset.pk), None)
    if pledge is None or quantity > pledge.quantity:
        held = pledge.quantity if pledge else money.ZERO
        raise UnableToPermit(f"{held:f} {asset.code} is pledged and free, not {quantity:f}")
    exposed = _exposed(facts.position, marks)
    if exposed.debt:
        _check_release(facts, exposed, asset, quantity, pledge.haircut, marks)
    return _permit(permits.RELEASE, facts, asset, quantity, marks, now=now)


def _check_release(
    facts: AccountFacts, exposed: Exposure, asset: Asset, quantity: Decimal, haircut: Decimal, marks: Marks
) -> None:
    """Refuse a release unless the LTV is below the trigger and the quantity within (A - D/release_to)/w."""
    with money.exact():
        below = exposed.debt < facts.terms.release_trigger * exposed.weighted
        weight, price = 1 - haircut, marks.band(asset.code).low
        value = quantity * price
        held = sum((item.quantity for item in facts.position.pledges if item.asset == asset.code), money.ZERO)
        market_value = held * price
    if not below:
        now_at, below_what = letters.percent(ltv_of(exposed)), letters.percent(facts.terms.release_trigger)
        raise UnableToPermit(f"the LTV is {now_at}, not below {below_what}")
    most = max_release(exposed, facts.terms.release_to, weight, market_value=market_value, decimals=money.DECIMALS)
    if value > most:
        raise UnableToPermit(f"at most {most:.2f} USD of {asset.code} may leave, not {value:.2f}")


def issue_substitution(
    margin_account: MarginAccount, out: Asset, quantity: Decimal, other: Asset, arrived: Decimal, *, now: datetime
) -> Permit:
    """
    Return leave to release a quantity for what has arrived of another asset, if both together raise no LTV.

    Raises
    ------
    UnableToPermit
        If what has arrived counts for less, the LTV would be at a margin call, a mark is not GOOD, a call is open, the
        account is frozen, or custody does not agree with the ledger on one of both.
    """
    facts, marks = _facts(margin_account, now=now)
    _check(facts, facts.position, marks)
    for asset in (out, other):  # what has come is given for what leaves: both have to be there
        if why := breaks.blocks_releases(asset, facts.account.client_id):
            raise UnableToPermit(why)
    weights = {pledge.asset_id: 1 - pledge.haircut for pledge in facts.pledges if pledge.quantity}
    if out.pk not in weights or other.pk not in weights:
        raise UnableToPermit(f"both {out.code} and {other.code} have to be pledged")
    least = substitute_quantity(
        quantity,
        out_weight=weights[out.pk],
        out_price=marks.band(out.code).high,
        in_weight=weights[other.pk],
        in_price=marks.band(other.code).low,
        decimals=other.decimals,
    )
    if arrived < least:
        raise UnableToPermit(
            f"it takes {money.text(least)} {other.code} at the marks of now, not {money.text(arrived)}"
        )
    left = _exposed(_without(facts.position, out, quantity), marks)
    if left.exceeds(facts.terms.margin_call_ltv):
        raise UnableToPermit(f"the LTV after it would be {letters.percent(ltv_of(left))}, at a margin call")
    return _permit(permits.RELEASE, facts, out, quantity, marks, now=now)


def _without(position: Position, asset: Asset, quantity: Decimal) -> Position:
    with money.exact():
        left = tuple(
            Pledged(held.asset, held.quantity - quantity if held.asset == asset.code else held.quantity, held.weight)
            for held in position.pledges
        )
    return Position(left, position.debts)


def _check_earmarked(accounts: Sequence[MarginAccount]) -> None:
    if exchanges.earmarked(accounts):
        raise UnableToPermit("collateral has come for an exchange that is under way: call that off first")


def _facts(margin_account: MarginAccount, *, now: datetime) -> tuple[AccountFacts, Marks]:
    return exposures.load([margin_account.pk], now=now)[margin_account.pk], prices.current(now=now)


def _check(facts: AccountFacts, position: Position, marks: Marks) -> None:
    """Refuse while anything that the account holds or owes is not GOOD, or a call is open."""
    if facts.account.frozen:
        raise UnableToPermit("the account is frozen")
    for code in sorted(position.assets):
        if not marks.quality(code).may_release:
            raise UnableToPermit(f"the mark of {code} is {marks.quality(code).value}")
    if MarginCall.objects.filter(margin_account=facts.account, state__in=OPEN_CALL_STATES).exists():
        raise UnableToPermit("a margin call is open")


def _exposed(position: Position, marks: Marks) -> Exposure:
    """Return the exposure with stablecoin debt at no less than par: a depeg must not make room for a release."""
    stablecoins = set(Asset.objects.filter(kind=Asset.Kind.STABLECOIN).values_list("code", flat=True))
    bands = {code: marks.band(code).high for code in position.assets}
    debts = {code: max(price, PAR) if code in stablecoins else price for code, price in bands.items()}
    owed = exposure(Position((), position.debts), debts)
    held = exposure(Position(position.pledges, ()), bands)
    return Exposure(owed.debt, held.weighted, held.market)


def _permit(
    action: str, facts: AccountFacts, asset: Asset, quantity: Decimal, marks: Marks, *, now: datetime
) -> Permit:
    snapshot = prices.snapshot(marks, now=now)
    return permits.issue(action, facts.account, asset, quantity, snapshot_id=snapshot.pk, expires_at=now + LIFETIME)
