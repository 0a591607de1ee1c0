"""Risk's part of the admin: calls, orders, causes, marks and incidents to be read; doors to draws and releases."""

from risk.admin import freezes, funding, margin, prices, releases

__all__ = ["freezes", "funding", "margin", "prices", "releases"]
