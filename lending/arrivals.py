"""What arrived and is confirmed: credited to its client, then put to the purpose of its address."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from lending import (
    collateral,
    events,
    ledger,
    loans,
    margin_accounts,
    ports,
    prepayments,
    repayments,
    shared_transfers,
    term_sheets,
    workouts,
)
from lending.engine import entries, money
from lending.models import (
    Asset,
    Deposit,
    DepositAddress,
    Event,
    Loan,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Repayment,
    User,
)
from lending.ports import CustodianUnavailable

logger = logging.getLogger(__name__)

LIMIT = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrival:
    """Collateral that is credited to its client and to be pledged, for a margin account that is locked."""

    account: MarginAccount
    asset: Asset
    quantity: Decimal
    kind: str
    key: str
    received_at: datetime
    book_id: int


def credit_due(*, now: datetime, limit: int = LIMIT) -> int:
    """
    Credit each confirmed deposit once: to its client, then as collateral or as a payment, by its address' purpose.

    Collateral goes in one set, because in a crash it comes in hundreds. What arrives at an unknown address is kept on
    an account of its own until somebody matches it, and so is what the custodian objects to the sender of, until it
    objects no more: it may have looked at it only after the last confirmation.
    """
    cleared = Q(state=Deposit.State.HELD, screened=True, confirmed_at__isnull=False)
    due = Deposit.objects.filter(Q(state=Deposit.State.CONFIRMED) | cleared).order_by("confirmed_at", "position")
    found = dict(due.values_list("pk", "state")[:limit])
    if not found:
        return 0
    held = [pk for pk, state in found.items() if state == Deposit.State.HELD]
    credited = _credit_collateral([*found], now)
    singly = sum(credit(pk, now=now) for pk in found if pk not in credited)
    return len(credited) + singly + sum(let_in(pk, now=now) is not None for pk in held)


@transaction.atomic
def _credit_collateral(keys: list[int], now: datetime) -> set[int]:
    """Credit and pledge the collateral among some deposits, all at once, and return which were credited."""
    rows = Deposit.objects.select_for_update(of=("self",), skip_locked=True).select_related("asset", "address")
    rows = rows.filter(pk__in=keys, state=Deposit.State.CONFIRMED, screened=True)
    collateral_only = rows.filter(address__purpose=DepositAddress.Purpose.COLLATERAL)
    deposits = [row for row in collateral_only.order_by("confirmed_at", "position") if _can_be_pledged(row)]
    if not deposits:
        return set()
    locked = margin_accounts.lock_many(row.address.margin_account_id for row in deposits if row.address)
    accounts = {account.pk: account for account in locked}
    books = margin_accounts.books_of(locked)
    running = set(
        Loan.objects.filter(margin_account__in=accounts, state__in=loans.OWING).values_list(
            "margin_account_id", flat=True
        )
    )
    arrived, pledged = [], []
    for row, address in ((row, row.address) for row in deposits if row.address):
        account = accounts[address.margin_account_id]
        heading = _heading(row, books[account.pk], now)
        arrived.append(entries.deposit(heading, asset=row.asset.code, quantity=row.quantity, custodian=row.custodian))
        pledged.append(
            _Arrival(
                account=account,
                asset=row.asset,
                quantity=row.quantity,
                kind=PledgeMovement.Kind.TOP_UP if account.pk in running else PledgeMovement.Kind.PLEDGE,
                key=_key("pledge", row),
                received_at=row.confirmed_at or now,
                book_id=books[account.pk],
            )
        )
        row.state, row.credited_at = Deposit.State.CREDITED, now
    ledger.post_many(arrived, now=now)
    _pledge_all(pledged, now=now)
    Deposit.objects.filter(pk__in=[row.pk for row in deposits]).update(state=Deposit.State.CREDITED, credited_at=now)
    Event.objects.bulk_create(news(row.state, row, now) for row in deposits)
    return {row.pk for row in deposits}


def _pledge_all(arrivals: Sequence[_Arrival], *, now: datetime) -> None:
    """Pledge what has just been credited, as many single pledges would, in a handful of statements."""
    titled = margin_accounts.by_title(item.account for item in arrivals)
    drafts = [
        entries.pledge(
            entries.Heading(
                key=item.key,
                effective_at=item.received_at,
                book_id=item.book_id,
                client_id=item.account.client_id,
            ),
            asset=item.asset.code,
            quantity=item.quantity,
            margin_account_id=item.account.pk,
            title=item.account.pk in titled,
        )
        for item in arrivals
    ]
    posted = ledger.post_many(drafts, now=now)
    rows = {(row.margin_account_id, row.asset_id): row for row in _pledges_of(arrivals)}
    new = {item.account.pk for item in arrivals if (item.account.pk, item.asset.pk) not in rows}
    off = term_sheets.haircuts_of(new) if new else {}
    for item in arrivals:
        key = (item.account.pk, item.asset.pk)
        if key not in rows:
            rows[key] = Pledge(
                client_id=item.account.client_id,
                margin_account=item.account,
                asset=item.asset,
                quantity=money.ZERO,
                haircut=off.get(item.account.pk, {}).get(item.asset.code, term_sheets.HAIRCUT),
            )
        with money.exact():
            rows[key].quantity += item.quantity
    Pledge.objects.bulk_create(row for row in rows.values() if row.pk is None)
    Pledge.objects.bulk_update((row for row in rows.values() if row.pk is not None), ["quantity"])
    margin_accounts.touch_many(item.account.pk for item in arrivals)
    moved = [
        collateral.movement(
            item.account,
            item.asset,
            item.quantity,
            kind=item.kind,
            key=item.key,
            effective_at=item.received_at,
            entry=entry,
            now=now,
        )
        for item, entry in zip(arrivals, posted, strict=True)
    ]
    PledgeMovement.objects.bulk_create(moved)
    Event.objects.bulk_create(collateral.news(movement) for movement in moved)


def _pledges_of(arrivals: Sequence[_Arrival]) -> Iterable[Pledge]:
    accounts = {item.account.pk for item in arrivals}
    return list(Pledge.objects.select_for_update().filter(margin_account__in=accounts).order_by("pk"))


def _can_be_pledged(row: Deposit) -> bool:
    """Return whether nothing but the lock stands between a deposit and its pledge; others are looked at singly."""
    whole = row.quantity == money.quantize_down(row.quantity, row.asset.decimals)
    return whole and row.asset.kind != Asset.Kind.FIAT


def _key(what: str, row: Deposit) -> str:
    return f"{what}:{row.custodian}:{row.custodian_ref}"


def _heading(row: Deposit, book_id: int, now: datetime) -> entries.Heading:
    return entries.Heading(
        key=_key("deposit", row), effective_at=row.confirmed_at or now, book_id=book_id, client_id=row.client_id
    )


@transaction.atomic
def credit(pk: int, *, now: datetime) -> int:
    """Credit one deposit if it is confirmed and nobody else is at it, and return how many that were."""
    rows = Deposit.objects.select_for_update(of=("self",), skip_locked=True).select_related(
        "asset", "address__margin_account__client"
    )
    deposit = rows.filter(pk=pk, state=Deposit.State.CONFIRMED).first()
    if deposit is None:
        return 0
    if not deposit.screened:
        hold(deposit, as_=Deposit.State.HELD, now=now)
        return 1
    code, quantity = deposit.asset.code, deposit.quantity
    address = deposit.address
    is_capital = False
    if address is None:
        try:
            is_capital = deposit.sent_to == ports.custodian().treasury_address(code)
        except CustodianUnavailable as error:
            logger.warning("deposit %s waits: %s", deposit.custodian_ref, error)
            return 0
    book = margin_accounts.book_of(address.margin_account) if address else margin_accounts.house_book()
    heading = _heading(deposit, book.pk, now)
    deposit.state, deposit.credited_at = Deposit.State.CREDITED, now
    if address is not None:
        ledger.post(entries.deposit(heading, asset=code, quantity=quantity, custodian=deposit.custodian), now=now)
        use(deposit, address.margin_account, address.purpose, now=now)
    elif is_capital:
        ledger.post(entries.capital(heading, asset=code, amount=quantity, custodian=deposit.custodian), now=now)
    else:
        hold(deposit, now=now)
        return 1
    deposit.save(update_fields=["state", "credited_at"])
    news(deposit.state, deposit, now).save()
    return 1


def hold(deposit: Deposit, *, now: datetime, as_: Deposit.State = Deposit.State.UNMATCHED) -> None:
    """Keep a confirmed deposit that nobody could be found for, or that is not let in, on an account of its own."""
    heading = replace(_heading(deposit, margin_accounts.house_book().pk, now), client_id=None)
    unknown = entries.unmatched_deposit(
        heading, asset=deposit.asset.code, quantity=deposit.quantity, custodian=deposit.custodian
    )
    ledger.post(unknown, now=now)
    deposit.state, deposit.credited_at = as_, None
    deposit.save(update_fields=["state", "credited_at"])
    news(deposit.state, deposit, now).save()


@transaction.atomic
def let_in(pk: int, *, now: datetime, by: User | None = None) -> Deposit | None:
    """
    Let in what is kept apart, for two persons or as the custodian objects no more; None where there is no such thing.

    It goes to the purpose of its address, or waits to be matched where that is nobody's.
    """
    address = Deposit.objects.select_related("address").get(pk=pk).address
    account = margin_accounts.lock(address.margin_account_id) if address else None
    rows = Deposit.objects.select_for_update(of=("self",)).select_related("asset")
    deposit = rows.filter(pk=pk, state=Deposit.State.HELD, confirmed_at__isnull=False).first()
    if deposit is None or not (by or deposit.screened):
        return None
    if address is None or account is None:
        deposit.state = Deposit.State.UNMATCHED
        deposit.save(update_fields=["state"])
        news(deposit.state, deposit, now).save()
        return deposit
    heading = _heading(deposit, margin_accounts.book_of(account).pk, now)
    heading = replace(heading, key=_key("let_in", deposit), client_id=account.client_id)
    give(deposit, account, address.purpose, heading=heading, actor=by, now=now)
    return deposit


def give(
    deposit: Deposit,
    account: MarginAccount,
    purpose: DepositAddress.Purpose | str,
    *,
    heading: entries.Heading,
    actor: User | None,
    now: datetime,
    loan: Loan | None = None,
) -> None:
    """Give a locked deposit that was kept on an account of its own to the client of a locked account, and use it."""
    draft = entries.matched_deposit(heading, asset=deposit.asset.code, quantity=deposit.quantity)
    ledger.post(draft, now=now, actor=actor)
    deposit.client, deposit.state, deposit.credited_at = account.client, Deposit.State.CREDITED, now
    deposit.save(update_fields=["client", "state", "credited_at"])
    news(deposit.state, deposit, now).save()
    use(deposit, account, purpose, now=now, loan=loan)


def use(
    deposit: Deposit,
    account: MarginAccount,
    purpose: DepositAddress.Purpose | str,
    *,
    now: datetime,
    loan: Loan | None = None,
) -> None:
    """
    Put a credited deposit to a purpose; what can not be used stays in the client's free balance, and is told.

    A repayment is for the loan that somebody said, else for the one that falls due first; see `repay`. Where nothing is
    owed, it makes good what a sale left unpaid.
    """
    arrived_at = deposit.confirmed_at or now
    try:
        with transaction.atomic():
            if purpose == DepositAddress.Purpose.COLLATERAL:
                _pledge(deposit, account, arrived_at, now)
            elif lost := workouts.meant(account, deposit.asset, loan):
                workouts.recover(lost, deposit.quantity, key=_key("recovery", deposit), now=now)
            else:
                key = _key("repayment", deposit)
                repay(account, deposit.asset, deposit.quantity, key=key, arrived_at=arrived_at, said=loan, now=now)
    except (collateral.UnableToPledge, repayments.UnableToRepay) as error:
        logger.warning("deposit %s stays in the free balance: %s", deposit.custodian_ref, error)
        news("kept_free", deposit, now, reason=str(error)).save()


def _pledge(deposit: Deposit, account: MarginAccount, arrived_at: datetime, now: datetime) -> None:
    running = account.loans.filter(state__in=loans.OWING).exists()
    collateral.pledge(
        account,
        deposit.asset,
        deposit.quantity,
        key=_key("pledge", deposit),
        kind=PledgeMovement.Kind.TOP_UP if running else PledgeMovement.Kind.PLEDGE,
        received_at=arrived_at,
        now=now,
    )


@transaction.atomic
def repay(
    margin_account: MarginAccount,
    asset: Asset,
    amount: Decimal,
    *,
    key: str,
    arrived_at: datetime,
    now: datetime,
    received_at: datetime | None = None,
    said: Loan | None = None,
) -> list[Repayment]:
    """
    Pay a loan of a margin account out of its client's free balance: the one that was said, or that falls due first.

    What is more than that loan owes stays free, unless the account is called: a call asks for one amount for all of its
    loans, so that what is left over pays the next of them in this asset.

    Parameters
    ----------
    amount : Decimal
        In the asset, > 0, at most the client's free balance.
    arrived_at : datetime
        What a margin call's deadline is held against.
    received_at : datetime, optional
        When interest stops, if not when it arrived.

    Raises
    ------
    lending.repayments.UnableToRepay
        If no such loan is owed, or the first of them can not be paid.
    """
    # Another payment or a sale may be under way: only behind it is it known which loan is owed, and from when.
    account = margin_accounts.lock(margin_account.pk)
    owing = Loan.objects.filter(margin_account=account, asset=asset, state__in=loans.OWING)
    # Not a line of which nothing is drawn.
    owing = owing.exclude(principal_outstanding=0, interest_due=0, fees_due=0)
    found = sorted(owing.order_by(loans.END, "pk"), key=lambda loan: loan != said)
    if not found or (said is not None and found[0] != said):
        raise repayments.UnableToRepay(f"no loan in {asset} is owed on this margin account")
    first, *others = found
    at = received_at or arrived_at
    paid = [_pay(first, asset, amount, key=key, at=at, arrived_at=arrived_at, now=now)]
    if not paid[0].surplus or not prepayments.under_call(account.pk, at=arrived_at):
        return paid
    for loan in others:
        if rest := paid[-1].surplus:
            with contextlib.suppress(repayments.UnableToRepay):  # it stays free
                own = shared_transfers.key_of_rest(key, loan)
                paid.append(_pay(loan, asset, rest, key=own, at=at, arrived_at=arrived_at, now=now))
    return paid


def _pay(
    loan: Loan, asset: Asset, amount: Decimal, *, key: str, at: datetime, arrived_at: datetime, now: datetime
) -> Repayment:
    # It may have arrived before the loan began. One that is credited after a later one counts before it.
    received_at = max(at, loan.start_at or at)
    return repayments.record(
        loan, amount, key=key, received_at=received_at, arrived_at=arrived_at, asset=asset, now=max(now, received_at)
    )


def news(kind: str, row: Deposit, now: datetime, *, reason: str = "") -> Event:
    """Return the event, not yet saved, that tells what became of a deposit."""
    facts = {
        "id": str(row.public_id),
        "asset": row.asset.code,
        "quantity": money.text(row.quantity),
        "reason": reason,
    }
    return events.new("deposits", kind, facts, client_id=row.client_id, now=now)
