"""Is the platform alive: does the database answer, and how old is the newest mark."""

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Max
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lending import clock
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
        stale = Mark.objects.filter(quality__in=[Quality.STALE, Quality.HALTED]).count()
    except DatabaseError:
        return JsonResponse({"status": "down", "database": "down"}, status=503)
    age = {name: None if at is None else round(max((now - at).total_seconds(), 0.0), 1) for name, at in newest.items()}
    return JsonResponse(
        {
            "status": "ok",
            "database": "up",
            "now": now.isoformat(),
            "mark_age_s": age["any"],
            "good_mark_age_s": age["good"],
            "stale_marks": stale,
            "scenario": settings.PLIMSOLL_SCENARIO,
        }
    )
