"""Risk's part of the admin: calls, orders, causes, marks and incidents to be read; doors to draws and releases."""

from risk.admin import (
    booking,
    credit_policies,
    default_sales,
    drawing,
    freezes,
    funding,
    home,
    margin,
    prices,
    releases,
)

__all__ = [
    "booking",
    "credit_policies",
    "default_sales",
    "drawing",
    "freezes",
    "funding",
    "home",
    "margin",
    "prices",
    "releases",
]
