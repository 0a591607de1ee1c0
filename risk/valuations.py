"""What marks said at a past instant, for papers: those of minutes that were over, so that the answer never changes."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from lending.ports import Marked
from risk.models import MarkMinute

_MINUTE = timedelta(minutes=1)


def marks_at(codes: Iterable[str], *, at: datetime) -> dict[str, Marked]:
    """Return the newest mark of each asset of a minute that was over at an instant; one without a mark is left out."""
    over = MarkMinute.objects.filter(asset__code__in=set(codes), at__lte=at - _MINUTE)
    newest = over.order_by("asset", "-at").distinct("asset").select_related("asset")
    return {row.asset.code: Marked(row.price, str(row.quality), row.at) for row in newest}
