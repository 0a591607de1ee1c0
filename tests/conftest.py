"""The databases every test runs on, and the cast."""

import gc
from collections.abc import Iterator

import hypothesis
import pytest
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from deploy import databases
from tests.cast import alice, bob, cast, charlie, dana, rhea, robin  # noqa: F401  fixtures for every test

hypothesis.settings.register_profile("plimsoll", deadline=None)  # a timing is never a reason to fail
hypothesis.settings.load_profile("plimsoll")


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Give this session, or this xdist worker, a clone of the migrated template; tests use it as role app."""
    with django_db_blocker.unblock(), databases.scratch():
        yield
        connections.close_all()


@pytest.fixture
def real_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """
    Give a test that commits a database of its own, and return its name.

    Children started by the test find it through DATABASE_URL. It is dropped afterwards: flushing would need TRUNCATE,
    which the ledger's guards refuse.
    """
    with django_db_blocker.unblock(), databases.scratch() as name:
        yield name
        connections.close_all()


@pytest.fixture(autouse=True)
def quick_passwords(request: pytest.FixtureRequest) -> None:
    """Hash the cast's passwords quickly, except where children of the test must be able to check them."""
    if "real_db" not in request.fixturenames:
        settings = request.getfixturevalue("settings")
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Refuse what the ledger's guards would refuse later, with less to say about it.

    The slow ones begin first, so that no worker is left with them at the end: those with processes, then the browser's.
    """
    for item in items:
        mark = item.get_closest_marker("django_db")
        if (mark and mark.kwargs.get("transaction")) or "transactional_db" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid}: a test that commits asks for the fixture real_db")
    items.sort(key=lambda item: (not item.get_closest_marker("processes"), not item.get_closest_marker("browser")))


def pytest_collection_finish() -> None:
    """Leave what was imported alone from here on: looking for rubbish in it takes long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
