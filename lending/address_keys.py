"""
Extended public keys: from which deposit addresses are derived, one after the other, without anybody here being able to
spend from them.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from lending import access, approvals, audit, reasons
from lending.engine import addresses
from lending.engine.addresses import UnableToDerive
from lending.models import AddressKey, Approval, Asset, AssetNetwork, DepositAddress, Role, User

KIND = "address_key"
ASKERS = frozenset({Role.OPERATIONS})
RETIRERS = ASKERS | access.RISK_ROLES


class UnableToUse(Exception):
    """An extended public key can not be used; the message says why, and never repeats the key."""


def standing() -> QuerySet[AddressKey]:
    """Return the keys from which addresses are derived now, one per chain at most."""
    return AddressKey.objects.filter(retired_at=None).select_related("maker", "checker").order_by("chain")


def waiting(*, now: datetime) -> list[Approval]:
    """Return the keys that wait for a second person."""
    found = Approval.objects.filter(kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    return list(found.select_related("maker").order_by("requested_at", "pk"))


def ask(chain: str, xpub: str, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to have a chain's deposit addresses derived from an extended public key.

    The request shows the key's first address, to be held against what the custodian's own wallet shows.

    Raises
    ------
    UnableToUse
        If the key is private, damaged or made for another chain, was used before, or nothing is said of its origin.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    access.require_role(maker, *ASKERS)
    key = xpub.strip()
    try:
        first = addresses.derive(key, chain, 0)
    except UnableToDerive as error:
        raise UnableToUse(str(error)) from error
    said = reasons.kept(reason, UnableToUse, missing="say where it comes from")
    # One key has several spellings: what it derives says which it is.
    if any(addresses.derive(row.xpub, chain, 0) == first for row in AddressKey.objects.filter(chain=chain)):
        raise UnableToUse("it was used before: the same addresses would be given out again")
    if any(row.payload["first_address"] == first for row in waiting(now=now)):
        raise UnableToUse("it was asked for already")
    payload = {"chain": chain, "xpub": key, "first_address": first, "reason": said}
    return approvals.request(KIND, payload, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> AddressKey:
    """
    Use a key as two persons agreed, in place of the one that its chain had.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was used meanwhile.
    """
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    for row in AddressKey.objects.select_for_update().filter(chain=asked["chain"], retired_at=None):
        row.retired_at, row.retired_by = now, checker
        row.save(update_fields=["retired_at", "retired_by"])
    try:
        with transaction.atomic():
            key = AddressKey.objects.create(
                chain=asked["chain"], xpub=asked["xpub"], maker=approval.maker, checker=checker, used_from=now
            )
    except IntegrityError as refused:
        raise approvals.UnableToApprove("it was used before") from refused
    after = {"chain": key.chain, "first_address": asked["first_address"]}
    audit.write("address_key_used", actor=checker, obj=key, after=after, reason=asked["reason"], now=now)
    return key


@transaction.atomic
def retire(row: AddressKey, *, by: User, now: datetime) -> AddressKey:
    """Derive nothing more from a key; what was given out stays watched. One person is enough to stop."""
    access.require_role(by, *RETIRERS)
    if AddressKey.objects.filter(pk=row.pk, retired_at=None).update(retired_at=now, retired_by=by):
        audit.write("address_key_retired", actor=by, obj=row, before={"chain": row.chain}, now=now)
    row.refresh_from_db()
    return row


def of_assets(assets: Sequence[Asset]) -> dict[int, AddressKey]:
    """Return, by asset, the key whose addresses it can arrive at; an asset of no such chain has none."""
    keys = {key.chain: key for key in standing()}
    if not keys:
        return {}
    chains: defaultdict[int, set[str]] = defaultdict(set)
    for asset_id, chain in AssetNetwork.objects.filter(asset__in=assets).values_list("asset", "chain"):
        chains[asset_id].add(chain)
    found = {}
    for asset in assets:
        usable = [chain for chain in addresses.CHAINS if chain in chains[asset.pk] and chain in keys]
        if usable:
            found[asset.pk] = keys[usable[0]]
    return found


@transaction.atomic
def give_out(key: AddressKey, wanted: Sequence[DepositAddress]) -> list[DepositAddress]:
    """
    Derive the next addresses of a key for rows that have none yet, save them, and return them.

    The key's row is locked: indexes are given out one after the other, and one that was not used is given out next,
    so that a wallet that stops at a gap of unused addresses finds every one. What another process opened meanwhile is
    left out.
    """
    locked = AddressKey.objects.select_for_update().get(pk=key.pk)
    accounts = {row.margin_account_id for row in wanted}
    opened = DepositAddress.objects.filter(margin_account__in=accounts)
    known = set(opened.values_list("margin_account", "asset", "purpose"))
    rows = [row for row in wanted if (row.margin_account_id, row.asset_id, row.purpose) not in known]
    for index, row in enumerate(rows, start=locked.next_index):
        row.address_key, row.index = locked, index
        row.address = addresses.derive(locked.xpub, locked.chain, index)
    return DepositAddress.objects.bulk_create(rows)
