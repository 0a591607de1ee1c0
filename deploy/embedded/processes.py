"""Small facts about processes, and how a child is made to die with its parent."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """Return a preexec function that has the kernel send `signum` when the parent ends, however it ends."""
    libc = _LIBC
    if libc is None:
        return None
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it ended before the line above
            os.kill(os.getpid(), signum)

    return arrange


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie, which nobody may ever reap in a container, does not."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    if sys.platform == "linux":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def working_in(folder: Path) -> list[int]:
    """Return the running processes whose working directory is `folder` (PostgreSQL's all work in their data folder)."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink() == folder and alive(int(link.parent.name)):
                found.append(int(link.parent.name))
    return found


def end_all(pids: Callable[[], list[int]], *, gently: int, patience_s: float) -> None:
    """Send a gentle signal to every process that `pids` finds, wait, and kill what is left."""
    _signal(pids(), gently)
    deadline = time.monotonic() + patience_s
    while pids():
        if time.monotonic() > deadline:
            _signal(pids(), signal.SIGKILL)
        time.sleep(0.02)


def _signal(pids: list[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
