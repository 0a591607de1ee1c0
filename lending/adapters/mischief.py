"""How the paper custodian misbehaves: for shares of what it is asked, drawn by the seed, or the next time on demand."""

from dataclasses import dataclass, fields
from enum import StrEnum


class Fate(StrEnum):
    """What can become of a transfer that goes another way than usual."""

    LOST = "lost"  # out: accepted, and the answer never comes
    SLOW = "slow"  # out: executed minutes later
    FAILED = "failed"  # out: accepted, and given up minutes later
    LATE = "late"  # in: seen long after it was sent
    GONE = "gone"  # in: its block is dropped, and it never comes back
    MOVED = "moved"  # in: its block is dropped, and it comes back in another


OUT = (Fate.LOST, Fate.SLOW, Fate.FAILED)
IN = (Fate.LATE, Fate.GONE, Fate.MOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """Shares in [0, 1]: of transfers that meet each fate, and of webhooks sent twice, late or never."""

    lost: float = 0.05
    slow: float = 0.10
    failed: float = 0.0
    late: float = 0.0
    gone: float = 0.0
    moved: float = 0.0
    hook_twice: float = 0.0
    hook_late: float = 0.0
    hook_lost: float = 0.0


CALM = Temper()
DIFFICULT = Temper(
    lost=0.20, slow=0.30, failed=0.15, late=0.20, gone=0.10, moved=0.15, hook_twice=0.30, hook_late=0.30, hook_lost=0.20
)
TEMPERS = {"calm": CALM, "difficult": DIFFICULT}
HOOK_FATES = tuple(field.name for field in fields(Temper) if field.name.startswith("hook_"))
