"""Which venues of a running scenario are cut off: a small file that whoever runs a drill writes and the feed reads."""

from collections.abc import Iterable
from pathlib import Path

from risk.engine.ticks import SourceTick


def silent(path: Path) -> frozenset[str]:
    """Return the codes of the venues that are cut off; none without a file."""
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return frozenset()


def write(path: Path, venues: Iterable[str]) -> None:
    """Have these venues cut off, and no others."""
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{venue}\n" for venue in sorted(venues)), encoding="utf-8")
    fresh.rename(path)


def heard(ticks: Iterable[SourceTick], away: frozenset[str]) -> list[SourceTick]:
    """Return the ticks of the venues that are not cut off."""
    return [tick for tick in ticks if tick.source not in away]
