"""
Databases made for one use: a migrated template once, then quick clones of it that are dropped, never flushed.

Tests, replays and benchmarks run in such a clone as the role `app`; only `owner` makes, migrates and drops one.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql

from deploy.embedded.processes import alive

_TEMPLATE = "plimsoll_template_"
_SCRATCH = "plimsoll_scratch_"
_DROP_TRIES = 20


class UnableToMakeDatabase(RuntimeError):
    """Migrating a new database failed; the message holds what the command said."""


def url_of(url: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def template() -> str:
    """Return the name of a database migrated by the migrations as they stand, building it if there is none."""
    name = _TEMPLATE + _fingerprint()
    with _owner() as owner:
        if _exists(owner, name):
            return name
        # Neighbours that want the same template wait here instead of building it twice.
        owner.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
        if not _exists(owner, name):
            _drop_unused(owner)
            fresh = f"{_SCRATCH}{os.getpid()}_{uuid.uuid4().hex[:8]}"
            owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(fresh)))
            _migrate(fresh)
            owner.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (fresh, name))))
    return name


def clone() -> str:
    """Make a database from the template and return its name."""
    source = template()
    name = f"{_SCRATCH}{os.getpid()}_{uuid.uuid4().hex[:8]}"
    with _owner() as owner:
        # Copying files asks for checkpoints, which cost nothing where nothing is forced to disk, as in tests.
        durable = owner.execute("SHOW fsync").fetchone() != ("off",)
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {}")
        how = sql.SQL("WAL_LOG" if durable else "FILE_COPY")
        owner.execute(made.format(sql.Identifier(name), sql.Identifier(source), how))
    return name


def drop(name: str) -> None:
    """Drop a database made by `clone`, ending whatever still uses it."""
    if not name.startswith(_SCRATCH):
        raise ValueError(f"{name} was not made for one use")
    for tries_left in reversed(range(_DROP_TRIES)):
        try:
            with _owner() as owner:
                owner.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            return
        except psycopg.errors.InsufficientPrivilege:
            # Autovacuum is at work in it, which only a superuser may end; it ends by itself.
            if not tries_left:
                raise
            time.sleep(0.5)


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Point this process, and the children it starts, at a fresh clone; drop it afterwards."""
    name = clone()
    try:
        with pointed_at(name):
            yield name
    finally:
        drop(name)


@contextlib.contextmanager
def pointed_at(name: str) -> Iterator[None]:
    """Have this process, and the children it starts, use another database of the same server."""
    config = connections.settings["default"]
    before, urls = config["NAME"], {key: os.environ.get(key) for key in ("DATABASE_URL", "OWNER_DATABASE_URL")}
    _switch(name, {key: url_of(url, name) for key, url in urls.items() if url})
    try:
        yield
    finally:
        _switch(before, {key: url for key, url in urls.items() if url})


def _switch(name: str, urls: dict[str, str]) -> None:
    connection = connections["default"]
    connection.close()
    if close_pool := getattr(connection, "close_pool", None):
        close_pool()
    connections.settings["default"]["NAME"] = name
    os.environ.update(urls)


def _owner() -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(settings.OWNER_DATABASE_URL, autocommit=True)


def _exists(owner: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    return owner.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _fingerprint() -> str:
    """Return a hash of every migration there is, Django's own by its version."""
    digest = hashlib.sha256(".".join(map(str, sys.version_info[:2])).encode())
    for app in settings.INSTALLED_APPS:
        folder = settings.BASE_DIR / app / "migrations"
        for path in sorted(folder.glob("*.py")) if folder.is_dir() else []:
            digest.update(path.name.encode() + path.read_bytes())
    digest.update(Path(__file__).with_name("grants.py").read_bytes())
    digest.update((settings.BASE_DIR / "requirements" / "base.txt").read_bytes())
    return digest.hexdigest()[:12]


def _migrate(name: str) -> None:
    """Migrate as owner, in a process of its own: this one may be running as app."""
    owner_url = url_of(settings.OWNER_DATABASE_URL, name)
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "migrate", "--verbosity", "0"],
        env={**os.environ, "PLIMSOLL_DB_ROLE": "owner", "DATABASE_URL": owner_url, "OWNER_DATABASE_URL": owner_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnableToMakeDatabase(done.stderr[-3000:])


def _drop_unused(owner: psycopg.Connection[tuple[object, ...]]) -> None:
    """Drop templates of other migrations, and clones whose maker was killed before it could."""
    for (name,) in owner.execute("SELECT datname FROM pg_database").fetchall():
        text = str(name)
        orphan = text.startswith(_SCRATCH) and not alive(int(text.removeprefix(_SCRATCH).split("_")[0]))
        if orphan or text.startswith(_TEMPLATE):
            with contextlib.suppress(psycopg.errors.ObjectInUse):
                owner.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(text)))
