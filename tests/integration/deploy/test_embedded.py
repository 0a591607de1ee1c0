"""The embedded servers: who starts them, who stops them, and what they survive."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from deploy.embedded import session
from deploy.embedded.layout import CHECKOUT, Layout, reachable
from deploy.embedded.processes import alive, working_in

pytestmark = pytest.mark.processes

HOLD = """
import sys, time
from pathlib import Path
from deploy.embedded import session
joined = session.join(Path(sys.argv[1]))
print(joined.database_url("app"), flush=True)
sys.stdin.read()
joined.leave()
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Give a data folder; as root it stands under a closed home, since pytest's folders are."""
    folder = tmp_path / "data"
    yield folder
    layout = Layout.of(folder)
    until(lambda: not working_in(layout.postgres))
    shutil.rmtree(layout.sockets, ignore_errors=True)
    if layout.servers != layout.data:
        shutil.rmtree(layout.servers, ignore_errors=True)


def until(what: Callable[[], Any], *, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (got := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return got


def user(data: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a process that holds the servers until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("postgresql://")
    return process


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False


def keeper_of(data: Path) -> int:
    return int(json.loads((data / "run" / "keeper.json").read_text())["pid"])


def test_the_last_user_stops_them_and_an_earlier_one_does_not(data):
    first, second = user(data), session.join(data)
    url, keeper = second.database_url("app"), keeper_of(data)
    first.communicate("")
    time.sleep(0.5)
    assert answers(url)
    second.leave(wait_s=20)
    assert not answers(url)
    until(lambda: not alive(keeper))


def test_a_killed_user_is_no_user(data):
    process = user(data)
    keeper = keeper_of(data)
    process.kill()
    process.wait()
    until(lambda: not alive(keeper))
    assert not working_in(Layout.of(data).postgres)


def test_killed_servers_come_back_with_what_was_committed(data):
    joined = session.join(data)
    url = joined.database_url("owner")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    postmaster = int((joined.layout.postgres / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    (valkey,) = working_in(joined.layout.valkey)
    os.kill(valkey, signal.SIGKILL)
    until(lambda: answers(url) and [valkey] != working_in(joined.layout.valkey) != [])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    until(joined.valkey.exists)
    assert redis.Redis(unix_socket_path=str(joined.valkey)).ping()
    joined.leave(wait_s=20)


def test_a_killed_keeper_is_replaced(data):
    joined = session.join(data)
    killed = keeper_of(data)
    os.kill(killed, signal.SIGKILL)
    until(lambda: not alive(killed))
    joined.ensure()
    assert keeper_of(data) != killed
    assert answers(joined.database_url("app"))
    joined.leave(wait_s=20)


def test_many_that_join_together_share_one_keeper(data):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(data)], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    lines = {process.stdout.readline() for process in processes if process.stdout}
    assert len(lines) == 1
    started = (data / "log" / "keeper.log").read_text().count("postgres answers")
    for process in processes:
        process.communicate(b"")
    assert started == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another account")
def test_an_ordinary_user_runs_servers_of_its_own():
    account = pwd.getpwnam("nobody")
    if not reachable(Path(sys.executable).resolve(), account) or not reachable(CHECKOUT, account):
        pytest.skip("this Python or this checkout stands under a home that is closed to other accounts")
    folder = Path(f"/tmp/plimsoll-test-{os.getpid()}")
    folder.mkdir(mode=0o700)
    os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        process = user(folder / "data", user=account.pw_uid, group=account.pw_gid, extra_groups=[])
        assert (folder / "data" / "postgres").stat().st_uid == account.pw_uid
        process.communicate("")
        until(lambda: not working_in(folder / "data" / "postgres"))
    finally:
        shutil.rmtree(folder)
