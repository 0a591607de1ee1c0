"""A pytest plugin, loaded by -p: pytest-django reads the settings before any conftest, so servers start here."""

import os

import pytest

from deploy.embedded import session

_held: list[session.Session] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Join the embedded servers, unless DATABASE_URL names others; xdist's workers inherit the addresses."""
    os.environ["DB_POOL_MAX"] = "0"  # a pool would keep a dropped clone open
    os.environ.setdefault("SECRET_KEY", "only for tests: nothing signed by it leaves this machine")
    os.environ["BEHIND_TLS"] = "false"
    if not os.environ.get("DATABASE_URL"):
        joined = session.join()
        _held.append(joined)
        os.environ.update(joined.environment())
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], joined.environment()["PSQL_DIR"]])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Let go of the servers, and wait for them to stop if nobody else uses them."""
    while _held:
        _held.pop().leave(wait_s=20)
