"""The desk's trades: blocks of liquidation orders, quotes, fills and settlements."""

from otc.models.trading import (
    Allocation,
    Block,
    BlockOrder,
    Commitment,
    Dealer,
    Fill,
    Quote,
    Rfq,
    Settlement,
    ThrottleDecision,
)

__all__ = [
    "Allocation",
    "Block",
    "BlockOrder",
    "Commitment",
    "Dealer",
    "Fill",
    "Quote",
    "Rfq",
    "Settlement",
    "ThrottleDecision",
]
