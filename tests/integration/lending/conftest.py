"""The paper custodian in this process, with a fresh memory for each test."""

from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from lending import ports
from lending.adapters.paper_custodian import PaperCustodian


@pytest.fixture(autouse=True)
def custodian(settings: LazySettings) -> Iterator[PaperCustodian]:
    """Hold everything in this process."""
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_inprocess.build"
    ports.custodian.cache_clear()
    built = ports.custodian()
    assert isinstance(built, PaperCustodian)
    yield built
    ports.custodian.cache_clear()
