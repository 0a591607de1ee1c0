"""How often the database is asked: through Django, and past it for the arrays of a book."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from risk import queue, rows


class Statements:
    """How many statements have gone to the database, once the block that counts them is over."""

    count = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """Count the statements of a block, those that read arrays too."""
    found, read = Statements(), rows.arrays

    def reading(*args, **kwargs):
        found.count += 1
        return read(*args, **kwargs)

    with monkeypatch.context() as patch, CaptureQueriesContext(connection) as through:
        for module in (rows, queue):
            patch.setattr(module, "arrays", reading)
        yield found
    found.count += len(through)


class Asked:
    """A browser whose pages' questions are counted."""

    def __init__(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        self.browser, self.monkeypatch = browser, monkeypatch

    def page(self, address: str) -> tuple[int, str]:
        """Return how many questions a page asks, and the page."""
        with counted(self.monkeypatch) as asked:
            answer = self.browser.get(address)
        assert answer.status_code == 200
        return asked.count, answer.content.decode()
