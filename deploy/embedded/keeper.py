"""
The keeper: a detached process that owns both servers and stops them when nobody uses them any more.

Two locks say everything, and the kernel lets go of both when their holder is killed: `keeper.lock` is held by the one
keeper, `users.lock` is shared by every process that uses the servers. A keeper that gets the users' lock to itself
knows that it was left alone.
"""

import fcntl
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from deploy.embedded.layout import Layout
from deploy.embedded.servers import Postgres, Server, UnableToStart, Valkey

_POLL_S = 0.1
_TRIES = 5
FLEETING = "fleeting"  # said by whoever starts a keeper whose servers may spare the disk


def hold(path: Path, mode: int, *, patience_s: float) -> IO[str] | None:
    """Return the open file once its lock is ours, or None when somebody else kept it for all that time."""
    file = path.open("a+")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(0.01)
        else:
            return file


def serve(layout: Layout, *, durable: bool) -> None:
    """Run both servers, restarting whichever ends, until nobody holds the users' lock."""
    keeper = hold(layout.locks / "keeper.lock", fcntl.LOCK_EX, patience_s=3)
    if keeper is None:
        return  # another keeper is at work
    postgres, valkey = Postgres(layout, durable=durable), Valkey(layout)
    servers: list[Server] = [postgres, valkey]
    left_alone: IO[str] | None = None
    try:
        for server in servers:
            _start(server)
        postgres.provide()
        _tell(layout, {"pid": os.getpid(), "sockets": str(layout.sockets), "valkey": str(valkey.socket)})
        while left_alone is None:
            for server in servers:
                if not server.running():
                    _say(f"{server.name} ended, starting it again")
                    _start(server)
            time.sleep(_POLL_S)
            left_alone = hold(layout.locks / "users.lock", fcntl.LOCK_EX, patience_s=0)
        layout.state.unlink(missing_ok=True)
    except (UnableToStart, OSError) as problem:
        _tell(layout, {"error": str(problem)})
        raise
    finally:
        for server in reversed(servers):
            server.stop()
        # In this order: whoever gets the users' lock next must find the keeper's free.
        keeper.close()
        if left_alone:
            left_alone.close()


def _start(server: Server) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            server.start()
        except UnableToStart:
            server.stop()
            if attempt == _TRIES:
                raise
            time.sleep(0.2 * attempt)
        else:
            _say(f"{server.name} answers")
            return


def _tell(layout: Layout, state: dict[str, object]) -> None:
    fresh = layout.state.with_suffix(".new")
    fresh.write_text(json.dumps(state))
    fresh.rename(layout.state)


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()


def _mind_signals() -> None:
    """Ignore what a terminal sends to all its processes, since users decide when servers stop; obey a plain kill."""
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def main() -> None:
    """Serve the data folder named on the command line, and say "fleeting" after it if nothing there must last."""
    _mind_signals()
    serve(Layout.of(Path(sys.argv[1])), durable=FLEETING not in sys.argv[2:])


if __name__ == "__main__":
    main()
