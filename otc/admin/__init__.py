"""The desk's part of the admin: what is in flight, what was done, and what it earned."""

from otc.admin import pnl, trading

__all__ = ["pnl", "trading"]
