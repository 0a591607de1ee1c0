"""Where a client's coins may go: addresses that two persons have allowed, each after a cooling-off."""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from lending import access, approvals, audit, authority, notices, reasons
from lending.engine import addresses
from lending.engine.chart import AccountKind
from lending.models import (
    Approval,
    Asset,
    Client,
    JointSignature,
    LedgerBalance,
    Loan,
    Pledge,
    Role,
    SigningRule,
    User,
    WithdrawalAddress,
)
from lending.notices import Letter

KIND = "withdrawal_address"
ASKERS = frozenset({Role.OPERATIONS, Role.RELATIONSHIP_MANAGER})
REVOKERS = ASKERS | access.RISK_ROLES | {Role.COMPLIANCE}
# Long enough for a client to read the letter about an address that is not theirs, and to strike it off.
COOLING_OFF = timedelta(hours=24)
LONGEST = 120


class UnableToAllow(Exception):
    """An address can not be allowed; the message says why."""


class UnableToSend(Exception):
    """Nothing may be sent to an address; the message says why."""


@transaction.atomic
def ask(client: Client, asset: Asset, address: str, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to allow an address of a client.

    Raises
    ------
    UnableToAllow
        If the address is empty, too long or mistyped, nothing is said of how it is known to be theirs, or it is allowed
        or asked for already.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    access.require_role(maker, *ASKERS)
    access.require_client(maker, client)
    said = reasons.kept(reason, UnableToAllow, missing="say how it is known to be theirs")
    return _request(client, _asked(client, asset, address, said, now), maker=maker, now=now)


@transaction.atomic
def ask_as_client(client: Client, asset: Asset, address: str, *, by: User, now: datetime) -> Approval | None:
    """
    Name an address as one of the client's signers, for the desk to allow; None until a second has signed where two do.

    Raises
    ------
    UnableToAllow
        If the address is empty, too long or mistyped, or is allowed or asked for already.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    authority.require(by, client, SigningRule.Action.ALLOW, asset=asset)
    asked = _asked(client, asset, address, f"named in the portal by {by}", now)
    named = {"asset": asset.code, "address": asked["address"]}
    words = f"{asset.code} may be sent to {asked['address']}"
    if not authority.sign(client, SigningRule.Action.ALLOW, words=words, content=named, asset=asset, by=by, now=now):
        return None
    return _request(client, asked, maker=by, now=now)


def ask_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Name an address as its second signer; lending.authority.UnableToSign if it can not be asked for any more."""
    try:
        ask_as_client(row.client, Asset.objects.get(code=row.content["asset"]), row.content["address"], by=by, now=now)
    except UnableToAllow as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def _asked(client: Client, asset: Asset, address: str, reason: str, now: datetime) -> dict[str, str]:
    """Return what a second person is asked to allow, once it is checked."""
    where = address.strip()
    if not where or len(where) > LONGEST or len(where.split()) != 1:
        raise UnableToAllow(f"an address is one word of at most {LONGEST} characters")
    where = kept(asset, where, UnableToAllow)
    if _standing(client).filter(asset=asset, address=where).exists():
        raise UnableToAllow("it is allowed already")
    if any((row.payload["asset"], row.payload["address"]) == (asset.code, where) for row in waiting(client, now=now)):
        raise UnableToAllow("it was asked for already")
    return {"client": str(client.public_id), "asset": asset.code, "address": where, "reason": reason}


def kept(asset: Asset, address: str, error: type[Exception]) -> str:
    """Return an address as it is written where it is kept; raise `error` where an asset can not be sent there."""
    if wrong := problem(asset, address):
        raise error(wrong)
    return addresses.kept(address)


def problem(asset: Asset, address: str) -> str:
    """Return what is wrong with an address to which an asset is to be sent; "" where none of its networks can tell."""
    chains = sorted(network.chain for network in asset.networks.all())  # of many, they were read beside the asset
    found = [addresses.problem(address, chain) for chain in chains]
    return next(iter(found), "") if all(found) else ""


def _request(client: Client, asked: dict[str, str], *, maker: User, now: datetime) -> Approval:
    approval = approvals.request(KIND, asked, maker=maker, now=now, client=client)
    what = f"{asked['asset']} may be sent to {asked['address']}"
    body = (
        f"{maker} asks that {what}. Once a second person at the desk has allowed it, and a day later, it can be used. "
        "If it is not yours, call us at once."
    )
    _tell(client, "address_asked", f"An address was named for your {asked['asset']}", body, approval, now)
    return approval


def _tell(client: Client, kind: str, subject: str, body: str, approval: Approval, now: datetime) -> None:
    letter = Letter(client=client, kind=kind, subject=subject, body=body, key=f"{kind}:{approval.public_id}")
    notices.enqueue([letter], now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> WithdrawalAddress:
    """
    Allow an address as two persons agreed; it can be used once its cooling-off is over.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was allowed meanwhile.
    """
    asked, checker = approval.payload, approval.checker
    if checker is None:
        raise approvals.UnableToApprove("nobody has approved it")
    client = Client.objects.get(public_id=asked["client"])
    try:
        with transaction.atomic():
            row = WithdrawalAddress.objects.create(
                client=client,
                asset=Asset.objects.get(code=asked["asset"]),
                address=asked["address"],
                maker=approval.maker,
                checker=checker,
                allowed_at=now,
                usable_at=now + COOLING_OFF,
            )
    except IntegrityError as refused:
        raise approvals.UnableToApprove("it is allowed already") from refused
    after = {"asset": asked["asset"], "address": asked["address"], "usable_at": row.usable_at.isoformat()}
    audit.write("address_allowed", actor=checker, obj=row, after=after, reason=asked["reason"], now=now)
    body = (
        f"From {row.usable_at:%d %b %Y %H:%M} UTC {row.asset.code} of yours may be sent to {row.address}, as "
        f"{approval.maker} asked and {checker} allowed. If it is not yours, strike it off in the portal before that, "
        "under Money, where it may go; and call us."
    )
    _tell(client, "address_allowed", f"An address is allowed for your {row.asset.code}", body, approval, now)
    return row


@transaction.atomic
def revoke(row: WithdrawalAddress, *, by: User, now: datetime) -> WithdrawalAddress:
    """Strike an address off at once, as the desk or a signer; one person is enough for what only holds coins back."""
    if not access.may_sign(by, row.client):
        access.require_role(by, *REVOKERS)
        access.require_client(by, row.client)
    if WithdrawalAddress.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=now, revoked_by=by):
        audit.write("address_revoked", actor=by, obj=row, before={"address": row.address}, now=now)
    row.refresh_from_db()
    return row


def assets(client: Client) -> list[Asset]:
    """Return what may have to go to a client: what is pledged or free, and what its loans are in."""
    pledged = Pledge.objects.filter(margin_account__client=client, quantity__gt=0)
    free = LedgerBalance.objects.filter(account__client=client, account__kind=AccountKind.CLIENT_FREE)
    here = Q(pk__in=pledged.values("asset")) | Q(pk__in=free.exclude(amount=0).values("account__asset"))
    lent = Q(pk__in=Loan.objects.filter(client=client).values("asset"))
    return list(Asset.objects.filter(here | lent).order_by("code"))


def require(client: Client, asset: Asset, address: str, *, now: datetime) -> None:
    """
    Check that something may be sent to an address of a client.

    Raises
    ------
    UnableToSend
        If the address is not allowed for the asset, or its cooling-off is not over.
    """
    row = _standing(client).filter(asset=asset, address=address).first()
    if row is None:
        raise UnableToSend(f"{address} is not an address of {client} that two persons have allowed for {asset.code}")
    if now < row.usable_at:
        raise UnableToSend(f"{address} can be used from {row.usable_at:%Y-%m-%d %H:%M} UTC, after its cooling-off")


def standing(client: Client) -> QuerySet[WithdrawalAddress]:
    """Return the allowed addresses of a client, those in cooling-off included."""
    return _standing(client).select_related("asset", "maker", "checker").order_by("asset__code", "address")


def waiting(client: Client, *, now: datetime) -> list[Approval]:
    """Return the addresses of a client that wait for a second person."""
    found = Approval.objects.filter(kind=KIND, client=client, state=Approval.State.REQUESTED, expires_at__gt=now)
    return list(found.select_related("maker").order_by("requested_at", "pk"))


def _standing(client: Client) -> QuerySet[WithdrawalAddress]:
    return WithdrawalAddress.objects.filter(client=client, revoked_at=None)
