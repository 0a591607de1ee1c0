"""What stands where a call's time left stands: the clock while it runs, and the sale once it is over."""

from datetime import datetime
from typing import Any

from django import template

from risk import sales
from risk.models import MarginCall

register = template.Library()


@register.inclusion_tag("components/time_left.html")
def time_left(call: MarginCall, now: datetime, why: bool = True) -> dict[str, Any]:
    """
    Write how long a call still has, or how its sale goes, of a call that was read `sales.with_sales`.

    `why` False leaves out what a sale waits for, which is the desk's business.
    """
    return {"call": call, "sale": sales.of(call), "now": now, "why": why}
