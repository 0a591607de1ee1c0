"""One run of the whole platform, from an empty folder to a clean stop."""

import contextlib
import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

import httpx

from deploy.embedded import session
from deploy.embedded.keeper import hold
from deploy.embedded.layout import CHECKOUT, Layout
from deploy.embedded.processes import die_with_parent
from deploy.run.options import Options, UnableToRun
from deploy.run.services import HOST, PYTHON, addresses, listen, services
from deploy.run.supervisor import Supervisor

_NAME_WIDTH = 9
_WISHES = ("jump.json", "silent_venues", "wanted_speed")  # of an earlier run's visitors
_FRESH_S = 90.0  # of platform time, which stands still while this is asked


def private_log(path: Path) -> TextIO:
    """Open a log to add lines to, which no other account may read, not even what an earlier run left in it."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path.open("a", buffering=1)


class Platform:
    """The platform of one data folder."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.layout = Layout.of(options.data)
        self._door = listen(options.port)
        self.url = f"http://{HOST}:{self._door.getsockname()[1]}"
        self._alive = self.layout.data / "alive_at"
        self._state = self.layout.locks / "platform.json"
        self._pids: dict[str, int] = {}
        self._log: IO[str] | None = None
        self._ready = False
        self._people: list[dict[str, str]] = []
        self._servers: session.Session | None = None

    def run(self) -> None:
        """Prepare, start everything, watch it, and return after a clean stop."""
        with self._door, self._alone():
            if self.options.reset:
                self._reset()
            self.layout.make()
            for told in (self._state, *(self.layout.locks / name for name in _WISHES)):
                told.unlink(missing_ok=True)
            with private_log(self.layout.logs / "platform.log") as self._log, self._joined() as environment:
                self._prepare(environment)
                supervisor = Supervisor(
                    services(self._door.fileno()), environment=environment, folder=CHECKOUT, say=self.say
                )
                supervisor.run(each_second=lambda: self._each_second(environment, supervisor.pids()))
                self._state.unlink(missing_ok=True)
                self.say("platform", "stopping the servers")
        sys.stdout.write("platform stopped, nothing is left running\n")

    def say(self, name: str, line: str, *, keep: bool = True) -> None:
        """Print one line of the log, and keep it in the data folder unless it is for whoever looks on only."""
        text = f"{datetime.now(UTC):%H:%M:%S} {name:<{_NAME_WIDTH}} {line}\n"
        with contextlib.suppress(BrokenPipeError):  # a terminal that was closed does not stop the platform
            sys.stdout.write(text)
            sys.stdout.flush()
        if self._log and keep:
            self._log.write(text)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.layout.make()
        lock = hold(self.layout.locks / "platform.lock", fcntl.LOCK_EX, patience_s=2)
        if lock is None:
            raise UnableToRun(f"a platform is already running on {self.layout.data}; DATA_DIR= names another folder")
        with lock:
            yield

    def _reset(self) -> None:
        if session.is_served(self.layout):
            raise UnableToRun(f"another command still uses the servers of {self.layout.data}; end it before a reset")
        self.layout.remove_data()

    @contextlib.contextmanager
    def _joined(self) -> Iterator[dict[str, str]]:
        """Give the environment of every process; on the embedded servers unless DATABASE_URL names others."""
        common = {
            "PYTHONUNBUFFERED": "1",
            "DATA_DIR": str(self.layout.data),
            "PLIMSOLL_DEMO": "1",
            **addresses(self.url),
            **self.options.environment(),
        }
        if os.environ.get("DATABASE_URL"):
            yield common
            return
        self.say("platform", f"data in {self.layout.data}")
        self._servers = session.join(self.layout.data)
        self.say("platform", "PostgreSQL and Valkey answer")
        try:
            yield {**self._servers.environment(), **common}
        finally:
            self._servers.leave(wait_s=20)

    def _prepare(self, environment: dict[str, str]) -> None:
        self.say("platform", "migrating")
        self._command(environment, "migrate", "--verbosity", "0")
        self.say("platform", f"preparing the demo desk for scenario {self.options.scenario}")
        arguments = ["--json"]
        if self.options.start:
            arguments += ["--start", self.options.start]
        if self._alive.exists():
            arguments += ["--stopped-at", self._alive.read_text()]
        heard = functools.partial(self.say, "prepare")
        quiet = {**environment, "LOG_LEVEL": "ERROR"}  # what the paper custodian does on purpose worries nobody here
        prepared = json.loads(self._command(quiet, "prepare", *arguments, heard=heard))
        self._people = prepared["people"]
        self.say("platform", prepared["said"])

    def _command(
        self, environment: dict[str, str], *arguments: str, heard: Callable[[str], None] = lambda _: None
    ) -> str:
        """Return what a command prints; `heard` gets each line of its progress as it comes."""
        with (
            tempfile.TemporaryFile("w+") as printed,
            subprocess.Popen(
                [PYTHON, "manage.py", *arguments],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  one thread
            ) as running,
        ):
            said = ""
            for line in running.stderr or ():
                said += line
                heard(line.rstrip())
            if running.wait():
                raise UnableToRun(f"manage.py {arguments[0]} failed:\n{said[-4000:]}")
            printed.seek(0)
            return printed.read()

    def _each_second(self, environment: dict[str, str], pids: dict[str, int]) -> None:
        """Note that we live, so that platform time can go on from here; keep the keeper; say once that we are ready."""
        fresh = self._alive.with_suffix(".new")
        fresh.write_text(datetime.now(UTC).isoformat())
        fresh.rename(self._alive)
        if self._servers:
            try:
                self._servers.ensure()
            except session.UnableToJoin as problem:
                self.say("platform", f"the servers do not come back yet: {problem}")
        if not self._ready and self._answers():
            # Time stood still until now: nothing is due before there is somebody to do it.
            self.say("platform", self._command(environment, "set_off").strip())
            self._ready = True
            self._say_ready()
        if self._ready and pids != self._pids:
            self._pids = pids
            self._tell(pids)

    def _answers(self) -> bool:
        """Tell whether a round has come all the way: from the feed by the marking worker to what web can see."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(f"{self.url}/healthz", timeout=0.5)
            age = answer.json().get("mark_age_s") if answer.is_success else None
            return age is not None and age <= _FRESH_S
        return False

    def _say_ready(self) -> None:
        self.say("platform", f"READY {self.url}")
        for who in self._people:
            line = f"  {who['role']:<22} {who['email']:<28} {who['password']}  {self.url}{who['door']}"
            self.say("platform", line, keep=False)

    def _tell(self, pids: dict[str, int]) -> None:
        """Leave our address and processes where commands of the same data folder find them."""
        fresh = self._state.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps({"url": self.url, "people": self._people, "pid": os.getpid(), "pids": pids}))
        fresh.rename(self._state)
