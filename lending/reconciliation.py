"""The proof that the ledger and the custodian agree: every balance, and every movement one by one."""

import contextlib
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Min, Q

from lending import access, breaks, custody, events, ledger, ports, withdrawals
from lending.engine import accounts, agreement, money
from lending.engine.agreement import Compared, Finding, Movement
from lending.engine.chart import AccountKind
from lending.models import (
    Asset,
    CustodyBreak,
    CustodyReading,
    Deposit,
    Entry,
    Reconciliation,
    ReconciliationLine,
    User,
    Withdrawal,
)
from lending.ports import Custodian, CustodianUnavailable, DepositReport, TransferReport

logger = logging.getLogger(__name__)

# How far back movements are compared; further back as long as a break is open.
WINDOW = timedelta(hours=24)
# What counts at the custodian and is not booked so long after is no longer on its way.
PATIENCE = timedelta(hours=1)
EXCHANGE_PATIENCE = timedelta(minutes=5)
ASKERS = breaks.WORKERS
_CODE_LENGTH = 40
_BOOKED = (Deposit.State.CREDITED, Deposit.State.UNMATCHED, Deposit.State.HELD, Deposit.State.BOOKED_OUT)
_Kind = CustodyBreak.Kind
_KINDS = (_Kind.WITHDRAWAL.value, _Kind.EXCHANGE.value)


class UnableToReconcile(Exception):
    """The custodian does not answer; nothing was compared."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at both books found, with what stands on each side of every asset."""

    compared: tuple[Compared, ...]
    balances: tuple[tuple[Asset, Decimal, Decimal, Decimal], ...]  # asset, ours, theirs, unexplained
    findings: Mapping[agreement.Key, Finding]


def reconcile_due(*, now: datetime) -> int:
    """Compare both books, keep the comparison if it is the day's first, and return how many breaks are open."""
    try:
        return reconcile(now=now)
    except UnableToReconcile as error:
        logger.warning("nothing was reconciled: %s", error)
        return 0


def reconcile(*, now: datetime, by: User | None = None) -> int:
    """
    Compare the ledger with the custodian, open and close breaks, and return how many are open.

    What is found is looked at a second time before it is a break, because the two sides are not read at one instant.
    The comparison is kept when somebody asked for it (`by`), and once a day.

    Raises
    ------
    UnableToReconcile
        If the custodian does not answer.
    lending.access.UnableToAccess
        If somebody asks who is neither of operations nor of risk.
    """
    if by is not None:
        access.require_role(by, *sorted(ASKERS))
    custody.poll_due(now=now)
    custodian = ports.custodian()
    try:
        look = _look(custodian, now)
        if look.findings:
            first, look = look, _look(custodian, now)
            look = _Look(look.compared, look.balances, _both(first.findings, look.findings))
    except CustodianUnavailable as error:
        raise UnableToReconcile(str(error)) from error
    return _keep(custodian.name, look, now, by)


def _both(
    first: Mapping[agreement.Key, Finding], second: Mapping[agreement.Key, Finding]
) -> dict[agreement.Key, Finding]:
    """Return what two looks found alike."""
    return {key: found for key, found in second.items() if key in first and _amounts(first[key]) == _amounts(found)}


def _amounts(found: Finding) -> tuple[Decimal, Decimal]:
    return found.ours, found.theirs


# --- looking ----------------------------------------------------------------------------------------------------------


def _look(custodian: Custodian, now: datetime) -> _Look:
    oldest = breaks.standing().filter(custodian=custodian.name).aggregate(at=Min("found_at"))["at"]
    since = min(now, oldest or now) - WINDOW
    assets = list(Asset.objects.order_by("code"))
    booked = CustodyBreak.objects.filter(custodian=custodian.name, booked=True)
    settled = [(row.kind, row.ref, row.code) for row in booked]
    compared = (
        _compare_deposits(custodian, since, settled, now),
        *_compare_transfers(custodian, since, settled, now),
    )
    theirs = {_code(said): held for said, held in custodian.balances(at=now).items()}
    keys = {asset: accounts.custody(asset.code, custodian.name) for asset in assets}
    ours = ledger.balances(keys.values())
    found = {item.key: item for part in compared for item in part.findings}
    balances = []
    for asset, key in keys.items():
        held = theirs.get(asset.code, money.ZERO)
        rest, finding = agreement.balance(asset.code, ours[key], held, compared)
        balances.append((asset, ours[key], held, rest))
        if finding:
            found[finding.key] = finding
    aside = breaks.set_aside(custodian.name)
    for code in theirs.keys() - {asset.code for asset in assets}:
        ours_of_it = aside.get(code, money.ZERO)  # what is in no books is no break once two persons have set it aside
        if finding := agreement.balance(code, ours_of_it, theirs[code], compared)[1]:
            found[finding.key] = finding
    return _Look(compared, tuple(balances), found)


def _compare_deposits(
    custodian: Custodian, since: datetime, settled: Iterable[agreement.Key], now: datetime
) -> Compared:
    mine = Deposit.objects.filter(custodian=custodian.name)
    after = max(mine.filter(seen_at__lt=since).aggregate(last=Max("position"))["last"] or 0, 0)
    # Below zero stand the receipts that a bank statement told of before the custodian did.
    told_first = Q(position__lt=0, seen_at__gte=since)
    asked = mine.filter(~Q(state__in=_BOOKED) | told_first).values_list("custodian_ref", flat=True)
    needed = {row.code: row.needed for row in Asset.objects.annotate(needed=Max("networks__confirmations"))}
    reports = custodian.deposits(
        after=after, refs=list(asked), needed={code: count for code, count in needed.items() if count}, at=now
    )
    theirs = {report.ref: _told_deposit(report) for report in reports}
    rows = mine.filter(Q(position__gt=after) | told_first | Q(custodian_ref__in=theirs)).select_related("asset")
    ours = {row.custodian_ref: _own_deposit(row) for row in rows}
    return agreement.compare(
        _Kind.DEPOSIT, ours, theirs, now=now, patience=PATIENCE, asked_by_us=False, settled=settled
    )


def _told_deposit(report: DepositReport) -> Movement:
    standing = "gone from the chain" if report.reorged else f"with {report.confirmations} confirmations"
    return Movement(
        deltas=((_code(report.asset), report.quantity),),
        counts=report.confirmations > 0 and not report.reorged,
        standing=standing,
        since=report.confirmed_at,
    )


def _own_deposit(row: Deposit) -> Movement:
    since = row.confirmed_at
    if row.position < 0 and row.credited_at:
        since = row.credited_at + PATIENCE  # so long the custodian may take to tell what the bank has told
    never_came_back = row.state == Deposit.State.BOOKED_OUT and row.confirmed_at is None
    return Movement(
        deltas=((row.asset.code, row.quantity),),
        counts=row.state in _BOOKED and not never_came_back,
        standing=row.get_state_display().lower(),
        since=since,
    )


def _compare_transfers(
    custodian: Custodian, since: datetime, settled: Iterable[agreement.Key], now: datetime
) -> tuple[Compared, Compared]:
    told = custodian.transfers(since=since, at=now)
    theirs = {kind: {row.client_id: _told_transfer(row) for row in told if row.kind == kind} for kind in _KINDS}
    # Ours are looked for a little less far back: at the very edge one side would be in the window and not the other.
    from_ = since + PATIENCE
    rows = Withdrawal.objects.filter(
        Q(state__in=withdrawals.ON_THE_WAY) | Q(done_at__gte=from_) | Q(public_id__in=_ids(theirs["withdrawal"]))
    ).select_related("asset")
    sent = {str(row.public_id): _own_withdrawal(row) for row in rows}
    booked = Entry.objects.filter(kind="settlement").filter(
        Q(effective_at__gte=from_) | Q(idempotency_key__in=theirs["exchange"])
    )
    exchanged = {
        entry.idempotency_key: _own_exchange(entry)
        for entry in booked.prefetch_related("postings__asset", "postings__account")
    }
    return (
        agreement.compare(
            _Kind.WITHDRAWAL, sent, theirs["withdrawal"], now=now, patience=PATIENCE, asked_by_us=True, settled=settled
        ),
        agreement.compare(
            _Kind.EXCHANGE,
            exchanged,
            theirs["exchange"],
            now=now,
            patience=EXCHANGE_PATIENCE,
            asked_by_us=False,
            settled=settled,
        ),
    )


def _told_transfer(row: TransferReport) -> Movement:
    standing = "on its way"
    if row.refused:
        standing = "refused"
    elif row.executed_at:
        standing = f"executed {row.executed_at:%d %b %H:%M:%S}"
    return Movement(
        deltas=_whole(row.deltas), counts=row.executed_at is not None, standing=standing, since=row.executed_at
    )


def _own_withdrawal(row: Withdrawal) -> Movement:
    return Movement(
        deltas=((row.asset.code, row.quantity.copy_negate()),),
        counts=row.state == Withdrawal.State.DONE,
        standing=row.get_state_display().lower(),
        since=row.done_at,
        final=row.state == Withdrawal.State.FAILED,
    )


def _own_exchange(entry: Entry) -> Movement:
    held = [line for line in entry.postings.all() if line.account.kind == AccountKind.CUSTODY]
    deltas = _whole((line.asset.code, line.amount) for line in held)
    return Movement(deltas=deltas, counts=True, standing="booked", since=entry.effective_at)


def _whole(deltas: Iterable[tuple[str, Decimal]]) -> agreement.Deltas:
    """Return deltas in one order, without those that change nothing: dust is sold for nothing."""
    return tuple(sorted((_code(asset), delta) for asset, delta in deltas if delta))


def _code(said: str) -> str:
    """Return the code of an asset as it is kept: whatever a custodian calls it, a difference has a name."""
    return said.strip()[:_CODE_LENGTH] or "?"


def _ids(refs: Iterable[str]) -> list[uuid.UUID]:
    """Return those of a custodian's ids that can be ours."""
    found = []
    for ref in refs:
        with contextlib.suppress(ValueError):
            found.append(uuid.UUID(ref))
    return found


# --- keeping ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def _keep(custodian: str, look: _Look, now: datetime, by: User | None) -> int:
    """Open, move on and close breaks as a look says, keep the look where it is to be kept, and count what is open."""
    reading, _ = CustodyReading.objects.get_or_create(custodian=custodian, defaults={"read_at": now})
    locked = CustodyReading.objects.select_for_update().get(pk=reading.pk)  # one comparison at a time is written down
    assets = {asset.code: asset for asset in Asset.objects.all()}
    known = {(row.kind, row.ref, row.code): row for row in breaks.standing().filter(custodian=custodian)}
    for key in [key for key, row in known.items() if row.asset_id is None and row.code in assets]:
        breaks.close(known.pop(key), "the desk knows this asset by now", now=now)
    for key, found in look.findings.items():
        if row := known.pop(key, None):
            row.seen_at, row.words = now, _words(found, row.asset_id)
            row.ledger_quantity, row.custodian_quantity = found.ours, found.theirs
            row.save(update_fields=["seen_at", "words", "ledger_quantity", "custodian_quantity"])
        else:
            _open(custodian, found, assets.get(found.asset), now)
    for row in known.values():
        breaks.close(row, "both books agree again", now=now)
    CustodyReading.objects.filter(pk=locked.pk).update(reconciled_at=now)
    count = len(look.findings)
    if by is not None or not Reconciliation.objects.filter(custodian=custodian, day=now.date()).exists():
        _note(custodian, look, count, now, by)
    return count


def _open(custodian: str, found: Finding, asset: Asset | None, now: datetime) -> None:
    logger.error("custody break: %s", found.words)
    row = CustodyBreak.objects.create(
        custodian=custodian,
        asset=asset,
        code=found.asset,
        kind=found.kind,
        ref=found.ref,
        words=_words(found, asset),
        ledger_quantity=found.ours,
        custodian_quantity=found.theirs,
        found_at=now,
        seen_at=now,
    )
    events.emit("custody", "break", breaks.facts(row), now=now)


def _words(found: Finding, asset: object) -> str:
    return (found.words if asset else f"{found.words}; the desk knows no such asset")[:300]


def _note(custodian: str, look: _Look, count: int, now: datetime, by: User | None) -> None:
    kept = Reconciliation.objects.create(
        custodian=custodian,
        day=None if by else now.date(),
        made_at=now,
        asked_by=by,
        checked=sum(part.movements for part in look.compared),
        breaks=count,
    )
    ReconciliationLine.objects.bulk_create(
        ReconciliationLine(
            reconciliation=kept,
            asset=asset,
            ledger_quantity=ours,
            custodian_quantity=theirs,
            under_way=_sum(part.under_way.get(asset.code) for part in look.compared),
            in_breaks=_sum(part.in_findings.get(asset.code) for part in look.compared),
            unexplained=rest,
        )
        for asset, ours, theirs, rest in look.balances
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    with money.exact():
        return sum((amount for amount in amounts if amount), money.ZERO)
