"""The web process writes about what somebody should look at, and nothing about its daily work."""

import asyncio
import importlib
import logging
import warnings

from django.http import StreamingHttpResponse


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
