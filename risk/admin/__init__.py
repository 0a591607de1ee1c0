"""Risk's part of the admin: calls, orders, causes, marks and incidents to be read; doors to draws and releases."""

from risk.admin import funding, margin, prices, releases

__all__ = ["funding", "margin", "prices", "releases"]
