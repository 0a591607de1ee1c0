"""Coins and cash at the custodian: addresses, deposits in, withdrawals out, exchanges with dealers."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from lending import address_keys, arrivals, ids, outbox, ports, withdrawals
from lending.models import (
    Asset,
    CustodyReading,
    Deposit,
    DepositAddress,
    Event,
    Loan,
    MarginAccount,
)
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport

logger = logging.getLogger(__name__)

MOST_WAITING = 2000
# What the chain dropped may come back in another block; after so long it is the reconciliation that finds it.
RETURNS_WITHIN = timedelta(days=7)
_State = Deposit.State
_OPEN = (_State.PENDING, _State.CONFIRMED, _State.REORGED)


credit_due = arrivals.credit_due
send_due = withdrawals.send_due


class UnableToSettle(Exception):
    """The custodian refuses a delivery versus payment; the message says why."""


# --- addresses ------------------------------------------------------------------------------------------------------


def open_addresses(payload: Mapping[str, Any], *, now: datetime) -> None:
    """Open the deposit addresses of a margin account: the outbox handler for `custody.address`."""
    open_all([MarginAccount.objects.get(public_id=payload["margin_account"])], now=now)


def open_all(margin_accounts: Sequence[MarginAccount], *, now: datetime) -> None:
    """Open the deposit addresses of margin accounts: every crypto asset can be pledged, payments come as lent."""
    purposes = DepositAddress.Purpose
    crypto = list(Asset.objects.filter(kind=Asset.Kind.CRYPTO).order_by("code"))
    wanted = [(account, asset, purposes.COLLATERAL) for account in margin_accounts for asset in crypto]
    of_loans = Loan.objects.filter(margin_account__in=margin_accounts).select_related("asset", "margin_account")
    lent = {(loan.margin_account, loan.asset): None for loan in of_loans.order_by("public_id")}
    wanted += [(account, asset, purposes.REPAYMENT) for account, asset in lent]
    keys = address_keys.of_assets(list({asset.pk: asset for _, asset, _ in wanted}.values()))
    derived: defaultdict[int, list[DepositAddress]] = defaultdict(list)
    own = []
    for account, asset, purpose in wanted:
        row = DepositAddress(
            client_id=account.client_id, margin_account=account, asset=asset, purpose=purpose, created_at=now
        )
        if key := keys.get(asset.pk):
            derived[key.pk].append(row)
        else:
            row.address = ports.custodian().deposit_address(f"{account.public_id}:{purpose}", asset.code)
            own.append(row)
    DepositAddress.objects.bulk_create(own, ignore_conflicts=True)
    # Always in the order of the chains, so that two who open addresses do not wait for each other.
    for key in sorted({key.pk: key for key in keys.values()}.values(), key=lambda key: key.chain):
        for row in address_keys.give_out(key, derived[key.pk]):
            outbox.put("custody.watch", {"address": row.address}, key=f"watch:{row.address}", now=now)


def watch_address(payload: Mapping[str, Any], *, now: datetime) -> None:
    """Have the custodian watch a derived address, from when on it is shown: the outbox handler for `custody.watch`."""
    row = DepositAddress.objects.select_related("asset", "margin_account").get(address=payload["address"])
    reference = f"{row.margin_account.public_id}:{row.purpose}"
    ports.custodian().watch(row.address, asset=row.asset.code, reference=reference, at=now)
    DepositAddress.objects.filter(pk=row.pk, watched_at=None).update(watched_at=now)


# --- deposits -------------------------------------------------------------------------------------------------------


def poll_due(*, now: datetime) -> int:
    """
    Take down what the custodian reports of deposits, and return how many are new or have changed.

    A deposit is dated by the confirmation it needed, as the custodian saw it, and not by this look at it: an outage of
    either side must not make coins late that were there in time. Each look that saw everything leaves its instant.
    What is confirmed and not credited yet, was dropped by its chain, or is kept apart, however long, is asked about
    again.
    """
    custodian = ports.custodian()
    assets = {row.code: row for row in Asset.objects.annotate(needed=Max("networks__confirmations"))}
    needed = {code: row.needed for code, row in assets.items() if row.needed}
    mine = Deposit.objects.filter(custodian=custodian.name)
    read = max(mine.aggregate(last=Max("position"))["last"] or 0, 0)
    pending = mine.filter(state=_State.PENDING).order_by("position")
    waiting = list(pending.values_list("custodian_ref", flat=True)[:MOST_WAITING])
    lately = mine.filter(state=_State.REORGED, seen_at__gt=now - RETURNS_WITHIN)
    doubtful = mine.filter(state__in=(_State.CONFIRMED, _State.HELD)) | lately
    again = doubtful.order_by("-position").values_list("custodian_ref", flat=True)[:MOST_WAITING]
    try:
        reports = custodian.deposits(after=read, refs=[*waiting, *again], needed=needed, at=now)
    except CustodianUnavailable as error:
        logger.warning("deposits were not read: %s", error)
        return 0
    with transaction.atomic():
        taken = _take_down(reports, assets, custodian.name, now) if reports else 0
        if len(waiting) < MOST_WAITING:
            _note_reading(custodian.name, now)
    return taken


def unheard(margin_account_id: int, at: datetime) -> str:
    """Return why it is not known yet what had arrived at a margin account by an instant; "" when it is."""
    if not CustodyReading.objects.filter(custodian=ports.custodian().name, read_at__gte=at).exists():
        return "the custodian was not heard since the deadline"
    arrived = Deposit.objects.filter(
        address__margin_account=margin_account_id, state=Deposit.State.CONFIRMED, confirmed_at__lte=at
    )
    return "a transfer that arrived in time is being credited" if arrived.exists() else ""


def _note_reading(custodian: str, now: datetime) -> None:
    """Note until when everything that the custodian saw is known; a slower worker's older look changes nothing."""
    known, made = CustodyReading.objects.get_or_create(custodian=custodian, defaults={"read_at": now})
    if not made and known.read_at < now:
        CustodyReading.objects.filter(custodian=custodian, read_at__lt=now).update(read_at=now)


def _take_down(reports: list[DepositReport], assets: Mapping[str, Any], custodian: str, now: datetime) -> int:
    addresses = DepositAddress.objects.filter(address__in={report.address for report in reports})
    by_address = {(row.address, row.asset_id): row for row in addresses}
    # Read again under a lock: another poller may have taken the same news down, and it may be credited by now.
    refs = [report.ref for report in reports]
    rows = Deposit.objects.select_for_update().filter(custodian=custodian, custodian_ref__in=refs)
    known = {row.custodian_ref: row for row in rows.order_by("position")}
    new, changed = [], []
    for report in reports:
        asset = assets.get(report.asset)
        row = known.get(report.ref)
        if asset is None:
            logger.error("deposit %s of %s: no such asset", report.ref, report.asset)
        elif row is None:
            address = by_address.get((report.address, asset.pk))
            row = _deposit(report, asset, address, custodian, now)
            _move(row, report, asset.needed or 1, now)
            new.append(row)
        elif _is_news(row, report, asset.needed or 1):
            _move(row, report, asset.needed or 1, now)
            changed.append(row)
    Deposit.objects.bulk_create(new, ignore_conflicts=True)
    Deposit.objects.bulk_update(changed, ["confirmations", "screened", "final_since", "state", "confirmed_at"])
    Event.objects.bulk_create(arrivals.news(row.state, row, now) for row in (*new, *changed))
    return len(new) + len(changed)


def _is_news(row: Deposit, report: DepositReport, needed: int) -> bool:
    """Return whether a report changes what is known; what is credited is the reconciliation's to look at."""
    if row.state == _State.PENDING:
        return report.reorged or (row.confirmations, row.screened) != (report.confirmations, report.screened)
    if row.state == _State.HELD:
        return (row.screened, row.confirmed_at is not None) != (report.screened, _is_there(report, needed))
    return row.state in _OPEN and report.reorged != (row.state == _State.REORGED)


def _is_there(report: DepositReport, needed: int) -> bool:
    return report.confirmations >= needed and not report.reorged


def _move(row: Deposit, report: DepositReport, needed: int, now: datetime) -> None:
    """Bring a deposit that is not credited to where the custodian sees it."""
    row.confirmations, row.screened = report.confirmations, report.screened
    if row.state == _State.HELD:  # what its chain dropped meanwhile is not to be let in: it is not there
        there = _is_there(report, needed)
        row.confirmed_at = (row.confirmed_at or _confirmed_at(report, row, now)) if there else None
        return
    if report.reorged:
        row.state, row.confirmed_at, row.final_since = _State.REORGED, None, None
        return
    row.state = _State.PENDING
    # A transfer that is in no block yet can be replaced: where one confirmation is all, none is the final one.
    if row.final_since is None and 1 <= needed - 1 <= report.confirmations:
        row.final_since = now
    if report.confirmations >= needed:
        row.state, row.confirmed_at = _State.CONFIRMED, _confirmed_at(report, row, now)


def _confirmed_at(report: DepositReport, row: Deposit, now: datetime) -> datetime:
    """
    Return when a deposit had the confirmations it needs: as reported, not after now, not before it was first seen.

    An instant that lies ahead contradicts the report that it has happened: it is refused, and the coins, which are
    there, count from now.
    """
    said = report.confirmed_at
    if said is None or said > now:
        logger.error("deposit %s: confirmed, and by %s only at %s", report.ref, row.custodian, said)
        said = now
    return max(said, row.seen_at)


def _deposit(
    report: DepositReport, asset: Asset, address: DepositAddress | None, custodian: str, now: datetime
) -> Deposit:
    return Deposit(
        public_id=ids.derived("deposit", custodian, report.ref),
        custodian=custodian,
        custodian_ref=report.ref,
        position=report.position,
        client_id=address.client_id if address else None,
        sent_to=report.address,
        address=address,
        asset=asset,
        quantity=report.quantity,
        seen_at=min(report.seen_at, now),
    )


# --- settlement with dealers ----------------------------------------------------------------------------------------


def deliver_versus_payment(
    key: str,
    *,
    deliver_asset: str,
    deliver_quantity: Decimal,
    receive_asset: str,
    receive_quantity: Decimal,
    counterparty: str,
    now: datetime,
) -> bool:
    """
    Have the custodian exchange one asset against another with a dealer, once per key, and return whether it is done.

    False means that it is not known yet: ask again with the same key. The caller books it, outside any lock it holds
    meanwhile.

    Raises
    ------
    UnableToSettle
        If the custodian refuses.
    """
    custodian = ports.custodian()
    try:
        report = custodian.settlement(key, at=now) or custodian.settle(
            key,
            deliver_asset=deliver_asset,
            deliver_quantity=deliver_quantity,
            receive_asset=receive_asset,
            receive_quantity=receive_quantity,
            counterparty=counterparty,
            at=now,
        )
    except CustodianUnavailable as error:
        logger.warning("settlement %s: %s; it will be queried", key, error)
        return False
    except CustodianRefused as error:
        raise UnableToSettle(str(error)) from error
    if report.refused:
        raise UnableToSettle(report.refused)
    return report.executed_at is not None
