"""Every static check, two at a time, each with its time; all of them run, and any failure fails the whole."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
APPS = ["deploy", "lending", "risk", "otc"]
CHECKS: dict[str, list[str]] = {
    "types": ["mypy", *APPS, "manage.py"],  # the longest begins first
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "security": ["bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *APPS],
    "imports": ["lint-imports", "--no-cache"],
    "migrations": ["python", "manage.py", "makemigrations", "--check", "--dry-run"],
    "deployment": ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
}
# `check --deploy` judges the settings of a real deployment, whose secrets come from its environment.
DEPLOYED = {"SECRET_KEY": "x9" * 30 + "!Qz", "DEBUG": "false", "BEHIND_TLS": "true"}


def main() -> int:
    """Run the checks named on the command line, or all of them, and return how many failed."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return sum(pool.map(_failed, sys.argv[1:] or CHECKS))


def _failed(name: str) -> bool:
    program, *arguments = CHECKS[name]
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [str(BIN / program), *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **(DEPLOYED if name == "deployment" else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = "ok" if done.returncode == 0 else "FAILED"
    said = done.stdout + done.stderr if done.returncode else ""
    sys.stdout.write(f"{name:<12}{verdict:<8}{time.monotonic() - started:5.1f} s\n{said}")
    sys.stdout.flush()
    return bool(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
