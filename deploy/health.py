"""Is the platform alive: does the database answer, how old is the newest mark, do both books of custody agree."""

from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Max, Min
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lending import breaks, clock
from lending.models import CustodyReading
from risk.models import Mark, Quality


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 while the database answers, with the age of marks in platform time; 503 when it does not."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        now = clock.now()
        newest = Mark.objects.aggregate(any=Max("as_of"), good=Max("last_good_at"))
        compared = CustodyReading.objects.aggregate(at=Min("reconciled_at"))["at"]
        found = list(breaks.standing().values_list("found_at", flat=True))
        stale = Mark.objects.filter(quality__in=[Quality.STALE, Quality.HALTED]).count()
    except DatabaseError:
        return JsonResponse({"status": "down", "database": "down"}, status=503)
    age = {name: _age(at, now) for name, at in newest.items()}
    return JsonResponse(
        {
            "status": "ok",
            "database": "up",
            "now": now.isoformat(),
            "mark_age_s": age["any"],
            "good_mark_age_s": age["good"],
            "stale_marks": stale,
            "custody_breaks": len(found),
            "oldest_custody_break_s": _age(found[0], now) if found else None,
            "reconciled_age_s": _age(compared, now),
            "scenario": settings.PLIMSOLL_SCENARIO,
        }
    )


def _age(at: datetime | None, now: datetime) -> float | None:
    """Return the age of an instant in seconds of platform time."""
    return None if at is None else round(max((now - at).total_seconds(), 0.0), 1)
