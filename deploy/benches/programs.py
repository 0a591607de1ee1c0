"""PostgreSQL's own programs, which the benches hold the platform against: psql and pgbench on the same server."""

import os
import shutil
import subprocess

from django.db import connection

from deploy.benches.compare import UnableToBench

SCALE = 10  # of pgbench: as many of its hottest rows


def command(name: str, database: str, *arguments: str, role: str = "owner") -> list[str]:
    """
    Return the command line of a program on a database of the server that this process uses.

    Raises
    ------
    UnableToBench
        If the program is nowhere to be found.
    """
    path = os.pathsep.join([os.environ.get("PSQL_DIR", ""), os.environ.get("PATH", os.defpath)])
    program = shutil.which(name, path=path)
    if not program:
        raise UnableToBench(f"{name} is not on PATH; the embedded PostgreSQL brings it")
    config = connection.settings_dict
    where = ["--host", str(config["HOST"] or "localhost"), "--username", role]
    port = ["--port", str(config["PORT"])] if config["PORT"] else []
    return [program, *where, *port, *arguments, database]


def run(name: str, database: str, *arguments: str, role: str = "owner") -> str:
    """Run a program to its end and return what it said; raise UnableToBench if it fails."""
    line = command(name, database, *arguments, role=role)
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UnableToBench(f"{name}: {done.stderr[-1000:]}")
    return done.stdout
