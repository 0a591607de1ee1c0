"""What the platform consists of: one list of processes, each with the addresses it needs."""

import secrets
import socket
import sys
from base64 import b64encode

from deploy.run.options import UnableToRun
from deploy.run.supervisor import Service
from lending.engine import signatures

PYTHON = sys.executable
HOST = "127.0.0.1"
PREFERRED_PORT = 8000


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listen(port: int | None = None) -> socket.socket:
    """Listen on a port, by default the preferred one or, when that is taken, any; hold it and it stays ours."""
    for choice in (port,) if port else (PREFERRED_PORT, 0):
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, choice))
            door.listen(1024)  # or another could still bind it
        except OSError:
            door.close()
        else:
            return door
    raise UnableToRun(f"port {port} is taken; PORT= names another, and without it a free one is found")


def addresses(web: str) -> dict[str, str]:
    """
    Return where the simulated outside world listens in this run, for it and for its clients.

    The custodian tells `web` what happens, under a secret of this run.
    """
    return {
        "LENDING_CUSTODIAN_URL": f"http://{HOST}:{free_port()}",
        "LENDING_CUSTODIAN_HOOKS": f"{web}/hooks/custodian/",
        "LENDING_CUSTODIAN_SECRETS": signatures.PREFIX + b64encode(secrets.token_bytes(32)).decode(),
        "OTC_DEALERS_URL": f"http://{HOST}:{free_port()}",
    }


def services(door: int) -> list[Service]:
    """
    Return the processes in the order they start: the outside world, those who work, those who ask for work.

    `door` is the descriptor of the socket that web serves.
    """
    return [
        Service("custodian", _manage("custodian")),
        Service("dealers", _manage("dealers")),
        Service("web", (PYTHON, "-m", "deploy.run.web", str(door)), {"DB_POOL_MAX": "8"}, passes=(door,)),
        Service("marking", worker("marking", "mark.0", "--pool", "solo"), {"DB_POOL_MAX": "2"}),
        Service("worker", worker("worker", "general", "--pool", "threads", "--concurrency", "4"), {"DB_POOL_MAX": "6"}),
        Service("beat", _celery("beat", "--scheduler", "celery.beat:Scheduler", "--loglevel", "WARNING")),
        Service("feed", _manage("feed")),
        Service("borrowers", _manage("borrowers")),
    ]


def _manage(command: str) -> tuple[str, ...]:
    return (PYTHON, "manage.py", command)


def _celery(*arguments: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "celery", "--app", "deploy.celery", "--quiet", *arguments)


def worker(name: str, queue: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a worker that serves one queue."""
    # Gossip, mingle and heartbeats only serve workers that look for one another; rows coordinate ours.
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return _celery(
        "worker", "--hostname", f"{name}@plimsoll", "--queues", queue, "--loglevel", "WARNING", *alone, *arguments
    )
