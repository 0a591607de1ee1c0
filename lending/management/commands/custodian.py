"""The paper custodian as a process of its own."""

import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from lending.adapters.custodian_server import CustodianServer
from lending.adapters.mischief import TEMPERS


class Command(BaseCommand):
    """Serve the paper custodian until it is told to stop."""

    help = "Serve the paper custodian: coins, cash and confirmations over HTTP, remembered in a journal."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=urlsplit(settings.LENDING_CUSTODIAN_URL).port)
        parser.add_argument("--journal", type=Path, default=Path(settings.DATA_DIR) / "custodian.jsonl")

        parser.add_argument("--temper", choices=sorted(TEMPERS), default="calm", help="how often it misbehaves")

    def handle(self, *args: Any, **options: Any) -> None:
        address = ("127.0.0.1", options["port"])
        secrets = settings.LENDING_CUSTODIAN_SECRETS
        server = CustodianServer(
            address,
            seed=settings.PLIMSOLL_SEED,
            journal=options["journal"],
            temper=TEMPERS[options["temper"]],
            hooks=settings.LENDING_CUSTODIAN_HOOKS if secrets else "",
            secret=secrets[0] if secrets else "",
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for serve_forever() to end, so it can not run in the thread that serves.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        self.stdout.write(f"custodian listens on http://{address[0]}:{server.server_port}")
        self.stdout.flush()  # the supervisor reads it through a pipe
        server.serve_forever(poll_interval=0.2)
        server.server_close()
