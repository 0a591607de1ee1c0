"""What every page's frame needs: platform time, and the doors that its reader may open."""

from typing import Any

from django.http import HttpRequest

from lending import access, clock
from lending.models import Role


def platform(request: HttpRequest) -> dict[str, Any]:
    """Return platform time with its speed, so that a countdown runs on the platform's clock, and the reader's doors."""
    user = getattr(request, "user", None)
    # A door that has asked already has left its answers on the request.
    held = getattr(request, "roles", None)
    if held is None:
        held = access.roles_of(user) if user is not None else frozenset()
    now, speed, stop_at = getattr(request, "reading", None) or clock.reading()
    return {
        "platform_now": now,
        "platform_speed": speed,
        "platform_stop": stop_at,
        "doors": {
            "portal": bool(held & access.BORROWER_ROLES),
            "console": bool(held & access.RISK_ROLES),
            "admin": bool(held & access.STAFF_ROLES),
            "pnl": bool(held & {Role.DESK_HEAD, Role.AUDITOR, Role.COMPLIANCE}),
        },
    }
