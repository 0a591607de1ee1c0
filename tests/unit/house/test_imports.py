"""The import contracts hold, and each of them notices when it is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.layout import CHECKOUT

# where a line is planted, the line, and the contract that has to notice
VIOLATIONS = {
    "lending calls up": ("lending/ids.py", "import risk.models", "apps"),
    "risk calls up": ("risk/models/__init__.py", "import otc.models", "apps"),
    "somebody imports deploy": ("otc/apps.py", "import deploy.celery", "apps"),
    "a model knows a door": ("lending/models/assets.py", "import lending.apps", "lending-floors"),
    "a model knows an adapter": ("risk/models/prices.py", "import risk.adapters", "risk-floors"),
    "a module without a floor": ("otc/helpers.py", "", "otc-floors"),
    "an engine reads the database": ("risk/engine/__init__.py", "import django.db", "pure-engines"),
    "an engine draws lots": ("otc/engine/__init__.py", "import random", "pure-engines"),
    "a stranger writes the ledger": ("otc/apps.py", "import lending.models.ledger", "ledger-rows"),
    "a door builds an adapter": ("lending/apps.py", "import lending.adapters", "ports"),
}


def lint(folder: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    chosen = ["--contract", contract] if contract else []
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *chosen]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the sources, for planting things in."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("deploy", "lending", "risk", "otc"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


def test_the_contracts_hold():
    done = lint(CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_is_noticed(copy, name):
    path, line, contract = VIOLATIONS[name]
    target = copy / path
    before = target.read_text() if target.exists() else None
    target.write_text(f"{before or ''}\n{line}\n")
    try:
        done = lint(copy, contract)
    finally:
        if before is None:
            target.unlink()
        else:
            target.write_text(before)
    assert done.returncode == 1, f"nobody noticed: {done.stdout}{done.stderr}"
    assert "BROKEN" in done.stdout
