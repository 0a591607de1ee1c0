"""A pytest plugin, loaded by -p: pytest-django reads the settings before any conftest, so servers start here."""

import os

import pytest

from deploy.embedded import session
from deploy.embedded.layout import default_data_dir

_OURS = "PLIMSOLL_TEST_SERVERS"  # set where DATABASE_URL was set here
_held: list[session.Session] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """
    Join the embedded servers, unless DATABASE_URL names others.

    Each of xdist's workers has servers of its own: what is sealed and what is read again depends on the transactions
    that run anywhere in a cluster, and a test must not see its neighbour's.
    """
    os.environ["DB_POOL_MAX"] = "0"  # a pool would keep a dropped clone open
    os.environ.setdefault("SECRET_KEY", "only for tests: nothing signed by it leaves this machine")
    os.environ["BEHIND_TLS"] = "false"
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not os.environ.get("DATABASE_URL") or (worker and os.environ.get(_OURS)):
        joined = session.join(default_data_dir() / worker, durable=not worker)
        os.environ[_OURS] = "yes"
        _held.append(joined)
        os.environ.update(joined.environment())
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], joined.environment()["PSQL_DIR"]])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Let go of the servers, and wait for them to stop if nobody else uses them."""
    while _held:
        _held.pop().leave(wait_s=20)
