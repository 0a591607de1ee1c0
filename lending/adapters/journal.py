"""Records that outlive a kill: one JSON object a line, each forced to disk before it counts."""

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file; a line cut short by a kill was never answered for, and is dropped."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab")

    def records(self) -> list[dict[str, Any]]:
        """Return what was kept."""
        kept = self._path.read_bytes()
        whole = kept[: kept.rfind(b"\n") + 1]
        if len(whole) < len(kept):
            os.truncate(self._path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, record: dict[str, Any]) -> None:
        """Keep one record."""
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
