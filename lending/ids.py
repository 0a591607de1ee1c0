"""Public identifiers: random in production, derived from natural keys where a replay must reproduce them."""

import uuid

NAMESPACE = uuid.UUID("5b6f9d0e-7a53-4c1e-9f57-3c1d2f0a8e11")


def new() -> uuid.UUID:
    """Return a random public id."""
    return uuid.uuid4()


def derived(*parts: object) -> uuid.UUID:
    """Return the public id that belongs to a natural key: the same parts always give the same id."""
    return uuid.uuid5(NAMESPACE, "/".join(str(part) for part in parts))
