"""How often a page asks the database: through Django, and past it for the arrays of a book."""

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from risk import queue, rows


class Asked:
    """A browser whose pages' questions are counted."""

    def __init__(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        self.browser, self.arrays = browser, 0
        read = rows.arrays

        def counted(*args, **kwargs):
            self.arrays += 1
            return read(*args, **kwargs)

        for module in (rows, queue):
            monkeypatch.setattr(module, "arrays", counted)

    def page(self, address: str) -> tuple[int, str]:
        """Return how many questions a page asks, and the page."""
        self.arrays = 0
        with CaptureQueriesContext(connection) as through:
            answer = self.browser.get(address)
        assert answer.status_code == 200
        return len(through) + self.arrays, answer.content.decode()
