"""Collateral: pledged, held for a sale, sold, released; Pledge rows move in the transaction of their posting."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F

from lending import (
    access,
    allow_list,
    audit,
    breaks,
    events,
    ledger,
    margin_accounts,
    obligations,
    permits,
    screening,
    term_sheets,
    withdrawals,
)
from lending.engine import accounts, entries, money
from lending.models import (
    Asset,
    Entry,
    Event,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Role,
    User,
)

RELEASERS = access.APPROVERS | {Role.OPERATIONS}
_Recipe = Callable[..., entries.Draft]
_Kind = PledgeMovement.Kind


class UnableToPledge(Exception):
    """Collateral can not be pledged; the message says why."""


class UnableToHold(Exception):
    """Collateral can not be held for a sale, put back or taken as sold; the message says why."""


class UnableToRelease(Exception):
    """Collateral can not be released; the message says why."""


@transaction.atomic
def pledge(
    margin_account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    key: str,
    now: datetime,
    kind: str = _Kind.PLEDGE,
    received_at: datetime | None = None,
) -> PledgeMovement:
    """
    Turn a client's free balance into collateral of a margin account; the same key pledges once.

    `received_at` is when the transfer arrived, which is what a margin call's deadline is held against. An
    asset that is new to the account has the haircut that its term sheet names.

    Raises
    ------
    UnableToPledge
        If the quantity is not positive or too fine, is more than what is free, the asset can not secure a loan, or
        the key was used for something else.
    """
    account = margin_accounts.lock(margin_account.pk)
    if first := _repeated(UnableToPledge, account, asset, quantity, kind=kind, key=key):
        return first
    _check_quantity(UnableToPledge, asset, quantity)
    if asset.kind == Asset.Kind.FIAT:
        raise UnableToPledge(f"{asset.code} is cash: it repays a loan, it can not secure one")
    free = ledger.owed(accounts.client_free(asset.code, account.client_id))
    if quantity > free:
        raise UnableToPledge(f"{account.client} has {money.text(free)} {asset.code} free, not {money.text(quantity)}")
    entry = _post(entries.pledge, account, asset, quantity, key=key, effective_at=received_at or now, now=now)
    raised = Pledge.objects.filter(margin_account=account, asset=asset).update(quantity=F("quantity") + quantity)
    if not raised:
        Pledge.objects.create(
            client_id=account.client_id,
            margin_account=account,
            asset=asset,
            quantity=quantity,
            haircut=term_sheets.haircuts(account.pk).get(asset.code, term_sheets.HAIRCUT),
        )
    margin_accounts.touch(account)
    return _moved(account, asset, quantity, kind=kind, key=key, effective_at=received_at or now, entry=entry, now=now)


def top_up(
    margin_account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    key: str,
    now: datetime,
    received_at: datetime | None = None,
) -> PledgeMovement:
    """Pledge more for a running loan; see `pledge`."""
    return pledge(margin_account, asset, quantity, key=key, now=now, kind=_Kind.TOP_UP, received_at=received_at)


def hold(margin_account: MarginAccount, asset: Asset, quantity: Decimal, *, key: str, now: datetime) -> PledgeMovement:
    """
    Set collateral aside for a sale that was ordered; the same key holds once.

    Raises
    ------
    UnableToHold
        If the quantity is not positive, is more than what is pledged and not yet held, or the key was used before
        for something else.
    """
    return _step(margin_account, asset, quantity, kind=_Kind.HOLD, key=key, now=now)


def unhold(
    margin_account: MarginAccount, asset: Asset, quantity: Decimal, *, key: str, now: datetime
) -> PledgeMovement:
    """
    Put collateral back that was held for a sale and will not be sold; the same key puts back once.

    Raises
    ------
    UnableToHold
        If the quantity is not positive, is more than what is held, or the key was used before for something else.
    """
    return _step(margin_account, asset, quantity, kind=_Kind.UNHOLD, key=key, now=now)


def sell_held(
    margin_account: MarginAccount, asset: Asset, quantity: Decimal, *, entry: Entry, key: str, now: datetime
) -> PledgeMovement:
    """
    Take collateral off its pledge that the given entry, posted in this transaction, has sold; the same key once.

    Raises
    ------
    UnableToHold
        If the quantity is not positive, is more than what is held, or the key was used before for something else.
    """
    return _step(margin_account, asset, quantity, kind=_Kind.SALE, key=key, now=now, entry=entry)


@transaction.atomic
def _step(
    margin_account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    kind: PledgeMovement.Kind,
    key: str,
    now: datetime,
    entry: Entry | None = None,
) -> PledgeMovement:
    """Take collateral one step on its way into a sale, or back, once per key; `entry` has booked it, else it is."""
    account = margin_accounts.lock(margin_account.pk)
    if first := _repeated(UnableToHold, account, asset, quantity, kind=kind, key=key):
        return first
    row = _pledge_row(account, asset)
    if kind == _Kind.HOLD:
        _check_at_most(quantity, row.quantity, f"pledged {asset.code}")
    else:
        _check_at_most(quantity, row.held_quantity, f"{asset.code} held for sale")
    if entry is None:
        recipe = entries.hold if kind == _Kind.HOLD else entries.unhold
        entry = _post(recipe, account, asset, quantity, key=key, effective_at=now, now=now)
    to_hold = quantity if kind == _Kind.HOLD else quantity.copy_negate()
    with money.exact():
        row.held_quantity += to_hold
        if kind != _Kind.SALE:
            row.quantity -= to_hold
    return _finish(account, row, quantity, kind=kind, key=key, entry=entry, now=now)


@transaction.atomic
def release(
    margin_account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    permit: permits.Permit,
    maker: User,
    checker: User,
    key: str,
    now: datetime,
    destination: str = "",
) -> PledgeMovement:
    """
    Give collateral back to its client under a permit of risk, by two persons; the same key releases once.

    With a destination the transfer out is asked for in the same transaction; without one the coins stay in the
    client's free balance.

    Raises
    ------
    UnableToRelease
        If the quantity is not positive, too fine or more than what is pledged, the account is frozen, its client has
        not paid what is due, or the books and the custodian disagree about the asset.
    lending.permits.UnableToVerify
        If the permit does not allow it.
    lending.allow_list.UnableToSend
        If the destination is not allowed for the client, or in its cooling-off.
    lending.access.UnableToAccess
        If maker and checker are one person, or the checker lacks the role or manages the client.
    """
    account = margin_accounts.lock(margin_account.pk)
    if first := _repeated(UnableToRelease, account, asset, quantity, kind=_Kind.RELEASE, key=key):
        return first
    access.require_checker(checker, client=account.client, maker=maker, roles=RELEASERS)
    _check_quantity(UnableToRelease, asset, quantity)
    screening.check_money_out(account.client)
    _check_releasable(account, asset)
    row = _pledge_row(account, asset, error=UnableToRelease)
    if quantity > row.quantity:
        unheld = f"{money.text(row.quantity)} {asset.code} are pledged and not held for a sale"
        raise UnableToRelease(f"{unheld}, not {money.text(quantity)}")
    permits.verify(permit, account, permits.RELEASE, asset, quantity, now=now)
    if destination:
        allow_list.require(account.client, asset, destination, now=now)
    entry = _post(entries.release, account, asset, quantity, key=key, effective_at=now, now=now, actor=checker)
    pledged = row.quantity
    with money.exact():
        row.quantity -= quantity
    movement = _finish(
        account, row, quantity, kind=_Kind.RELEASE, key=key, entry=entry, now=now, maker=maker, checker=checker
    )
    audit.write(
        "collateral_released",
        actor=checker,
        obj=account,
        before={"pledged": money.text(pledged), "asset": asset.code},
        after={"pledged": money.text(row.quantity), "maker": maker.email, "snapshot": permit.snapshot_id},
        reason=key,
        now=now,
    )
    if destination:
        withdrawals.request(
            account.client,
            asset,
            quantity,
            destination=destination,
            purpose="release",
            maker=maker,
            checker=checker,
            book=margin_accounts.book_of(account),
            key=key,
            now=now,
        )
    return movement


def _check_releasable(account: MarginAccount, asset: Asset) -> None:
    if account.frozen:
        raise UnableToRelease("the margin account is frozen")
    if why := obligations.holds_back(account.client, pledged_to=account):
        raise UnableToRelease(f"nothing is released while {why}")
    if why := breaks.blocks_releases(asset, account.client_id):
        raise UnableToRelease(why)


def _check_quantity(error: type[Exception], asset: Asset, quantity: Decimal) -> None:
    if not money.is_positive(quantity):
        raise error(f"{quantity} {asset.code} is not a quantity above zero")
    if quantity != money.quantize_down(quantity, asset.decimals):
        raise error(f"{money.text(quantity)} is finer than {asset.code} can move ({asset.decimals} decimals)")


def _check_at_most(quantity: Decimal, limit: Decimal, what: str) -> None:
    if not money.is_positive(quantity):
        raise UnableToHold(f"{quantity} is not a quantity above zero")
    if quantity > limit:
        raise UnableToHold(f"there are {money.text(limit)} {what}, not {money.text(quantity)}")


def _pledge_row(account: MarginAccount, asset: Asset, *, error: type[Exception] = UnableToHold) -> Pledge:
    row = Pledge.objects.select_for_update().filter(margin_account=account, asset=asset).first()
    if row is None:
        raise error(f"no {asset.code} is pledged for this margin account")
    return row


def _repeated(
    error: type[Exception], account: MarginAccount, asset: Asset, quantity: Decimal, *, kind: str, key: str
) -> PledgeMovement | None:
    first = PledgeMovement.objects.filter(key=key).first()
    if first is None:
        return None
    if (first.margin_account_id, first.asset_id, first.kind, first.quantity) != (account.pk, asset.pk, kind, quantity):
        raise error(f"the key {key} was used for another movement: {first.kind} of {money.text(first.quantity)}")
    return first


def _post(
    recipe: _Recipe,
    account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    key: str,
    effective_at: datetime,
    now: datetime,
    actor: User | None = None,
) -> Entry:
    heading = entries.Heading(
        key=key, effective_at=effective_at, book_id=margin_accounts.book_of(account).pk, client_id=account.client_id
    )
    given = {"margin_account_id": account.pk, "title": account.pledge_terms.by_title}
    return ledger.post(recipe(heading, asset=asset.code, quantity=quantity, **given), now=now, actor=actor)


def _finish(
    account: MarginAccount,
    row: Pledge,
    quantity: Decimal,
    *,
    kind: str,
    key: str,
    entry: Entry,
    now: datetime,
    maker: User | None = None,
    checker: User | None = None,
) -> PledgeMovement:
    row.save(update_fields=["quantity", "held_quantity"])
    margin_accounts.touch(account)
    return _moved(
        account,
        row.asset,
        quantity,
        kind=kind,
        key=key,
        effective_at=now,
        entry=entry,
        now=now,
        maker=maker,
        checker=checker,
    )


def _moved(
    account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    kind: str,
    key: str,
    effective_at: datetime,
    entry: Entry,
    now: datetime,
    maker: User | None = None,
    checker: User | None = None,
) -> PledgeMovement:
    moved = movement(
        account,
        asset,
        quantity,
        kind=kind,
        key=key,
        effective_at=effective_at,
        entry=entry,
        now=now,
        maker=maker,
        checker=checker,
    )
    moved.save(force_insert=True)
    news(moved).save(force_insert=True)
    return moved


def movement(account: MarginAccount, asset: Asset, quantity: Decimal, *, now: datetime, **more: Any) -> PledgeMovement:
    """Return a movement of collateral, not yet saved."""
    return PledgeMovement(
        client_id=account.client_id,
        margin_account=account,
        asset=asset,
        quantity=quantity,
        recorded_at=now,
        **more,
    )


def news(movement: PledgeMovement) -> Event:
    """Return the event, not yet saved, that tells of a movement."""
    facts = {
        "margin_account": str(movement.margin_account.public_id),
        "asset": movement.asset.code,
        "quantity": money.text(movement.quantity),
    }
    return events.new("collateral", movement.kind, facts, client_id=movement.client_id, now=movement.recorded_at)
