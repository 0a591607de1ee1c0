"""The web process writes about what somebody should look at, and nothing about its daily work."""

import asyncio
import importlib
import io
import logging
import sys
import warnings

import pytest
from django.http import StreamingHttpResponse
from django.test import Client as Browser

from tests.cast import Cast


def _served() -> list[str]:
    """Return the warnings while a static file's kind of answer is read as the web process reads it."""
    from deploy import asgi

    async def read() -> list[bytes]:
        return [part async for part in StreamingHttpResponse(iter([b"a", b"b"]))]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        importlib.reload(asgi)
        assert asyncio.run(read()) == [b"a", b"b"]
        warnings.warn("StreamingHttpResponse is something else", Warning, stacklevel=1)
    return [str(each.message) for each in caught]


def test_reading_a_static_file_is_no_news_and_other_warnings_are() -> None:
    assert _served() == ["StreamingHttpResponse is something else"]


def test_sign_ins_that_succeed_are_no_news() -> None:
    assert not logging.getLogger("axes.handlers.database").isEnabledFor(logging.INFO)
    assert logging.getLogger("axes.handlers.database").isEnabledFor(logging.WARNING)


@pytest.mark.django_db
def test_a_page_that_is_refused_is_a_line_and_no_stack(cast: Cast, client: Browser) -> None:
    handler = next(known for known in logging.getLogger().handlers if known.filters)
    handler.setStream(stream := io.StringIO())  # type: ignore[attr-defined]
    try:
        client.force_login(cast.alice)
        assert client.get("/console/").status_code == 403
    finally:
        handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    told = stream.getvalue()
    assert "/console/" in told
    assert "Traceback" not in told
