"""A module is read in one sitting."""

from pathlib import Path

import pytest

from deploy.embedded.layout import CHECKOUT

LIMIT = 400
FOLDERS = ("deploy", "lending", "risk", "otc", "tests")


def too_long(folder: Path) -> list[str]:
    """Return every Python module over the limit; migrations are written by a machine."""
    return [
        f"{path.relative_to(folder)}: {lines} lines"
        for name in FOLDERS
        for path in sorted((folder / name).rglob("*.py"))
        if "migrations" not in path.parts and (lines := len(path.read_text().splitlines())) > LIMIT
    ]


def test_no_module_is_over_400_lines():
    assert too_long(CHECKOUT) == []


@pytest.mark.parametrize(("lines", "found"), [(LIMIT, 0), (LIMIT + 1, 1)])
def test_a_long_module_is_noticed(tmp_path, lines, found):
    module = tmp_path / "risk" / "long.py"
    module.parent.mkdir()
    module.write_text("x = 1\n" * lines)
    assert len(too_long(tmp_path)) == found
