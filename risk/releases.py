"""Releases: collateral goes back to its client when one person has asked for it and another approves."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import (
    access,
    allow_list,
    approvals,
    authority,
    collateral,
    margin_accounts,
    notices,
    obligations,
    withdrawals,
)
from lending.engine import money
from lending.models import (
    Approval,
    Asset,
    JointSignature,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Role,
    SigningRule,
    User,
)
from lending.notices import Letter
from lending.permits import UnableToVerify
from risk import permits

KIND = "collateral_release"
ASKERS = frozenset({Role.OPERATIONS, Role.RELATIONSHIP_MANAGER})
_REFUSALS = (
    permits.UnableToPermit,
    UnableToVerify,
    collateral.UnableToRelease,
    withdrawals.UnableToWithdraw,
    allow_list.UnableToSend,
)


class UnableToAsk(Exception):
    """A release can not be asked for; the message says why."""


@transaction.atomic
def ask(
    account: MarginAccount, asset: Asset, quantity: Decimal, *, destination: str, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person to send collateral back to a client, as operations or as the client's relationship manager.

    Whether it may leave is not decided here but at the marks of the moment in which it is approved.

    Raises
    ------
    UnableToAsk
        If the quantity is not positive, too fine or more than what is pledged, something that is due is not paid, or
        the destination is not allowed.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    access.require_role(maker, *ASKERS)
    access.require_client(maker, account.client)
    return _request(account, _asked(account, asset, quantity, destination, now), maker=maker, now=now)


@transaction.atomic
def ask_as_client(
    account: MarginAccount, asset: Asset, quantity: Decimal, *, destination: str, by: User, now: datetime
) -> Approval | None:
    """
    Ask for collateral back as one of the client's signers; None until a second has signed where two do.

    Raises
    ------
    UnableToAsk
        As `ask` does; also if the same is asked for already.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, account.client, SigningRule.Action.RELEASE, asset=asset, amount=quantity)
    asked = _asked(account, asset, quantity, destination, now)
    if asked in [row.payload for row in waiting(account)]:
        raise UnableToAsk("it was asked for already, and waits for the desk")
    words = f"{asked['quantity']} {asset.code} back to {asked['destination']}"
    loan = account.loans.order_by("pk").first()
    whole = authority.sign(
        account.client, SigningRule.Action.RELEASE, words=words, content=asked, asset=asset, amount=quantity,
        loan=loan, by=by, now=now,
    )  # fmt: skip
    return _request(account, asked, maker=by, now=now) if whole else None


def ask_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Ask for collateral back as its second signer; lending.authority.UnableToSign if it can not be asked for."""
    asked = row.content
    account = MarginAccount.objects.select_related("client").get(public_id=asked["margin_account"])
    asset, quantity = Asset.objects.get(code=asked["asset"]), Decimal(asked["quantity"])
    try:
        ask_as_client(account, asset, quantity, destination=asked["destination"], by=by, now=now)
    except UnableToAsk as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def _asked(account: MarginAccount, asset: Asset, quantity: Decimal, destination: str, now: datetime) -> dict[str, str]:
    """Return what a second person is asked to release, once it is checked."""
    if not money.is_positive(quantity) or quantity != money.quantize_down(quantity, asset.decimals):
        raise UnableToAsk(f"{quantity} is not a quantity that {asset.code} can move ({asset.decimals} decimals)")
    pledge = Pledge.objects.filter(margin_account=account, asset=asset).first()
    pledged = pledge.quantity if pledge else money.ZERO
    if quantity > pledged:
        held = f"{money.text(pledged)} {asset.code} are pledged and not held for a sale"
        raise UnableToAsk(f"{held}, not {money.text(quantity)}")
    if why := obligations.holds_back(account.client, pledged_to=account):
        raise UnableToAsk(f"nothing is released while {why}")
    if not destination.strip():
        raise UnableToAsk("say to which address it goes")
    try:
        allow_list.require(account.client, asset, destination.strip(), now=now)
    except allow_list.UnableToSend as refusal:
        raise UnableToAsk(str(refusal)) from refusal
    return {
        "margin_account": str(account.public_id),
        "asset": asset.code,
        "quantity": money.text(quantity),
        "destination": destination.strip(),
    }


def _request(account: MarginAccount, asked: dict[str, str], *, maker: User, now: datetime) -> Approval:
    approval = approvals.request(KIND, asked, maker=maker, now=now, client=account.client)
    body = (
        f"{maker} asks that {_words(asked)}. It leaves once a second person at the desk has approved it, if the prices "
        "of that moment let it. If nobody of yours wants it, or the address is not yours, call us at once."
    )
    _tell(account, "release_asked", "Collateral of yours is asked back", body, approval, now)
    return approval


def _words(asked: Mapping[str, str]) -> str:
    return f"{asked['quantity']} {asked['asset']} of your collateral go to {asked['destination']}"


def _tell(account: MarginAccount, kind: str, subject: str, body: str, approval: Approval, now: datetime) -> None:
    letter = Letter(
        client=account.client, kind=kind, subject=subject, body=body, key=f"{kind}:{approval.public_id}",
        margin_account=account,
    )  # fmt: skip
    notices.enqueue([letter], now=now)


def waiting(account: MarginAccount) -> list[Approval]:
    """Return the requests for a release from an account that nobody has decided yet, the oldest first."""
    found = Approval.objects.filter(
        kind=KIND,
        client=account.client_id,
        state=Approval.State.REQUESTED,
        payload__margin_account=str(account.public_id),
    )
    return list(found.select_related("maker").order_by("requested_at", "pk"))


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> PledgeMovement:
    """
    Release what two persons agreed to under a permit of this moment, and ask for its transfer out.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it may not leave now, or nobody of the client has signed it and the checker has allowed its address, too; the
        message says why.
    """
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    # Locked before the permit is issued, so that nothing moves between the price check and the release.
    account = margin_accounts.lock(MarginAccount.objects.get(public_id=asked["margin_account"]).pk)
    asset, quantity = Asset.objects.get(code=asked["asset"]), Decimal(asked["quantity"])
    _check_hands(approval, account, asset, checker)
    try:
        moved = collateral.release(
            account,
            asset,
            quantity,
            permit=permits.issue_release(account, asset, quantity, now=now),
            maker=approval.maker,
            checker=checker,
            key=f"release:{approval.public_id}",
            now=now,
            destination=asked["destination"],
        )
    except _REFUSALS as refusal:
        raise approvals.UnableToApprove(f"nothing is released: {refusal}") from refusal
    body = (
        f"{_words(asked)}, as {approval.maker} asked and {checker} approved. If nobody of yours wanted it, or the "
        "address is not yours, call us at once."
    )
    _tell(account, "release_sent", "Collateral of yours is on its way out", body, approval, now)
    return moved


def _check_hands(approval: Approval, account: MarginAccount, asset: Asset, checker: User) -> None:
    """Refuse what two persons of the desk could do alone: send coins to an address that one of them has allowed."""
    if access.may_sign(approval.maker, account.client):
        return
    where = allow_list.standing(account.client).filter(asset=asset, address=approval.payload["destination"])
    if where.filter(checker=checker).exists():
        raise approvals.UnableToApprove(
            f"{checker} allowed the address: nobody of the client has signed this, so another person approves it"
        )
