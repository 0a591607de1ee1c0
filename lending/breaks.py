"""Differences between the ledger and a custodian as people work them: what they block, who works on them, their end."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from lending import access, approvals, audit, events, ledger, margin_accounts
from lending.engine import entries, money
from lending.engine.chart import SECURED_KINDS, AccountKind
from lending.models import Approval, Asset, CustodyBreak, LedgerBalance, Posting, Role, User

KIND = "book_break"
TAKEN_OVER = "arrival_taken_over"  # begins the key of the entry by which what was taken over has come
_OPENING = "balance_taken_over"
_THEIRS = (AccountKind.CLIENT_FREE, AccountKind.CLIENT_RESERVED, *SECURED_KINDS)
WORKERS = frozenset({Role.OPERATIONS}) | access.RISK_ROLES
# Long enough for a custodian's own hiccup; after that nothing of the asset leaves any more.
AGED = timedelta(minutes=30)


class UnableToWork(Exception):
    """A break can not be taken, explained or closed; the message says why."""


def standing() -> QuerySet[CustodyBreak]:
    """Return the open breaks, the oldest first."""
    return CustodyBreak.objects.filter(closed_at=None).order_by("found_at", "pk")


def blocks_releases(asset: Asset, client_id: int) -> str:
    """Return why nothing of an asset is released to a client, from a break's first moment on; "" when it may be."""
    row = _in_the_way(standing(), asset, client_id)
    return f"{row.words}: releases wait until that is explained" if row else ""


def blocks_withdrawals(asset: Asset, client_id: int | None, *, now: datetime) -> str:
    """Return why nothing of an asset leaves to a client, once a break has aged; "" when it may."""
    row = _in_the_way(_aged(now), asset, client_id)
    if row is None:
        return ""
    return f"{row.words}, since {row.found_at:%Y-%m-%d %H:%M} UTC: nothing of it leaves until that is explained"


def holds_back(*, now: datetime) -> Q:
    """Return which of some rows with an asset and a client are held back by breaks that have aged."""
    found = Q(pk__in=[])
    for row in _aged(now).filter(asset__isnull=False).select_related("asset"):
        mine = Q(asset=row.asset)
        found |= mine & Q(client__in=_taken_over(row).values("client")) if is_awaited(row) else mine
    return found


def is_aged(row: CustodyBreak, *, now: datetime) -> bool:
    """Return whether a break holds back what would leave, and not only what would be released."""
    return row.closed_at is None and row.found_at <= now - AGED


def is_awaited(row: CustodyBreak) -> bool:
    """
    Return whether a break is no more than what was taken over from another system and has not come yet.

    What everybody else has is at the custodian then, as long as those whose coins are awaited still have as much: it
    holds back them alone. What two persons have given up, by taking it on the desk's books, is awaited no more.
    """
    missing = difference(row).copy_negate()
    if row.asset is None or row.kind != CustodyBreak.Kind.BALANCE or missing <= 0:
        return False
    theirs = LedgerBalance.objects.filter(
        account__client__in=_taken_over(row).values("client"), account__asset=row.asset, account__kind__in=_THEIRS
    )
    with money.exact():
        return missing <= min(to_come(row.asset, row.custodian), -_sum(theirs))


def to_come(asset: Asset, custodian: str) -> Decimal:
    """Return how much of an asset was taken over at a custodian, has not come as far as is known, nor is given up."""
    here = _at(asset, custodian)
    opening, came = Q(entry__kind=_OPENING), Q(entry__idempotency_key__startswith=f"{TAKEN_OVER}:")
    first = here.filter(opening).order_by("entry").values("entry")[:1]
    given_up = Q(entry__kind="custody_difference", amount__lt=0, entry__gt=first)
    return max(_sum(here.filter(opening | came | given_up)), money.ZERO)


def _in_the_way(rows: QuerySet[CustodyBreak], asset: Asset, client_id: int | None) -> CustodyBreak | None:
    """Return the first of some breaks that can touch what a client has of an asset."""
    for row in rows.filter(asset=asset).select_related("asset"):
        if not is_awaited(row) or _taken_over(row).filter(client=client_id).exists():
            return row
    return None


def _taken_over(row: CustodyBreak) -> QuerySet[Posting]:
    return _at(row.asset, row.custodian).filter(entry__kind=_OPENING)


def _at(asset: Asset | None, custodian: str) -> QuerySet[Posting]:
    return Posting.objects.filter(account__kind=AccountKind.CUSTODY, account__asset=asset, account__party=custodian)


def _sum(rows: QuerySet[Posting] | QuerySet[LedgerBalance]) -> Decimal:
    return rows.aggregate(sum=Sum("amount"))["sum"] or money.ZERO


def _aged(now: datetime) -> QuerySet[CustodyBreak]:
    return standing().filter(found_at__lte=now - AGED)


@transaction.atomic
def take(row: CustodyBreak, *, by: User, now: datetime) -> CustodyBreak:
    """
    Note who works on a break from now on.

    Raises
    ------
    UnableToWork
        If it is closed.
    lending.access.UnableToAccess
        If the person is neither of operations nor of risk.
    """
    row = _open(row, by)
    before = row.worked_by.email if row.worked_by else ""
    row.worked_by, row.worked_since = by, now
    row.save(update_fields=["worked_by", "worked_since"])
    audit.write("break_taken", actor=by, obj=row, before={"by": before}, after={"by": by.email}, now=now)
    return row


@transaction.atomic
def explain(row: CustodyBreak, words: str, *, by: User, now: datetime) -> CustodyBreak:
    """
    Write down how a break came about; it stays open until both books agree or its difference is booked.

    Raises
    ------
    UnableToWork
        If it is closed, or nothing is said.
    lending.access.UnableToAccess
        If the person is neither of operations nor of risk.
    """
    row = _open(row, by)
    said = words.strip()
    if not said:
        raise UnableToWork("say how it came about")
    if len(said) > 400:
        raise UnableToWork(f"say it in 400 characters, not in {len(said)}")
    before = row.explanation
    row.explanation, row.explained_by, row.explained_at = said, by, now
    row.save(update_fields=["explanation", "explained_by", "explained_at"])
    audit.write("break_explained", actor=by, obj=row, before={"words": before}, after={"words": said}, now=now)
    return row


@transaction.atomic
def ask(row: CustodyBreak, *, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to take the difference of a break on the desk's own books, which closes it.

    What clients are owed does not change: the difference is the desk's loss or gain. Of an asset that the desk does not
    know there are no books: it is set aside, and is a break no more.

    Raises
    ------
    UnableToWork
        If it is closed, was not explained, or was asked for already.
    lending.access.UnableToAccess
        If the maker is neither of operations nor of risk.
    """
    row = _open(row, maker)
    if not row.explanation:
        raise UnableToWork("explain it first: nobody approves what is not explained")
    if waiting(row, now=now) is not None:
        raise UnableToWork("it was asked for already")
    payload = {
        "break": row.pk,
        "what": row.words,
        "asset": row.code,
        "difference": money.text(difference(row)),
        "explanation": row.explanation,
    }
    return approvals.request(KIND, payload, maker=maker, now=now)


def waiting(row: CustodyBreak, *, now: datetime) -> Approval | None:
    """Return the request about a break that nobody has decided yet."""
    found = Approval.objects.filter(
        kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now, payload__break=row.pk
    )
    return found.select_related("maker").first()


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> CustodyBreak:
    """
    Book the difference of a break as two persons agreed, and close it.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it is closed, or amounts to something else by now.
    """
    asked = approval.payload
    row = CustodyBreak.objects.select_for_update(of=("self",)).select_related("asset").get(pk=asked["break"])
    if row.closed_at is not None:
        raise approvals.UnableToApprove(f"it is closed: {row.closed_how}")
    amount = difference(row)
    if money.text(amount) != asked["difference"]:
        raise approvals.UnableToApprove(f"it is {money.text(amount)} {row.code} by now")
    done = f"it was set aside by {approval.maker} and {approval.checker}"
    if row.asset is not None:
        heading = entries.Heading(
            key=f"custody_difference:{row.custodian}:{row.kind}:{row.ref or row.pk}:{row.code}",
            effective_at=now,
            book_id=margin_accounts.house_book().pk,
            cause="custody_break",
        )
        draft = entries.custody_difference(heading, asset=row.code, difference=amount, custodian=row.custodian)
        ledger.post(draft, now=now, actor=approval.checker)
        done = f"the difference was taken on the desk's books by {approval.maker} and {approval.checker}"
    row.booked = True
    close(row, done, now=now)
    audit.write(
        "break_booked", actor=approval.checker, obj=row, after=dict(asked), reason=row.explanation[:400], now=now
    )
    return row


def close(row: CustodyBreak, how: str, *, now: datetime) -> None:
    """End a break, with how; for a caller who holds its row."""
    row.closed_at, row.closed_how = now, how[:200]
    row.save(update_fields=["closed_at", "closed_how", "booked"])
    events.emit("custody", "agrees", facts(row), now=now)


def facts(row: CustodyBreak) -> dict[str, str]:
    """Return what events say of a break."""
    return {
        "asset": row.code,
        "summary": row.words,
        "ledger": money.text(row.ledger_quantity),
        "custodian": money.text(row.custodian_quantity),
    }


def _open(row: CustodyBreak, by: User) -> CustodyBreak:
    access.require_role(by, *sorted(WORKERS))
    rows = CustodyBreak.objects.select_for_update(of=("self",)).select_related("asset", "worked_by")
    locked = rows.get(pk=row.pk)
    if locked.closed_at is not None:
        raise UnableToWork(f"it is closed: {locked.closed_how}")
    return locked


def set_aside(custodian: str) -> dict[str, Decimal]:
    """Return what two persons have set aside of assets that the desk does not know, by code."""
    found: dict[str, Decimal] = {}
    for row in CustodyBreak.objects.filter(custodian=custodian, asset=None, booked=True):
        with money.exact():
            found[row.code] = found.get(row.code, money.ZERO) + difference(row)
    return found


def difference(row: CustodyBreak) -> Decimal:
    """Return how much more the custodian has than the ledger, as far as this break goes."""
    with money.exact():
        return row.custodian_quantity - row.ledger_quantity
