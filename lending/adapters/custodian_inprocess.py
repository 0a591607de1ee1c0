"""The paper custodian inside this process: without a memory for replays and tests, or on the journal of a server."""

from pathlib import Path

from django.conf import settings

from lending.adapters.journal import Journal
from lending.adapters.mischief import CALM, Temper
from lending.adapters.paper_custodian import PaperCustodian


def build() -> PaperCustodian:
    """Return a new paper custodian under the platform's seed."""
    return PaperCustodian(settings.PLIMSOLL_SEED)


def journaled(path: Path, *, seed: int, temper: Temper = CALM) -> PaperCustodian:
    """Return the paper custodian that a journal remembers; one process at a time may use a journal."""
    kept = Journal(path)
    custodian = PaperCustodian(seed, journal=kept.append, temper=temper)
    for record in kept.records():
        custodian.replay(record)
    return custodian


def of_data_dir() -> PaperCustodian:
    """Return the paper custodian that the process of this data folder will be once it has read its journal."""
    return journaled(Path(settings.DATA_DIR) / "custodian.jsonl", seed=settings.PLIMSOLL_SEED)
