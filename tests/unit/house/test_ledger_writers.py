"""Ledger rows are read in many places and written in one."""

import re
from pathlib import Path

import pytest

from deploy.embedded.layout import CHECKOUT

WRITERS = {
    "lending/ledger.py",
    "lending/seals.py",
    "deploy/benches/accrual.py",  # a yardstick, on a database of its own that is dropped
}
WRITES = re.compile(
    r"\b(Entry|Posting|LedgerBalance|Seal)\.objects\.(bulk_create|create|get_or_create|update_or_create)\("
    r"|\b(Entry|Posting|LedgerBalance|Seal)\.objects(\.\w+\([^)]*\))*\.(update|delete|bulk_update)\("
    r"|(INSERT\s+INTO|UPDATE|DELETE\s+FROM|COPY)\s+\"?lending_(entry|posting|ledgerbalance|seal)\b",
    re.IGNORECASE,
)


def writers(folder: Path) -> set[str]:
    """Return the modules that write ledger rows; migrations hold the guards themselves."""
    return {
        str(path.relative_to(folder))
        for name in ("deploy", "lending", "risk", "otc")
        for path in (folder / name).rglob("*.py")
        if "migrations" not in path.parts and WRITES.search(path.read_text())
    }


def test_only_the_ledger_writes_ledger_rows():
    assert writers(CHECKOUT) <= WRITERS


@pytest.mark.parametrize(
    "line",
    [
        "Posting.objects.create(amount=1)",
        "Entry.objects.filter(pk=1).update(kind='x')",
        "cursor.execute('INSERT INTO lending_posting VALUES (1)')",
        "Posting.objects.bulk_create(rows)",
    ],
)
def test_a_stranger_is_noticed(tmp_path, line):
    module = tmp_path / "otc" / "settlement.py"
    module.parent.mkdir()
    module.write_text(line)
    assert writers(tmp_path) == {"otc/settlement.py"}
