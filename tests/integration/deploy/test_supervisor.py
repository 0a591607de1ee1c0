"""The supervisor of processes, on small processes of the test's own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.embedded.layout import CHECKOUT
from deploy.embedded.processes import alive

pytestmark = pytest.mark.processes

SUPERVISE = """
import sys
from pathlib import Path
from deploy.run.supervisor import Service, Supervisor
folder = Path(sys.argv[1])
def child(name, body):
    return Service(name, (sys.executable, "-u", "-c", f"import os, signal, subprocess, sys, time; {body}"))
services = [
    child("steady", "print('hello'); time.sleep(600)"),
    child("deaf", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"),
    child("parent", "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(601)']);"
                    " print('grandchild', c.pid); time.sleep(600)"),
]
def say(name, line):
    print(f"{name}|{line}", flush=True)
import deploy.run.supervisor as module
module._STOP_S = 1.0
Supervisor(services, environment={}, folder=folder, say=say).run()
print("platform|over", flush=True)
"""


class Run:
    """A supervisor in a process of its own, and what it printed so far."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, str(folder)], cwd=CHECKOUT, stdout=out, stderr=out
            )

    def lines(self, name: str) -> list[str]:
        return [line.split("|", 1)[1] for line in self.out.read_text().splitlines() if line.startswith(name + "|")]

    def pids(self) -> dict[str, int]:
        started = {}
        for name in ("steady", "deaf", "parent"):
            for line in self.lines(name):
                if line.startswith("started as "):
                    started[name] = int(line.split()[-1])
        for line in self.lines("parent"):
            if line.startswith("grandchild"):
                started["grandchild"] = int(line.split()[-1])
        return started


def until(what: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    until(lambda: len(started.pids()) == 4 and "deaf" in started.lines("deaf"))
    yield started
    started.process.terminate()  # it ends its children's children too
    started.process.wait(10)


def test_it_passes_lines_on_under_the_name_of_their_process(run):
    until(lambda: "hello" in run.lines("steady"))


def test_a_killed_child_is_started_again(run):
    first = run.pids()["steady"]
    os.kill(first, signal.SIGKILL)
    until(lambda: run.pids()["steady"] != first)
    assert any("signal SIGKILL" in line for line in run.lines("steady"))
    assert run.process.poll() is None


def test_backoff_grows_while_a_child_keeps_ending(run):
    waits = []
    for _ in range(3):
        pid = run.pids()["steady"]
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: run.pids()["steady"] != pid)
    waits = [line.rsplit("in ", 1)[1] for line in run.lines("steady") if "starting again" in line]
    assert waits == ["0.2 s", "0.5 s", "1 s"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_stop_leaves_no_process_not_even_a_deaf_one(run, signum):
    pids = run.pids()
    run.process.send_signal(signum)
    assert run.process.wait(10) == 0
    assert run.lines("platform") == ["over"]
    assert not [name for name, pid in pids.items() if alive(pid)]


def test_children_die_with_a_killed_supervisor(run):
    pids = run.pids()
    run.process.kill()
    until(lambda: not [name for name in ("steady", "deaf", "parent") if alive(pids[name])])
    os.kill(pids["grandchild"], signal.SIGKILL)
