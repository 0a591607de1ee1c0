"""
Standing instructions: a client's signer reserves a cure in advance, changes it, takes it back.

Such an instruction says: when this loan is called, use up to so much of this asset. What it names is set aside in the
ledger, so that it can be neither paid out nor pledged elsewhere; it comes free when it is taken back, or the loan, and
in a pool every other, is paid.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef

from lending import authority, loans, margin_accounts, reserves
from lending.engine import money
from lending.models import (
    Asset,
    Client,
    Loan,
    MarginAccount,
    SigningRule,
    StandingInstruction,
    User,
)
from risk import cures, payouts
from risk.models import OPEN_CALL_STATES, MarginCall
from risk.reserved_cures import secures, securing


class UnableToInstruct(Exception):
    """Nothing can be reserved, or taken back; the message says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An asset that can be set aside for a loan: what is free of it, and what is set aside already, in its units."""

    asset: Asset
    cash: bool
    free: Decimal
    set_aside: Decimal

    @property
    def most(self) -> Decimal:
        """Return how much can be set aside in all."""
        with money.exact():
            return self.free + self.set_aside


def of_account(account: MarginAccount) -> list[StandingInstruction]:
    """Return the instructions of an account that run, by asset."""
    return list(reserves.running().filter(margin_account=account).select_related("given_by", "loan"))


def choices(loan: Loan, rows: Iterable[StandingInstruction]) -> list[Choice]:
    """
    Return what can be set aside for a loan, where some instructions of its account run.

    That is the asset in which a call would ask for cash, in a pool that of its first loan, or what its sheets name as
    collateral or is pledged: nothing else could be used.
    """
    running = {row.asset_id: row for row in rows}
    free = {row.asset.pk: row for row in payouts.free([loan.client])}
    named, cash = securing(loan.margin_account_id), cures.asked_in(loan.margin_account_id)
    assets = {row.asset.pk: row.asset for row in free.values()} | {key: row.asset for key, row in running.items()}
    return [
        Choice(
            asset,
            asset == cash,
            free[asset.pk].left if asset.pk in free else money.ZERO,
            running[asset.pk].quantity if asset.pk in running else money.ZERO,
        )
        for asset in sorted(assets.values(), key=lambda asset: asset.code)
        if asset == cash or secures(asset, named)
    ]


@transaction.atomic
def give(loan: Loan, asset: Asset, quantity: Decimal, *, by: User, now: datetime) -> StandingInstruction:
    """
    Reserve up to so much of an asset as a cure of a loan's calls, as the client's signer; again, to change it.

    It only protects the client, so one person gives it, as one person repays.

    Raises
    ------
    UnableToInstruct
        If the quantity is not positive, too fine, or more than what is set aside, free and not asked for as a payout;
        the asset can not cure this loan; nothing is owed on it; or a call is open.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, loan.client, SigningRule.Action.REPAY, asset=asset, amount=quantity)
    # As a payout is asked for: the same money is neither asked for twice nor asked for and set aside.
    # Whoever holds the account meanwhile may still write what refers to the client.
    Client.objects.select_for_update(no_key=True).get(pk=loan.client_id)
    _check_quiet(loan)
    loan = loans.locked(loan)
    if loan.state not in loans.OWING:
        raise UnableToInstruct(f"nothing is owed on this loan: it is {loan.get_state_display().lower()}")
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, asset.decimals):
        raise UnableToInstruct(f"{quantity} is not an amount that {asset.code} can move ({asset.decimals} decimals)")
    possible = choices(loan, of_account(loan.margin_account))
    choice = next((row for row in possible if row.asset.pk == asset.pk), None)
    if choice is None:
        raise UnableToInstruct(f"no {asset.code} of yours is free that could cure a call of this loan")
    if quantity > choice.most:
        raise UnableToInstruct(
            f"{money.text(choice.most)} {asset.code} can be set aside, with what is already, not {money.text(quantity)}"
        )
    try:
        return reserves.set_aside(loan, asset, quantity, by=by, now=now)
    except reserves.UnableToReserve as refusal:
        raise UnableToInstruct(str(refusal)) from refusal


@transaction.atomic
def take_back(loan: Loan, public_id: str, *, by: User, now: datetime) -> StandingInstruction:
    """
    Take an instruction back, as one of the client's signers: what it has set aside is free again.

    Raises
    ------
    UnableToInstruct
        If it has ended, or a call is open.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    row = next((row for row in of_account(loan.margin_account) if str(row.public_id) == public_id), None)
    if row is None:
        raise UnableToInstruct("it has ended already")
    authority.require(by, loan.client, SigningRule.Action.REPAY, asset=row.asset, amount=row.quantity)
    _check_quiet(loan)
    try:
        return reserves.end(row, by=by, why="taken back", now=now)
    except reserves.UnableToReserve as refusal:
        raise UnableToInstruct(str(refusal)) from refusal


def end_due(*, now: datetime) -> int:
    """End the instructions of accounts on which nothing is owed any more, and return how many ended."""
    owing = Loan.objects.filter(margin_account=OuterRef("margin_account"), state__in=loans.OWING)
    over = reserves.running().filter(~Exists(owing)).select_related("loan")
    done = 0
    for row in list(over):
        with contextlib.suppress(reserves.UnableToReserve):  # its client was quicker
            reserves.end(row, by=None, why="nothing is owed on the loan", now=now)
            done += 1
    return done


def _check_quiet(loan: Loan) -> None:
    """Refuse while a call is open: what was set aside belongs to it. Under the lock that issuing a call takes."""
    margin_accounts.lock(loan.margin_account_id)
    if MarginCall.objects.filter(margin_account=loan.margin_account_id, state__in=OPEN_CALL_STATES).exists():
        raise UnableToInstruct(
            "a margin call is open, and what is set aside is for it: pay it, or wait until it is over"
        )
