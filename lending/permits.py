"""
Permits: how lending, which knows no price, learns that a draw or a release is within its limits.

Risk issues a permit after its own check on GOOD marks; lending verifies signature, freshness and version under the
margin account's lock. Any change of the account raises its version, so that a permit is used at most once.
"""

import hmac
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.utils.crypto import salted_hmac

from lending.engine import drafts, money
from lending.models import Asset, MarginAccount

DRAW = "draw"
RELEASE = "release"
_SALT = "lending.permits"


class UnableToVerify(Exception):
    """A permit does not allow what was asked; the message says which part fails."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to draw or release up to a quantity, on one version of one margin account, until an instant."""

    action: str
    margin_account: UUID
    version: int
    asset: str
    quantity: Decimal
    snapshot_id: int
    expires_at: datetime
    signature: str = ""

    def content(self) -> str:
        """Return what the signature covers."""
        return "|".join(
            (
                self.action,
                str(self.margin_account),
                str(self.version),
                self.asset,
                drafts.amount_text(self.quantity),
                str(self.snapshot_id),
                drafts.instant_text(self.expires_at),
            )
        )


def issue(
    action: str,
    margin_account: MarginAccount,
    asset: Asset,
    quantity: Decimal,
    *,
    snapshot_id: int,
    expires_at: datetime,
) -> Permit:
    """Return a signed permit for the margin account as it stands; only risk calls this, after its price check."""
    permit = Permit(
        action=action,
        margin_account=margin_account.public_id,
        version=margin_account.version,
        asset=asset.code,
        quantity=quantity,
        snapshot_id=snapshot_id,
        expires_at=expires_at,
    )
    return replace(permit, signature=_sign(permit))


def verify(
    permit: Permit, margin_account: MarginAccount, action: str, asset: Asset, quantity: Decimal, *, now: datetime
) -> None:
    """
    Check that a permit allows an action on a locked margin account.

    Raises
    ------
    UnableToVerify
        If the permit is not ours, is for something else, for less, has expired, or the account has changed since.
    """
    if not hmac.compare_digest(permit.signature, _sign(permit)):
        raise UnableToVerify("the permit was not issued by this platform, or was changed since")
    if permit.action != action:
        raise UnableToVerify(f"the permit is for a {permit.action}, not for a {action}")
    if permit.margin_account != margin_account.public_id:
        raise UnableToVerify("the permit is for another margin account")
    if permit.asset != asset.code:
        raise UnableToVerify(f"the permit is for {permit.asset}, not for {asset.code}")
    if quantity > permit.quantity:
        allowed = f"the permit is for {money.text(permit.quantity)} {asset.code}"
        raise UnableToVerify(f"{allowed}, not for {money.text(quantity)}")
    if now >= permit.expires_at:
        raise UnableToVerify(f"the permit expired at {permit.expires_at:%Y-%m-%d %H:%M:%S} UTC; ask for a new one")
    if permit.version != margin_account.version:
        raise UnableToVerify("the margin account has changed since the permit was issued; ask for a new one")


def _sign(permit: Permit) -> str:
    return salted_hmac(_SALT, permit.content(), algorithm="sha256").hexdigest()
