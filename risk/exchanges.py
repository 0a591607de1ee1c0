"""
Exchanges of collateral that were asked for: what goes out, what comes in for it, and what of that has come.

What has come for an exchange is given for what goes out. Until that is decided nothing else rests on it: no draw and
no release is permitted on an account where a part of an open exchange has arrived.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Case, DecimalField, F, Sum, When

from lending import approvals
from lending.engine import money
from lending.models import Approval, Asset, MarginAccount, PledgeMovement

KIND = "collateral_substitution"
_Kind = PledgeMovement.Kind
# What is held for a sale is gone for the exchange already.
_CAME, _WENT = (_Kind.PLEDGE, _Kind.TOP_UP, _Kind.UNHOLD), (_Kind.RELEASE, _Kind.HOLD)
_SIGNED = Case(
    When(kind__in=_CAME, then=F("quantity")),
    When(kind__in=_WENT, then=-F("quantity")),
    default=Decimal(0),
    output_field=DecimalField(max_digits=38, decimal_places=18),
)


@dataclass(frozen=True, slots=True)
class Substitution:
    """What was asked for: quantities in units of their assets; `arrived` has come in since, less what left again."""

    approval: Approval
    account: MarginAccount
    out_asset: Asset
    out_quantity: Decimal
    in_asset: Asset
    in_quantity: Decimal
    destination: str
    arrived: Decimal

    @property
    def missing(self) -> Decimal:
        """Return what has still to come in."""
        with money.exact():
            return max(self.in_quantity - self.arrived, money.ZERO)

    @property
    def is_open(self) -> bool:
        """Return whether it may still be carried out."""
        return self.approval.state in approvals.OPEN


def of_account(account: MarginAccount, *, open_only: bool = False) -> Substitution | None:
    """Return the newest exchange of an account's collateral, or the one that is open."""
    found = Approval.objects.filter(
        kind=KIND, client=account.client_id, payload__margin_account=str(account.public_id)
    ).select_related("maker", "checker", "client")
    if open_only:
        found = found.filter(state__in=approvals.OPEN)
    newest = found.order_by("-requested_at", "-pk").first()
    return read([newest])[0] if newest else None


def read(asked: Sequence[Approval]) -> list[Substitution]:
    """Return what some requests ask for, and what has come in for each."""
    codes = {row.payload[name] for row in asked for name in ("out_asset", "in_asset")}
    assets = {asset.code: asset for asset in Asset.objects.filter(code__in=codes)}
    ids = {row.payload["margin_account"] for row in asked}
    accounts = {
        str(account.public_id): account
        for account in MarginAccount.objects.filter(public_id__in=ids).select_related("client")
    }
    return [
        Substitution(
            approval=row,
            account=accounts[row.payload["margin_account"]],
            out_asset=assets[row.payload["out_asset"]],
            out_quantity=Decimal(row.payload["out_quantity"]),
            in_asset=assets[row.payload["in_asset"]],
            in_quantity=Decimal(row.payload["in_quantity"]),
            destination=row.payload["destination"],
            arrived=_arrived(accounts[row.payload["margin_account"]], assets[row.payload["in_asset"]], row),
        )
        for row in asked
    ]


def earmarked(accounts: Iterable[MarginAccount]) -> set[int]:
    """Return which of some accounts hold what has come for an exchange that is still open, by their keys."""
    by_id = {str(account.public_id): account for account in accounts}
    open_ones = Approval.objects.filter(
        kind=KIND, state__in=approvals.OPEN, payload__margin_account__in=list(by_id)
    ).select_related("maker", "checker", "client")
    return {found.account.pk for found in read(list(open_ones)) if found.arrived}


def _arrived(account: MarginAccount, asset: Asset, asked: Approval) -> Decimal:
    since = PledgeMovement.objects.filter(margin_account=account, asset=asset, recorded_at__gte=asked.requested_at)
    return max(since.aggregate(sum=Sum(_SIGNED))["sum"] or money.ZERO, money.ZERO)
