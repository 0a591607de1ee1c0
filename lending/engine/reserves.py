"""The recipes of what a client sets aside for margin calls: it stays the client's, and nothing else can use it."""

from decimal import Decimal

from lending.engine.accounts import client_free, client_reserved
from lending.engine.drafts import Draft, Heading
from lending.engine.lines import client_of, move


def reserve(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int) -> Draft:
    """Return the entry that sets a part of the free balance aside for the calls of a margin account."""
    client_id = client_of(heading)
    target = client_reserved(asset, client_id, margin_account_id)
    return move(heading, "set_aside", target, client_free(asset, client_id), quantity)


def unreserve(heading: Heading, *, asset: str, quantity: Decimal, margin_account_id: int) -> Draft:
    """Return the entry that makes free again what was set aside: to be used for a call, or to be the client's."""
    client_id = client_of(heading)
    source = client_reserved(asset, client_id, margin_account_id)
    return move(heading, "set_free", client_free(asset, client_id), source, quantity)
