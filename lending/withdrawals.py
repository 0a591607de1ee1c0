"""
Money and coins on their way out: set aside in the ledger when asked for, sent once, booked when they are gone.

The claim is committed before anything is sent, and what got no answer is queried before it is sent again.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef

from lending import breaks, events, ids, ledger, notices, outbox, ports, screening
from lending.engine import accounts, entries, money
from lending.models import Asset, Book, Client, Event, Posting, User, Withdrawal, WithdrawalAddress
from lending.notices import Letter
from lending.ports import CustodianRefused, CustodianUnavailable

logger = logging.getLogger(__name__)

LIMIT = 200
ON_THE_WAY = (Withdrawal.State.REQUESTED, Withdrawal.State.SENT, Withdrawal.State.UNKNOWN)
_CLAIM = timedelta(seconds=5)
# That somebody struck its address off after it was asked for; another that is allowed there later is asked for anew.
_STRUCK_OFF = Exists(
    WithdrawalAddress.objects.filter(
        client=OuterRef("client"), asset=OuterRef("asset"), address=OuterRef("destination"),
        revoked_at__gte=OuterRef("requested_at"),
    )
)  # fmt: skip


class UnableToWithdraw(Exception):
    """A withdrawal can not be asked for; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A transfer out that somebody wants and another person approves."""

    client: Client
    asset: Asset
    quantity: Decimal
    destination: str
    purpose: str
    maker: User
    checker: User
    book_id: int
    key: str


@transaction.atomic
def request(
    client: Client,
    asset: Asset,
    quantity: Decimal,
    *,
    destination: str,
    purpose: str,
    maker: User,
    checker: User,
    book: Book,
    key: str,
    now: datetime,
) -> Withdrawal:
    """
    Ask for a transfer out of a client's free balance, and return it; the same key asks once.

    Raises
    ------
    UnableToWithdraw
        If the amount is not positive or too fine for the asset, is more than what is free, the destination is empty,
        maker and checker are one person, the key was used for another transfer, or the books and the custodian have
        disagreed about the asset for too long.
    lending.screening.UnableToDeal
        If the client is matched with a sanctions list.
    """
    wanted = f"{money.text(quantity)} {asset.code} to {destination or 'nowhere'}"
    if first := Withdrawal.objects.filter(key=key).first():
        if (first.client_id, first.asset_id, first.quantity, first.destination) != (
            client.pk,
            asset.pk,
            quantity,
            destination,
        ):
            raise UnableToWithdraw(f"the key {key} was used for another withdrawal than {wanted}")
        return first
    screening.check_money_out(client)
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, asset.decimals):
        raise UnableToWithdraw(f"{quantity} is not an amount that {asset.code} can move ({asset.decimals} decimals)")
    if not destination:
        raise UnableToWithdraw(f"a withdrawal of {wanted} needs a destination")
    if maker.pk == checker.pk:
        raise UnableToWithdraw(f"{maker} can not both ask for and approve a withdrawal")
    if why := breaks.blocks_withdrawals(asset, client.pk, now=now):
        raise UnableToWithdraw(why)
    free = ledger.owed(accounts.client_free(asset.code, client.pk))
    if quantity > free:
        raise UnableToWithdraw(f"{client} has {money.text(free)} {asset.code} free, not {money.text(quantity)}")
    asked = Wanted(
        client=client,
        asset=asset,
        quantity=quantity,
        destination=destination,
        purpose=purpose,
        maker=maker,
        checker=checker,
        book_id=book.pk,
        key=key,
    )
    return request_all([asked], actor=checker, now=now)[0]


def request_all(wanted: Sequence[Wanted], *, actor: User, now: datetime) -> list[Withdrawal]:
    """Set amounts aside and ask for their transfers out, for a caller who has checked them as `request` does."""
    drafts = [
        entries.withdrawal_request(
            entries.Heading(
                key=f"withdrawal_request:{item.key}",
                effective_at=now,
                book_id=item.book_id,
                client_id=item.client.pk,
                cause=item.purpose,
            ),
            asset=item.asset.code,
            quantity=item.quantity,
        )
        for item in wanted
    ]
    ledger.post_many(drafts, now=now, actor=actor)
    return Withdrawal.objects.bulk_create(
        Withdrawal(
            public_id=ids.derived("withdrawal", item.key),
            key=item.key,
            client=item.client,
            asset=item.asset,
            quantity=item.quantity,
            destination=item.destination,
            purpose=item.purpose,
            maker=item.maker,
            checker=item.checker,
            requested_at=now,
            next_attempt_at=now,
        )
        for item in wanted
    )


def send_due(*, now: datetime, limit: int = LIMIT) -> int:
    """
    Send what was asked for, ask about what got no answer, and return how many withdrawals came to an end.

    The claim is committed before anything is sent; whatever was claimed before is queried first, and sent again only
    when the custodian never accepted its id. What was never sent waits while a break that can touch it has aged; it
    goes back to what its client has free where the address was struck off meanwhile.
    """
    dropped = _drop_struck_off(now)
    due = Withdrawal.objects.filter(state__in=ON_THE_WAY, next_attempt_at__lte=now)
    due = due.exclude(breaks.holds_back(now=now), state=Withdrawal.State.REQUESTED)
    due = due.exclude(state=Withdrawal.State.REQUESTED, client__in=screening.held_clients())
    keys = list(due.order_by("next_attempt_at", "key").values_list("pk", flat=True)[:limit])
    if not keys:
        return dropped
    ended = [end for row, is_new in _claim(keys, now) if (end := _ask(row, is_new, now))]
    return dropped + (_end(ended, now) if ended else 0)


@transaction.atomic
def _drop_struck_off(now: datetime) -> int:
    """End what waits to be sent to an address that was struck off, and return how many."""
    rows = Withdrawal.objects.filter(_STRUCK_OFF, state=Withdrawal.State.REQUESTED)
    found = list(rows.select_for_update(of=("self",), skip_locked=True).values_list("pk", flat=True))
    return _end([_End(pk, now, refused="that address was struck off") for pk in found], now) if found else 0


@dataclass(frozen=True, slots=True)
class _End:
    """How a withdrawal ended: when and under which of the custodian's ids it was executed, or why it was refused."""

    pk: int
    executed_at: datetime
    ref: str = ""
    refused: str = ""


@transaction.atomic
def _claim(keys: list[int], now: datetime) -> list[tuple[Withdrawal, bool]]:
    """Mark withdrawals as being sent, and return them with whether they are new to the custodian."""
    rows = Withdrawal.objects.select_for_update(of=("self",), skip_locked=True).select_related("asset")
    due = rows.filter(pk__in=keys, state__in=ON_THE_WAY, next_attempt_at__lte=now)
    due = due.exclude(_STRUCK_OFF, state=Withdrawal.State.REQUESTED)  # since `_drop_struck_off` has looked
    claimed = [(row, row.state == Withdrawal.State.REQUESTED) for row in due.order_by("key")]
    by_attempts: defaultdict[int, list[int]] = defaultdict(list)
    for row, _ in claimed:
        by_attempts[row.attempts + 1].append(row.pk)
    for attempts, these in by_attempts.items():
        again_at = now + _CLAIM + outbox.backoff(attempts)
        Withdrawal.objects.filter(pk__in=these).update(
            state=Withdrawal.State.SENT, attempts=attempts, next_attempt_at=again_at
        )
    return claimed


def _ask(row: Withdrawal, is_new: bool, now: datetime) -> _End | None:
    """Query or send one withdrawal, and return how it ended, or None while that is open."""
    custodian, client_id = ports.custodian(), str(row.public_id)
    try:
        report = None if is_new else custodian.withdrawal(client_id, at=now)
        if report is None:
            report = custodian.withdraw(
                client_id, asset=row.asset.code, quantity=row.quantity, destination=row.destination, at=now
            )
    except CustodianUnavailable as error:
        logger.warning("withdrawal %s: %s; it will be queried", row.key, error)
        Withdrawal.objects.filter(pk=row.pk, state=Withdrawal.State.SENT).update(state=Withdrawal.State.UNKNOWN)
        return None
    except CustodianRefused as error:
        return _End(row.pk, now, refused=str(error))
    if report.refused:
        return _End(row.pk, now, refused=report.refused)
    return _End(row.pk, report.executed_at, report.ref) if report.executed_at else None


@transaction.atomic
def _end(ended: list[_End], now: datetime) -> int:
    """Book the end of withdrawals that have not ended yet, and return how many there were."""
    by_key = {end.pk: end for end in ended}
    rows = Withdrawal.objects.select_for_update(of=("self",)).select_related("asset", "client")
    open_rows = list(rows.filter(pk__in=by_key, state__in=ON_THE_WAY).order_by("key"))
    asked = [f"withdrawal_request:{row.key}" for row in open_rows]
    postings = Posting.objects.filter(entry__idempotency_key__in=asked)
    books = dict(postings.values_list("entry__idempotency_key", "book_id"))
    drafts, told, letters = [], [], []
    for row, request_key in zip(open_rows, asked, strict=True):
        end = by_key[row.pk]
        heading = entries.Heading(
            key=f"withdrawal:{row.key}",
            effective_at=end.executed_at,
            book_id=books[request_key],
            client_id=row.client_id,
            cause=row.purpose,
        )
        code = row.asset.code
        if end.refused:
            logger.error("withdrawal %s was refused: %s", row.key, end.refused)
            row.state = Withdrawal.State.FAILED
            drafts.append(entries.withdrawal_failure(heading, asset=code, quantity=row.quantity))
            letters += _not_sent(row, end.refused)
        else:
            row.state, row.done_at, row.custodian_ref = Withdrawal.State.DONE, end.executed_at, end.ref
            name = ports.custodian().name
            drafts.append(entries.withdrawal(heading, asset=code, quantity=row.quantity, custodian=name))
        facts = {
            "id": str(row.public_id),
            "asset": code,
            "quantity": money.text(row.quantity),
            "reason": end.refused,
        }
        told.append(events.new("withdrawals", row.state, facts, client_id=row.client_id, now=now))
    ledger.post_many(drafts, now=now)
    Withdrawal.objects.bulk_update(open_rows, ["state", "done_at", "custodian_ref"])
    Event.objects.bulk_create(told)
    notices.enqueue(letters, now=now)
    return len(open_rows)


def _not_sent(row: Withdrawal, why: str) -> list[Letter]:
    """Return the letter that tells a client that something of theirs was not sent; none about the desk's own."""
    if row.client is None:
        return []
    what, key = f"{money.text(row.quantity)} {row.asset.code}", f"withdrawal_stopped:{row.public_id}"
    body = f"Nothing was sent to {row.destination}: {why}. {what} are in your free balance again."
    subject = f"{what} of yours are not sent"
    return [Letter(client=row.client, kind="withdrawal_stopped", subject=subject, body=body, key=key)]
