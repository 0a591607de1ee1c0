"""One process's use of the embedded servers: join, have the addresses, leave."""

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.embedded.keeper import FLEETING, hold
from deploy.embedded.layout import CHECKOUT, Layout, default_data_dir, postgres_bin
from deploy.embedded.processes import alive
from deploy.embedded.servers import DATABASE

_JOIN_S = 60.0


class UnableToJoin(RuntimeError):
    """The embedded servers did not come up."""


@dataclass
class Session:
    """The servers of one data folder, up for as long as this session is held."""

    layout: Layout
    sockets: Path
    valkey: Path
    users: IO[str]
    durable: bool = True

    def database_url(self, role: str, name: str = DATABASE) -> str:
        """Return an address that psql, psycopg and the settings all understand."""
        return f"postgresql://{role}@/{name}?host={self.sockets}"

    def environment(self) -> dict[str, str]:
        """Return the settings of a platform that runs on these servers."""
        return {
            "DATA_DIR": str(self.layout.data),
            "DATABASE_URL": self.database_url("app"),
            "OWNER_DATABASE_URL": self.database_url("owner"),
            "BROKER_URL": f"redis+socket://{self.valkey}?virtual_host=0",
            "CACHE_URL": f"unix://{self.valkey}?db=1",
            "SECRET_KEY": _secret_key(self.layout),
            "BEHIND_TLS": "false",
            "PSQL_DIR": str(postgres_bin(self.layout.account)),
        }

    def ensure(self) -> None:
        """Have a keeper again, when somebody killed it."""
        if not _keeper_runs(self.layout):
            _wait_until_served(self.layout, durable=self.durable)

    def leave(self, *, wait_s: float = 0) -> None:
        """Stop using the servers; with `wait_s`, give the keeper that long to end if we were the last."""
        self.users.close()
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and _keeper_runs(self.layout) and not _used(self.layout):
            time.sleep(0.05)


def join(data: Path | None = None, *, durable: bool = True) -> Session:
    """
    Return a session on the servers of a data folder, started if nobody had.

    Servers that are not durable, started for tests, spare the disk: what they hold is lost when the machine stops.
    """
    layout = Layout.of(data or default_data_dir())
    layout.make()
    users = hold(layout.locks / "users.lock", fcntl.LOCK_SH, patience_s=_JOIN_S)  # a stopping keeper has it
    if users is None:
        raise UnableToJoin(f"the keeper of {layout.data} is stopping and does not end")
    try:
        state = _wait_until_served(layout, durable=durable)
    except BaseException:
        users.close()
        raise
    return Session(layout, Path(str(state["sockets"])), Path(str(state["valkey"])), users, durable)


def _wait_until_served(layout: Layout, *, durable: bool) -> dict[str, object]:
    deadline = time.monotonic() + _JOIN_S
    while time.monotonic() < deadline:
        if not _keeper_runs(layout):
            _start_keeper(layout, durable=durable)
        state = _read(layout)
        if "error" in state:
            raise UnableToJoin(f"{state['error']} (see {layout.logs})")
        if "pid" in state and alive(int(str(state["pid"]))):
            return state
        time.sleep(0.02)
    raise UnableToJoin(f"the servers of {layout.data} did not answer within {_JOIN_S:.0f} s, see {layout.logs}")


def _start_keeper(layout: Layout, *, durable: bool) -> None:
    """Start a keeper unless a neighbour just did; return once it holds its lock."""
    starting = hold(layout.locks / "start.lock", fcntl.LOCK_EX, patience_s=_JOIN_S)
    if starting is None:
        raise UnableToJoin(f"another process has been starting the keeper of {layout.data} for too long")
    with starting:
        if _keeper_runs(layout):
            return
        layout.state.unlink(missing_ok=True)
        with (layout.logs / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "deploy.embedded.keeper", str(layout.data), *([] if durable else [FLEETING])],
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not _keeper_runs(layout) and keeper.poll() is None:
            time.sleep(0.01)


def is_served(layout: Layout) -> bool:
    """Tell whether servers run, or are being started, on a data folder."""
    return _keeper_runs(layout)


def _keeper_runs(layout: Layout) -> bool:
    """Tell whether somebody holds the keeper's lock."""
    free = hold(layout.locks / "keeper.lock", fcntl.LOCK_SH, patience_s=0)
    if free is None:
        return True
    free.close()
    return False


def _used(layout: Layout) -> bool:
    """Tell whether another process shares the users' lock; a keeper that is stopping holds it alone."""
    shared = hold(layout.locks / "users.lock", fcntl.LOCK_SH, patience_s=0)
    if shared is None:
        return False
    try:
        fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        shared.close()


def _read(layout: Layout) -> dict[str, object]:
    try:
        state: dict[str, object] = json.loads(layout.state.read_text())
    except FileNotFoundError:
        return {}
    return state


def _secret_key(layout: Layout) -> str:
    """Return this data folder's own secret, made at first use."""
    path = layout.data / "secret_key"
    if not path.exists():
        fresh = path.with_name(f"secret_key.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(60))
        try:
            os.link(fresh, path)  # of two that came here together, the first one counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text()
