"""What a client is expected to be, how it came and what it may borrow; and its end, where nothing comes of it."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import access, approvals, audit, kyc, reasons
from lending.engine import money
from lending.models import (
    Approval,
    Client,
    Deposit,
    KycCase,
    LedgerBalance,
    Loan,
    LoanState,
    Role,
    SignedAgreement,
    User,
)

CLOSERS = kyc.KEEPERS | {Role.DESK_HEAD, Role.COMPLIANCE}
_OVER = (LoanState.CANCELLED, LoanState.CLOSED)
_COMING = (Deposit.State.PENDING, Deposit.State.CONFIRMED, Deposit.State.HELD)
REOPEN = "reopen_client"


class UnableToDescribe(Exception):
    """A client can not be described so; the message says why."""


class UnableToClose(Exception):
    """A client can not be closed, or not be taken up again; the message says why."""


@transaction.atomic
def describe(
    client: Client,
    *,
    jurisdiction: str,
    source: str,
    geography: str,
    expected_size_usd: Decimal | None,
    classification: str,
    by: User,
    now: datetime,
) -> Client:
    """
    Write down what is known of a client before its case is approved, and while it is reviewed.

    Raises
    ------
    UnableToDescribe
        If the expected size is not positive, or any of it would change of an approved client without a review.
    lending.access.UnableToAccess
        If `by` keeps no cases, or does not see the client.
    """
    access.require_role(by, *kyc.KEEPERS)
    access.require_client(by, client)
    if expected_size_usd is not None and not money.is_positive(expected_size_usd):
        raise UnableToDescribe("an expected size is an amount above zero")
    row = Client.objects.select_for_update().get(pk=client.pk)
    said = {
        "jurisdiction": jurisdiction, "source": source, "geography": geography,
        "expected_size_usd": expected_size_usd, "classification": classification,
    }  # fmt: skip
    changed = [name for name, value in said.items() if value != getattr(row, name)]
    case = kyc.current(row)
    if changed and case is not None and case.state == KycCase.State.APPROVED:
        words = changed[0].removesuffix("_usd").replace("_", " ")
        raise UnableToDescribe(f"the {words} is part of the approved case: open a review to change it")
    before = _facts(row)
    for name, value in said.items():
        setattr(row, name, value)
    row.save(update_fields=list(said))
    audit.write("client_described", actor=by, obj=row, before=before, after=_facts(row), now=now)
    return row


@transaction.atomic
def close(client: Client, *, reason: str, by: User, now: datetime) -> Client:
    """
    Close a client with whom nothing is open: a prospect of whom nothing came, or a relationship that is over.

    Raises
    ------
    UnableToClose
        If it is closed already, a loan or an offer of it is open, the books hold something of it or a transfer to it is
        not credited yet, no reason is given or too long a one.
    lending.access.UnableToAccess
        If `by` closes no clients, or does not see this one.
    """
    row = _locked(client, by)
    why = reasons.kept(reason, UnableToClose, missing="say why")
    if row.stage == Client.Stage.CLOSED:
        raise UnableToClose(f"{row} is closed already")
    if loan := Loan.objects.filter(client=row).exclude(state__in=_OVER).select_related("asset").first():
        raise UnableToClose(f"{loan} is {loan.get_state_display().lower()}: it ends first")
    held = LedgerBalance.objects.filter(account__client=row).exclude(amount=0).select_related("account__asset").first()
    if held is not None:
        raise UnableToClose(f"{held.account.asset.code} of it is still on the books: that goes back first")
    coming = Deposit.objects.filter(client=row, state__in=_COMING).select_related("asset").first()
    if coming is not None:  # kept apart, it is on the books without its client; who manages it is not to read of that
        raise UnableToClose(f"a transfer of {coming.asset.code} to it is not credited yet: that is settled first")
    return _stage(row, Client.Stage.CLOSED, "client_closed", reason=why, by=by, now=now)


@transaction.atomic
def reopen(client: Client, *, reason: str, by: User, now: datetime) -> Approval | None:
    """
    Take a closed client up again, where its case and agreement leave it.

    Where it could borrow at once, it is asked of a second person instead, and the request comes back: one person closes
    a client, and two let it deal again.

    Raises
    ------
    UnableToClose
        If it is not closed, no reason is given or too long a one, or it waits for a second person already.
    lending.access.UnableToAccess
        If `by` closes no clients, or does not see this one.
    """
    row = _locked(client, by)
    why = reasons.kept(reason, UnableToClose, missing="say why")
    if row.stage != Client.Stage.CLOSED:
        raise UnableToClose(f"{row} is not closed")
    stage = _left_at(row)
    if stage != Client.Stage.ACTIVE:
        _stage(row, stage, "client_reopened", reason=why, by=by, now=now)
        return None
    if waiting(row, now=now) is not None:
        raise UnableToClose("it waits for a second person already")
    asked = {"client": str(row.public_id), "reason": why}
    return approvals.request(REOPEN, asked, maker=by, now=now, client=row)


def waiting(client: Client, *, now: datetime) -> Approval | None:
    """Return the request to take a client up again that nobody has decided yet."""
    return next((row for row in approvals.waiting(REOPEN, now=now) if row.client_id == client.pk), None)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Client:
    """Take a client up again as two persons agreed; lending.approvals.UnableToApprove if it is not closed by now."""
    asked, by = approval.payload, approval.checker
    row = Client.objects.select_for_update().get(public_id=asked["client"])
    if by is None or row.stage != Client.Stage.CLOSED:
        raise approvals.UnableToApprove(f"{row} is not closed any more")
    return _stage(row, _left_at(row), "client_reopened", reason=asked["reason"], by=by, now=now)


def _left_at(row: Client) -> Client.Stage:
    """Return the stage at which a client's case and agreement leave it."""
    if kyc.in_force(row) is not None and SignedAgreement.objects.filter(client=row).exists():
        return Client.Stage.ACTIVE
    return Client.Stage.ONBOARDING if KycCase.objects.filter(client=row).exists() else Client.Stage.PROSPECT


def _locked(client: Client, by: User) -> Client:
    access.require_role(by, *CLOSERS)
    access.require_client(by, client)
    return Client.objects.select_for_update().get(pk=client.pk)


def _stage(row: Client, stage: str, said: str, *, reason: str, by: User, now: datetime) -> Client:
    before, row.stage, row.stage_at = row.stage, stage, now
    row.save(update_fields=["stage", "stage_at"])
    audit.write(said, actor=by, obj=row, before={"stage": before}, after={"stage": stage}, reason=reason, now=now)
    return row


def _facts(client: Client) -> dict[str, str]:
    size = client.expected_size_usd
    return {
        "jurisdiction": client.jurisdiction,
        "source": client.source,
        "geography": client.geography,
        "expected_size_usd": "" if size is None else money.text(size),
        "classification": client.classification,
    }
