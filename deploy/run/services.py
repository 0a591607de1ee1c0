"""What the platform consists of: one list of processes, each with the addresses it needs."""

import contextlib
import os
import socket
import sys

from deploy.run.supervisor import Service

PYTHON = sys.executable
HOST = "127.0.0.1"
PREFERRED_PORT = 8000


def free_port(preferred: int = 0) -> int:
    """Return a port nobody listens on: the preferred one when it is free."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on this machine")


def addresses() -> dict[str, str]:
    """Return where the simulated outside world listens in this run, for it and for its clients."""
    return {
        "LENDING_CUSTODIAN_URL": f"http://{HOST}:{free_port()}",
        "OTC_DEALERS_URL": f"http://{HOST}:{free_port()}",
    }


def services(port: int) -> list[Service]:
    """Return the processes in the order they start: the outside world, those who work, those who ask for work."""
    return [
        Service("custodian", _manage("custodian")),
        Service("dealers", _manage("dealers")),
        Service("web", _web(port), {"DB_POOL_MAX": "8"}),
        Service("marking", _worker("marking", "mark.0", "--pool", "solo"), {"DB_POOL_MAX": "2"}),
        Service(
            "worker", _worker("worker", "general", "--pool", "threads", "--concurrency", "4"), {"DB_POOL_MAX": "6"}
        ),
        Service("beat", _celery("beat", "--scheduler", "celery.beat:Scheduler", "--loglevel", "WARNING")),
        Service("feed", _manage("feed")),
        Service("borrowers", _manage("borrowers")),
    ]


def _manage(command: str) -> tuple[str, ...]:
    return (PYTHON, "manage.py", command)


def _celery(*arguments: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "celery", "--app", "deploy.celery", "--quiet", *arguments)


def _worker(name: str, queue: str, *arguments: str) -> tuple[str, ...]:
    # Gossip, mingle and heartbeats only serve workers that look for one another; rows coordinate ours.
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return _celery(
        "worker", "--hostname", f"{name}@plimsoll", "--queues", queue, "--loglevel", "WARNING", *alone, *arguments
    )


def _web(port: int) -> tuple[str, ...]:
    flags = ("--host", HOST, "--port", str(port), "--lifespan", "off", "--log-level", "warning", "--no-access-log")
    # Event streams stay open for ever: do not wait for them when asked to stop.
    stop = ("--timeout-graceful-shutdown", "2")
    return (PYTHON, "-m", "uvicorn", "deploy.asgi:application", *flags, *stop, *_proxy())


def _proxy() -> tuple[str, ...]:
    """Return whose X-Forwarded-For names the visitor: by default nobody's, or guesses could come from new addresses."""
    if os.environ.get("TRUST_PROXY", "").lower() not in {"1", "true", "yes", "on", "y", "ok"}:
        return ("--no-proxy-headers",)
    return ("--proxy-headers", "--forwarded-allow-ips", os.environ.get("FORWARDED_ALLOW_IPS") or HOST)
