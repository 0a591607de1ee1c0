"""
The platform's web process on a test's own database.

Importing the platform is most of what a start takes, so one process does it, and what serves a test is forked from
that. A test that sets something in the environment, which is read on import, has a process that begins anew.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import uvicorn
from django.db import connection

from deploy import databases
from tests.browser.visitor import PATIENCE_S

_prepared = multiprocessing.get_context("forkserver")
_prepared.set_forkserver_preload(["deploy.asgi", __name__])
_anew = multiprocessing.get_context("spawn")
_first: dict[str, str] = {}


def _settings() -> dict[str, str]:
    """Return what stands in the environment, but for what is another for each test anyway."""
    return {name: value for name, value in os.environ.items() if not name.endswith(("DATABASE_URL", "CURRENT_TEST"))}


def _serve(port: int, log: Path, database: str) -> None:
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    from deploy.asgi import application

    with databases.pointed_at(database):
        uvicorn.run(application, port=port, log_level="warning", timeout_graceful_shutdown=1)


@dataclass
class Web:
    """The platform's web process, which a test may end and start again on the same port."""

    port: int
    log: Path
    process: BaseProcess | None = field(default=None)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = _settings()
        _first.update({} if _first else settings)
        begun = _prepared if settings == _first else _anew
        database = connection.settings_dict["NAME"]
        self.process = begun.Process(target=_serve, args=(self.port, self.log, database), daemon=True)
        self.process.start()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                httpx.get(f"{self.base}/healthz").raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.is_alive(), self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
