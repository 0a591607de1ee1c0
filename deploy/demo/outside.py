"""The simulated world beyond the ports, as replays, borrowers and the demo desk reach it."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Protocol, cast

from django.conf import settings

from lending import ports


class PaperBank(Protocol):
    """What a paper custodian offers beyond the port: the door through which the simulated world sends transfers."""

    def simulate_deposit(
        self, ref: str, *, address: str, asset: str, quantity: Decimal, at: datetime, screened: bool = True
    ) -> None:
        """Send a transfer to an address; a repeated ref is sent once."""

    def simulate_opening(self, ref: str, *, asset: str, quantity: Decimal, at: datetime) -> None:
        """Send what a desk lends out of to its treasury address."""


def bank() -> PaperBank:
    """Return the paper custodian's door to the simulated world."""
    return cast("PaperBank", ports.custodian())


@contextlib.contextmanager
def in_process(*, custodian: str = "lending.adapters.custodian_inprocess.build") -> Iterator[None]:
    """Have the custodian answer inside this process for the time of a block."""
    before = settings.LENDING_CUSTODIAN
    settings.LENDING_CUSTODIAN = custodian
    ports.custodian.cache_clear()
    try:
        yield
    finally:
        settings.LENDING_CUSTODIAN = before
        ports.custodian.cache_clear()
