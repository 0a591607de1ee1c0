"""Differences between the ledger and a custodian as people work them: what they block, who works on them, their end."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from lending import access, approvals, audit, events, ledger, margin_accounts
from lending.engine import entries, money
from lending.models import Approval, Asset, CustodyBreak, Role, User

KIND = "book_break"
WORKERS = frozenset({Role.OPERATIONS}) | access.RISK_ROLES
# Long enough for a custodian's own hiccup; after that nothing of the asset leaves any more.
AGED = timedelta(minutes=30)


class UnableToWork(Exception):
    """A break can not be taken, explained or closed; the message says why."""


def standing() -> QuerySet[CustodyBreak]:
    """Return the open breaks, the oldest first."""
    return CustodyBreak.objects.filter(closed_at=None).order_by("found_at", "pk")


def blocks_releases(asset: Asset) -> str:
    """Return why nothing of an asset is released, from the first moment of a break on; "" when it may be."""
    row = standing().filter(asset=asset).first()
    return f"{row.words}: releases wait until that is explained" if row else ""


def blocks_withdrawals(asset: Asset, *, now: datetime) -> str:
    """Return why nothing of an asset leaves, once a break has aged; "" when it may."""
    row = _aged(now).filter(asset=asset).first()
    if row is None:
        return ""
    return f"{row.words}, since {row.found_at:%Y-%m-%d %H:%M} UTC: nothing of it leaves until that is explained"


def blocked_assets(*, now: datetime) -> QuerySet[CustodyBreak, int]:
    """Return the keys of the assets of which nothing leaves, to be asked for within another question."""
    return _aged(now).order_by().values_list("asset_id", flat=True)


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

    What clients are owed does not change: the difference is the desk's loss or gain.

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
        "asset": row.asset.code,
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
        raise approvals.UnableToApprove(f"it is {money.text(amount)} {row.asset.code} by now")
    heading = entries.Heading(
        key=f"custody_difference:{row.custodian}:{row.kind}:{row.ref or row.pk}:{row.asset.code}",
        effective_at=now,
        book_id=margin_accounts.house_book().pk,
        cause="custody_break",
    )
    draft = entries.custody_difference(heading, asset=row.asset.code, difference=amount, custodian=row.custodian)
    ledger.post(draft, now=now, actor=approval.checker)
    who = f"{approval.maker} and {approval.checker}"
    row.booked = True
    close(row, f"the difference was taken on the desk's books by {who}", now=now)
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
        "asset": row.asset.code,
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


def difference(row: CustodyBreak) -> Decimal:
    """Return how much more the custodian has than the ledger, as far as this break goes."""
    with money.exact():
        return row.custodian_quantity - row.ledger_quantity
