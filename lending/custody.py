"""Coins and cash at the custodian: addresses, deposits in, withdrawals out, and the proof that both books agree."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max, Sum

from lending import arrivals, events, ids, ledger, ports, withdrawals
from lending.engine import accounts, money
from lending.models import (
    Asset,
    CustodyBreak,
    CustodyReading,
    Deposit,
    DepositAddress,
    Event,
    Loan,
    MarginAccount,
    Withdrawal,
)
from lending.ports import CustodianRefused, CustodianUnavailable, DepositReport

logger = logging.getLogger(__name__)

MOST_WAITING = 2000
_WAITING = (Deposit.State.PENDING, Deposit.State.CONFIRMED)


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
    custodian = ports.custodian()
    rows = [
        DepositAddress(
            client_id=account.client_id,
            margin_account=account,
            asset=asset,
            purpose=purpose,
            address=custodian.deposit_address(f"{account.public_id}:{purpose}", asset.code),
            created_at=now,
        )
        for account, asset, purpose in wanted
    ]
    DepositAddress.objects.bulk_create(rows, ignore_conflicts=True)


# --- deposits -------------------------------------------------------------------------------------------------------


def poll_due(*, now: datetime) -> int:
    """
    Take down what the custodian reports of deposits, and return how many are new or have changed.

    A deposit is dated by the confirmation it needed, as the custodian saw it, and not by this look at it: an outage of
    either side must not make coins late that were there in time. Each look that saw everything leaves its instant.
    """
    custodian = ports.custodian()
    assets = {row.code: row for row in Asset.objects.annotate(needed=Max("networks__confirmations"))}
    needed = {code: row.needed for code, row in assets.items() if row.needed}
    mine = Deposit.objects.filter(custodian=custodian.name)
    read = max(mine.aggregate(last=Max("position"))["last"] or 0, 0)
    pending = mine.filter(state=Deposit.State.PENDING).order_by("position")
    waiting = list(pending.values_list("custodian_ref", flat=True)[:MOST_WAITING])
    try:
        reports = custodian.deposits(after=read, refs=waiting, needed=needed, at=now)
    except CustodianUnavailable as error:
        logger.warning("deposits were not read: %s", error)
        return 0
    with transaction.atomic():
        taken = _take_down(reports, waiting, assets, custodian.name, now) if reports else 0
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


def _take_down(
    reports: list[DepositReport],
    waiting: Collection[str],
    assets: Mapping[str, Any],
    custodian: str,
    now: datetime,
) -> int:
    addresses = DepositAddress.objects.filter(address__in={report.address for report in reports})
    by_address = {(row.address, row.asset_id): row for row in addresses}
    # Read again under a lock: another poller may have taken the same news down, and it may be credited by now.
    mine = Deposit.objects.filter(custodian=custodian)
    rows = mine.select_for_update().filter(custodian_ref__in=waiting, state=Deposit.State.PENDING)
    pending = {row.custodian_ref: row for row in rows.order_by("position")}
    # What a bank statement told first is the same receipt, and is not counted again.
    told = mine.filter(custodian_ref__in=[report.ref for report in reports], position__lt=0)
    known = {*waiting, *told.values_list("custodian_ref", flat=True)}
    new, changed = [], []
    for report in reports:
        asset = assets.get(report.asset)
        row = pending.get(report.ref)
        if row is None and report.ref in known:
            continue
        if asset is None:
            logger.error("deposit %s of %s: no such asset", report.ref, report.asset)
            continue
        if row is None:
            address = by_address.get((report.address, asset.pk))
            row = _deposit(report, asset, address, custodian, now)
            new.append(row)
        elif (row.confirmations, row.screened) != (report.confirmations, report.screened) or report.reorged:
            changed.append(row)
        else:
            continue
        row.confirmations, row.screened = report.confirmations, report.screened
        needed = asset.needed or 1
        if report.reorged:
            row.state = Deposit.State.REORGED
            continue
        # A transfer that is in no block yet can be replaced: where one confirmation is all, none is the final one.
        if row.final_since is None and 1 <= needed - 1 <= report.confirmations:
            row.final_since = now
        if report.confirmations >= needed:
            row.state, row.confirmed_at = Deposit.State.CONFIRMED, _confirmed_at(report, row, now)
    Deposit.objects.bulk_create(new, ignore_conflicts=True)
    Deposit.objects.bulk_update(changed, ["confirmations", "screened", "final_since", "state", "confirmed_at"])
    Event.objects.bulk_create(arrivals.news(row.state, row, now) for row in (*new, *changed))
    return len(new) + len(changed)


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


# --- reconciliation -------------------------------------------------------------------------------------------------


def reconcile(*, now: datetime) -> int:
    """
    Hold the ledger's custody against the custodian's balances, and return how many assets disagree.

    A difference is no break as far as deposits that are not credited yet, or withdrawals that are under way, can
    explain it, or while it was seen in one round only. A break blocks releases of its asset until a later round finds
    none.
    """
    poll_due(now=now)
    custodian = ports.custodian()
    try:
        held = custodian.balances(at=now)
    except CustodianUnavailable as error:
        logger.warning("nothing was reconciled: %s", error)
        return 0
    assets = Asset.objects.order_by("code")
    return sum(_reconcile(asset, held.get(asset.code, money.ZERO), custodian.name, now) for asset in assets)


@transaction.atomic
def _reconcile(asset: Asset, held: Decimal, custodian: str, now: datetime) -> int:
    booked = ledger.balance(accounts.custody(asset.code, custodian))
    coming = Deposit.objects.filter(asset=asset, custodian=custodian, state__in=_WAITING)
    going = Withdrawal.objects.filter(asset=asset, state__in=withdrawals.ON_THE_WAY)
    with money.exact():
        gap = held - booked
        explained = -_sum(going) <= gap <= _sum(coming)
    seen = CustodyBreak.objects.select_for_update().filter(custodian=custodian, asset=asset).order_by("-pk").first()
    if explained:
        if seen is not None and seen.closed_at is None:
            seen.closed_at = now
            seen.save(update_fields=["closed_at"])
            logger.info("custody of %s agrees again", asset.code)
        return 0
    if seen is None or (seen.closed_at is not None and not _seen_once(seen, gap)):
        # An exchange with a dealer is executed a moment before it is booked: only what is still there in the next
        # round is a break. Until then it is a row that closed when it was found.
        CustodyBreak.objects.create(
            custodian=custodian,
            asset=asset,
            ledger_quantity=booked,
            custodian_quantity=held,
            found_at=now,
            closed_at=now,
        )
        return 0
    if seen.closed_at is not None:
        logger.error("custody break: the ledger has %s %s, %s has %s", booked, asset.code, custodian, held)
        facts = {"asset": asset.code, "ledger": money.text(booked), "custodian": money.text(held)}
        events.emit("custody", "break", facts, now=now)
    seen.closed_at, seen.ledger_quantity, seen.custodian_quantity = None, booked, held
    seen.save(update_fields=["closed_at", "ledger_quantity", "custodian_quantity"])
    return 1


def _seen_once(row: CustodyBreak, gap: Decimal) -> bool:
    """Return whether the same difference was seen in one round and in no other."""
    with money.exact():
        return row.closed_at == row.found_at and row.custodian_quantity - row.ledger_quantity == gap


def _sum(rows: Any) -> Decimal:
    return rows.aggregate(total=Sum("quantity"))["total"] or money.ZERO
