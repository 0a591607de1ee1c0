"""The dealers as a process of their own: killed without warning, it comes back knowing what it acknowledged."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from otc.adapters.dealers_http import HttpDealer
from otc.ports import QuoteRequest, Status

pytestmark = pytest.mark.processes

AT = datetime(2021, 5, 19, 12, tzinfo=UTC)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[bytes], str]]]:
    """Start the dealers on one port and one journal, as often as a test wants."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> tuple[subprocess.Popen[bytes], str]:
        command = [sys.executable, "manage.py", "dealers", "--port", str(port), "--journal", str(tmp_path)]
        process = subprocess.Popen(
            command, cwd=settings.BASE_DIR, env={**os.environ, "PLIMSOLL_SEED": "7"}, stderr=subprocess.DEVNULL
        )
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{url}/health")
                return process, url
            except httpx.TransportError:
                assert process.poll() is None
                time.sleep(0.1)
        raise AssertionError("the dealers did not start")

    yield begin
    for process in running:
        process.kill()
        process.wait()


def test_a_killed_process_keeps_what_it_acknowledged(start):
    process, url = start()
    dealer = HttpDealer("meridian", url=url)
    quoted = dealer.request_quote(QuoteRequest("BTC-1-1-meridian", "BTC", Decimal(2), AT))
    assert quoted.status == Status.QUOTED
    accepted = dealer.accept("BTC-1-1-meridian", at=AT)
    assert accepted.status == Status.ACCEPTED
    process.send_signal(signal.SIGKILL)
    process.wait()
    process, url = start()
    assert dealer.query("BTC-1-1-meridian", at=AT) == accepted
    assert dealer.request_quote(QuoteRequest("BTC-1-1-meridian", "BTC", Decimal(2), AT)) == accepted
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
