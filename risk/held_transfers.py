"""Transfers that are kept apart because the custodian objects to their sender: a person must look at each."""

from datetime import datetime

from lending.engine import figures
from lending.models import Deposit
from risk import incidents

_SHOWN = 3


def watch_due(*, now: datetime) -> int:
    """Open an incident for each margin account with such a transfer, close it once none is left; return how many."""
    rows = Deposit.objects.filter(state=Deposit.State.HELD, address__isnull=False)
    kept: dict[int, list[Deposit]] = {}
    for row in rows.select_related("asset", "client", "address__margin_account").order_by("seen_at", "pk"):
        if row.address is not None:
            kept.setdefault(row.address.margin_account_id, []).append(row)
    return incidents.follow(incidents.TRANSFER_HELD, {key: _finding(held) for key, held in kept.items()}, now=now)


def _finding(held: list[Deposit]) -> incidents.Finding:
    said = ", ".join(figures.amount(row.quantity, row.asset.code) for row in held[:_SHOWN])
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    address = held[0].address
    if address is None:
        raise ValueError("a transfer to nobody's address is no margin account's")
    return incidents.Finding(
        address.margin_account,
        f"{held[0].client}: {said}{more} kept apart, because the custodian objects to the sender"[:300],
        {"transfers": [str(row.public_id) for row in held]},
    )
