"""Transfers in, as their sender asks about them: where to send, how soon it can count, whether it has arrived."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import ExpressionWrapper, F, IntegerField, Max, Min, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Greatest

from lending.models import Client, CustodyReading, Deposit, DepositAddress

MOST_SHOWN = 20
# Nobody is to send to an address at which the custodian would not see it.
SHOWN = Q(address_key=None) | Q(watched_at__isnull=False)
_NEEDED = Greatest(Coalesce(Max("asset__networks__confirmations"), 0), Value(1))
_PACE = ExpressionWrapper(
    F("asset__networks__block_s") * Greatest(F("asset__networks__confirmations"), Value(1)), output_field=IntegerField()
)


class UnableToLookUp(ValueError):
    """The question names neither a transaction nor an asset with an amount."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to "did my transfer arrive?": the transfers that fit, and until when everything seen is known."""

    transfers: list[Deposit]
    unmatched: bool
    read_at: datetime | None


def of_account(margin_account_id: int) -> list[Deposit]:
    """Return the newest transfers to a margin account's addresses, each with the confirmations it needs."""
    return list(_whole(Deposit.objects.filter(address__margin_account=margin_account_id))[:MOST_SHOWN])


def in_final_confirmation(margin_account_id: int) -> list[Deposit]:
    """
    Return the transfers to a margin account that lack their last confirmation, or its booking, and nothing else.

    One that is in no block yet, and so can be replaced, or whose sender was not screened, is none of them.
    """
    found = Deposit.objects.filter(
        address__margin_account=margin_account_id,
        state__in=(Deposit.State.PENDING, Deposit.State.CONFIRMED),
        final_since__isnull=False,
        screened=True,
    )
    return list(found.select_related("asset", "address").order_by("position"))


def addresses(margin_account_id: int, *, now: datetime) -> dict[tuple[str, str], DepositAddress]:
    """
    Return a margin account's addresses by purpose and asset, each with the earliest time at which a transfer counts.

    `counts_at` is when a transfer sent now would have its confirmations on the fastest network of its asset, at the
    pace that is usual there; None where that is not known. `needed` is the number of those confirmations.
    """
    rows = DepositAddress.objects.filter(margin_account=margin_account_id).filter(SHOWN)
    rows = rows.select_related("asset")
    found = rows.annotate(needed=_NEEDED, takes_s=Coalesce(Min(_PACE), 0)).order_by("purpose", "asset__code")
    for row in found:
        row.counts_at = now + timedelta(seconds=row.takes_s) if row.takes_s else None  # type: ignore[attr-defined]
    return {(row.purpose, row.asset.code): row for row in found}


def look_up(client: Client, *, ref: str = "", asset: str = "", quantity: Decimal | None = None) -> Found:
    """
    Return the transfers of a client that fit a transaction id, or an asset and an amount, the newest first.

    A transfer of another client is not found. One that arrived at an address that belongs to nobody shows only to
    whoever names its id, and only as `unmatched`.

    Raises
    ------
    UnableToLookUp
        If neither an id nor an asset with an amount is given.
    """
    if ref:
        every = Deposit.objects.filter(custodian_ref=ref)
    elif asset and quantity is not None:
        every = Deposit.objects.filter(asset__code=asset, quantity=quantity)
    else:
        raise UnableToLookUp("name the transaction, or the asset and the amount")
    readings = CustodyReading.objects.aggregate(known=Min("read_at"))
    found = list(_whole(every.filter(client=client))[:MOST_SHOWN])
    unmatched = bool(ref) and not found and every.filter(client=None).exists()
    return Found(found, unmatched, readings["known"])


def _whole(rows: QuerySet[Deposit]) -> QuerySet[Deposit]:
    return rows.select_related("asset", "address").annotate(needed=_NEEDED).order_by("-seen_at", "-pk")
