"""What manage.py does before Django reads its settings: servers for a command that needs them, and its role."""

import os
import subprocess
import sys

import psycopg

from deploy.embedded import session
from deploy.embedded.layout import CHECKOUT

# These start servers of their own choosing, or need none.
_WITHOUT = {"help", "version", "check", "collectstatic", "findstatic", "diffsettings", "run", "smoke", "prove_kills"}
_AS_OWNER = {"migrate", "makemigrations", "showmigrations", "sqlmigrate"}

_held: list[session.Session] = []  # until this process ends


def for_command(argv: list[str]) -> None:
    """Start or join the embedded servers for a command without DATABASE_URL, and pick its database role."""
    command = argv[1] if len(argv) > 1 else "help"
    if command in _AS_OWNER:
        os.environ.setdefault("PLIMSOLL_DB_ROLE", "owner")
    if command in _WITHOUT or "--help" in argv or os.environ.get("DATABASE_URL"):
        return
    joined = session.join()
    _held.append(joined)
    environment = joined.environment()
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), environment["PSQL_DIR"]])
    for name, value in environment.items():
        if not os.environ.get(name):
            os.environ[name] = value
    if command not in _AS_OWNER and not _is_migrated(joined):
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=CHECKOUT, check=True)


def _is_migrated(joined: session.Session) -> bool:
    """Tell whether the platform's database has ever been migrated; a fresh checkout's has not."""
    with psycopg.connect(joined.database_url("owner")) as connection:
        return connection.execute("SELECT to_regclass('django_migrations')").fetchone() != (None,)
