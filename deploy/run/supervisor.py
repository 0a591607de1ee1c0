"""
A supervisor of plain processes: starts, watches, restarts with backoff, merges their lines, ends them all.

One thread, because the kernel ties "die with the parent" to the thread that forked. It knows nothing of Django.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deploy.embedded.processes import die_with_parent

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 20.0  # a process that lived this long starts again from the first backoff
_STOP_S = 12.0
_LINE_BYTES = 16_384


@dataclass(frozen=True)
class Service:
    """One process of the platform; services that stop first stand last. `passes` are descriptors that it inherits."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    passes: tuple[int, ...] = ()


@dataclass
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0  # when a child that ended is started again
    partial: bytes = b""


class Supervisor:
    """
    Run services until told to stop.

    Parameters
    ----------
    services : started in this order, stopped in the reverse one
    environment : what every child gets on top of its own
    folder : working directory of every child
    say : takes (service name, line); the one place where anything is printed
    """

    def __init__(
        self,
        services: list[Service],
        *,
        environment: dict[str, str],
        folder: Path,
        say: Callable[[str, str], None],
    ) -> None:
        self._children = [_Child(service) for service in services]
        self._environment = environment
        self._folder = folder
        self._say = say
        self._stopping = False
        self._pipes = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def run(self, *, each_second: Callable[[], None] = lambda: None) -> None:
        """
        Start every service and return once a signal asked for the end and all of them are gone.

        `each_second` is called about once a second between other work.
        """
        before = {signum: signal.signal(signum, self._ask_to_stop) for signum in _ENDING}
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._pipes.register(self._wake_read, selectors.EVENT_READ)
        try:
            self._watch(each_second)
        finally:
            self._stop_all()
            signal.set_wakeup_fd(-1)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            self._pipes.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def pids(self) -> dict[str, int]:
        """Return the process of each service that runs."""
        return {child.service.name: child.process.pid for child in self._children if child.process}

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _watch(self, each_second: Callable[[], None]) -> None:
        next_second = 0.0
        while not self._stopping:
            for child in self._children:
                if child.process is None and time.monotonic() >= child.due:
                    self._start(child)
            self._read(0.1)
            for child in self._children:
                self._notice_end(child)
            if time.monotonic() >= next_second:
                each_second()
                next_second = time.monotonic() + 1.0

    def _start(self, child: _Child) -> None:
        process = subprocess.Popen(
            child.service.command,
            cwd=self._folder,
            env={**os.environ, **self._environment, **child.service.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=child.service.passes,
            start_new_session=True,  # a Ctrl-C reaches the supervisor alone
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  one thread
        )
        child.process, child.started, child.partial = process, time.monotonic(), b""
        pipe = _pipe_of(process)
        os.set_blocking(pipe.fileno(), False)
        self._pipes.register(pipe, selectors.EVENT_READ, child)
        self._say(child.service.name, f"started as {process.pid}")

    def _read(self, seconds: float) -> None:
        for key, _ in self._pipes.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 64)
            else:
                self._take_lines(key.data)

    def _take_lines(self, child: _Child) -> bool:
        """Print what a child wrote, line by line, and tell whether its pipe is still open."""
        if child.process is None:
            return False
        pipe = _pipe_of(child.process)
        try:
            got = os.read(pipe.fileno(), 65_536)
        except BlockingIOError:
            return True
        *lines, child.partial = (child.partial + got).split(b"\n")
        if len(child.partial) > _LINE_BYTES or (not got and child.partial):
            lines, child.partial = [*lines, child.partial], b""
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                self._say(child.service.name, text)
        if not got:
            with contextlib.suppress(KeyError):
                self._pipes.unregister(pipe)
        return bool(got)

    def _notice_end(self, child: _Child) -> None:
        """Plan the restart of a child that ended, later each time unless it had run steadily."""
        if child.process is None or child.process.poll() is None:
            return
        lived = time.monotonic() - child.started
        child.failures = 1 if lived > _STEADY_S else child.failures + 1
        wait = _BACKOFF_S[min(child.failures, len(_BACKOFF_S)) - 1]
        code = self._let_go(child)
        self._say(child.service.name, f"ended ({_how(code)}) after {lived:.0f} s, starting again in {wait:g} s")
        child.due = time.monotonic() + wait

    def _let_go(self, child: _Child) -> int:
        """Take the last lines of a child that ended, close its pipe, end what it left behind, return its code."""
        process = child.process
        if process is None:
            return 0
        _signal_group(process, signal.SIGKILL)  # its own children, if any
        while self._take_lines(child):
            if not self._pipes.select(0.05):
                break
        pipe = _pipe_of(process)
        with contextlib.suppress(KeyError, ValueError):
            self._pipes.unregister(pipe)
        pipe.close()
        child.process = None
        return process.wait()

    def _stop_all(self) -> None:
        """End every child, last started first, all given the same time; whoever overstays is killed."""
        for child in reversed(self._children):
            if child.process:
                _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while any(child.process for child in self._children):
            self._read(0.05)
            for child in self._children:
                if child.process is None:
                    continue
                if child.process.poll() is None and time.monotonic() > deadline:
                    self._say(child.service.name, "does not end, killed")
                    _signal_group(child.process, signal.SIGKILL)
                    child.process.wait()
                if child.process.poll() is not None:
                    self._let_go(child)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _pipe_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise ValueError("a child's output is always piped")
    return process.stdout


def _signal_group(process: subprocess.Popen[bytes], signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
