"""What every page says of the simulation, while the demo runs."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

HIDDEN = "demo_hidden"


def demo(request: HttpRequest) -> dict[str, Any]:
    """Return what the page tells of the simulation: nothing at all unless the demo runs."""
    if not settings.PLIMSOLL_DEMO:
        return {}
    session = getattr(request, "session", {})
    return {"demo": {"told": not session.get(HIDDEN), "recorded": bool(settings.REPLAY_DIR)}}
