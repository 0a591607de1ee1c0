"""A platform that a command or a test starts in a scratch folder, watches from outside, and ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from deploy.embedded.layout import CHECKOUT, Layout
from deploy.embedded.processes import alive, die_with_parent, working_in
from deploy.embedded.servers import DATABASE
from deploy.run.options import UnableToRun
from deploy.run.platform import private_log
from deploy.run.services import PYTHON

_GIVEN_BY_US = ("DATABASE_URL", "OWNER_DATABASE_URL", "BROKER_URL", "CACHE_URL", "SECRET_KEY", "RESET", "PORT", "START")


class Started:
    """A running platform, seen from outside: its processes, its addresses, its database, its log."""

    def __init__(self, data: Path, options: dict[str, str]) -> None:
        self.layout = Layout.of(data)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor, its output going to a file of the data folder."""
        self.layout.make()
        self.state_file.unlink(missing_ok=True)  # of a supervisor that was killed
        inherited = {name: value for name, value in os.environ.items() if name not in _GIVEN_BY_US}
        with private_log(self.output) as output:
            self._process = subprocess.Popen(
                [PYTHON, "manage.py", "run"],
                cwd=CHECKOUT,
                env={**inherited, "DATA_DIR": str(self.layout.data), **self._options},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  called from the main thread
            )

    def wait_until_ready(self, *, seconds: float = 120) -> dict[str, Any]:
        """Return what the platform says of itself once it is ready."""
        deadline = time.monotonic() + seconds
        while not (state := self.state()):
            if self._process is None or self._process.poll() is not None:
                raise UnableToRun(f"the platform ended before it was ready:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise UnableToRun(f"the platform was not ready within {seconds:.0f} s:\n{self.last_words()}")
            time.sleep(0.1)
        return state

    def stop(self) -> list[int]:
        """Stop it as Ctrl-C does and return the processes that are left over, of which there should be none."""
        known = {*self.pids().values(), *self.server_pids().values()}
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return sorted(pid for pid in known if alive(pid))

    def kill(self) -> None:
        """Kill the supervisor without a chance to clean up."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def state_file(self) -> Path:
        return self.layout.locks / "platform.json"

    @property
    def output(self) -> Path:
        return self.layout.logs / "output.log"

    def last_words(self) -> str:
        """Return the end of what it printed."""
        return self.output.read_text(errors="replace")[-3000:]

    def state(self) -> dict[str, Any]:
        """Return its address, people and processes; empty before it is ready."""
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return {}
        return state

    def pids(self) -> dict[str, int]:
        """Return the processes that the supervisor runs, by name."""
        return {name: int(pid) for name, pid in self.state().get("pids", {}).items()}

    def server_pids(self) -> dict[str, int]:
        """Return the servers and their keeper, by name, as far as they run."""
        found = {}
        with contextlib.suppress(OSError, ValueError, KeyError):
            found["keeper"] = int(json.loads(self.layout.state.read_text())["pid"])
        with contextlib.suppress(OSError, ValueError, IndexError):
            found["postgres"] = int((self.layout.postgres / "postmaster.pid").read_text().split()[0])
        for pid in working_in(self.layout.valkey):
            found["valkey"] = pid
        return {name: pid for name, pid in found.items() if alive(pid)}

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Look into its database as the role app, without counting as a user of the servers."""
        return psycopg.connect(
            host=str(self.layout.sockets), user="app", dbname=DATABASE, autocommit=True, connect_timeout=5
        )

    def url(self, role: str) -> str:
        """Return the address of its database, for a command of its own."""
        return f"postgresql://{role}@/{DATABASE}?host={self.layout.sockets}"


@contextlib.contextmanager
def started(options: dict[str, str]) -> Iterator[Started]:
    """Run a platform in a scratch folder for the time of a block, and leave neither files nor processes behind."""
    folder = Path(tempfile.mkdtemp(prefix="plimsoll-"))
    platform = Started(folder / "data", options)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
        for leftover in (folder, platform.layout.servers, platform.layout.sockets):
            shutil.rmtree(leftover, ignore_errors=True)
