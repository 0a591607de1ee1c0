"""The console's live line."""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string

from lending import access, events, live
from lending.models import Event

STREAM = "console"


async def stream(request: HttpRequest) -> HttpResponseBase:
    """Send the console's events from the last one that the reader has, or only new ones, and then as they happen."""
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    reader = await request.auser()
    if not access.RISK_ROLES & await sync_to_async(access.roles_of)(reader):
        return HttpResponse("this line is for risk staff", status=403, content_type="text/plain")
    if request.GET.get("after") == "newest" and "Last-Event-ID" not in request.headers:
        after = await sync_to_async(events.last_seq)(STREAM)
    else:
        after = live.last_seen(request.headers.get("Last-Event-ID"), request.GET.get("after"))
    return live.response(STREAM, after, _line)


def _line(event: Event) -> str:
    return render_to_string("console/event.html", {"event": event})
