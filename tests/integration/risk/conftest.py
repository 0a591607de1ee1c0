"""The small desk on which margin is tested."""

import pytest

from tests.factories.risk import Desk


@pytest.fixture
def desk(db) -> Desk:
    return Desk()
