"""The two servers: how each is made ready, started, asked whether it answers, and stopped."""

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from deploy.embedded.layout import Layout, postgres_bin, valkey_bin
from deploy.embedded.processes import die_with_parent, end_all, working_in

SUPERUSER = "postgres"  # only the keeper signs in as this one, to make the roles
DATABASE = "plimsoll"
_START_S = 30.0


class UnableToStart(RuntimeError):
    """A server did not come up; the message holds the end of its log."""


class Server(ABC):
    """One server process of the keeper's."""

    name: str
    stop_signal: int

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the argument list that runs the server in the foreground."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder fit for a start, whatever an earlier kill -9 left in it."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server takes connections."""

    @property
    def log(self) -> Path:
        return self.layout.logs / f"{self.name}.log"

    def start(self) -> None:
        """Start the server and return once it answers."""
        self.prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(self.stop_signal),  # noqa: PLW1509  the keeper has one thread
                start_new_session=True,
                **self.identity(),
            )
        deadline = time.monotonic() + _START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise UnableToStart(f"{self.name} did not start: {self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.02)

    def running(self) -> bool:
        """Tell whether the process started here still runs, reaping it when it does not."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop the server the quick clean way, and the hard way if it does not go."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def identity(self) -> dict[str, Any]:
        """Return the Popen arguments that drop to the unprivileged account, in a place and environment of its own."""
        mine: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
        if account := self.layout.account:
            mine |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return mine


class Postgres(Server):
    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown

    def __init__(self, layout: Layout, *, durable: bool = True) -> None:
        super().__init__(layout)
        self.durable = durable

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.layout.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:  # it outlives any process that is killed, though not a power cut
            settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "autovacuum"), "off")
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin() / "postgres"), "-D", str(self.layout.postgres), *flags]

    def prepare(self) -> None:
        data = self.layout.postgres
        # We hold the keeper's lock, so whoever works in this folder is an orphan of a keeper that was killed.
        end_all(lambda: working_in(data), gently=signal.SIGINT, patience_s=10)
        # And so a pid file is stale, whichever process has that number by now.
        for stale in (data / "postmaster.pid", self.layout.sockets / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)
        if not (data / "PG_VERSION").exists():
            for child in data.iterdir():  # an initdb that was cut short
                raise UnableToStart(f"{data} is neither empty nor a database cluster: it holds {child.name}")
            self._initialise(data)

    def _initialise(self, data: Path) -> None:
        fresh = data.with_name("postgres.new")
        subprocess.run(["/bin/rm", "-rf", str(fresh)], check=True)
        fresh.mkdir(mode=0o700)
        if self.layout.account:
            os.chown(fresh, self.layout.account.pw_uid, self.layout.account.pw_gid)
        done = subprocess.run(
            [
                str(self._bin() / "initdb"), "-D", str(fresh), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync",
            ],
            capture_output=True,
            text=True,
            check=False,
            **self.identity(),
        )  # fmt: skip
        if done.returncode:
            raise UnableToStart(f"initdb: {done.stderr[-1500:]}")
        data.rmdir()
        fresh.rename(data)

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self._superuser("postgres"):
            return True
        return False

    def provide(self) -> None:
        """Make the two roles and the platform's database where they are missing."""
        with self._superuser("postgres") as connection:
            roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            if "owner" not in roles:
                connection.execute("CREATE ROLE owner LOGIN CREATEDB NOSUPERUSER")
            if "app" not in roles:
                connection.execute("CREATE ROLE app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
            # Whoever drops a scratch database must be able to end the sessions of app in it.
            connection.execute("GRANT app TO owner")
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER owner").format(sql.Identifier(DATABASE)))

    def _superuser(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.layout.sockets), user=SUPERUSER, dbname=database, autocommit=True, connect_timeout=5
        )

    def _bin(self) -> Path:
        return postgres_bin(self.layout.account)


class Valkey(Server):
    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def socket(self) -> Path:
        return self.layout.sockets / "valkey.sock"

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.layout.valkey),
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [str(valkey_bin(self.layout.account)), *flags]

    def prepare(self) -> None:
        end_all(lambda: working_in(self.layout.valkey), gently=signal.SIGTERM, patience_s=10)
        self.socket.unlink(missing_ok=True)

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis(unix_socket_path=str(self.socket)) as client:
            return bool(client.ping())
        return False
