"""Serve the simulated dealers over HTTP until told to stop."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from otc.adapters import dealers_server, dealers_simulated
from risk import scenarios


class Command(BaseCommand):
    """Three dealers that answer by client-made ids; what they acknowledged survives a kill."""

    help = "Serve the simulated dealers over HTTP."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the address to serve at; by default the one where the platform looks for its dealers."""
        url = urlsplit(settings.OTC_DEALERS_URL)
        parser.add_argument("--host", default=url.hostname or "127.0.0.1")
        parser.add_argument("--port", type=int, default=url.port or 8901)
        parser.add_argument("--journal", type=Path, default=Path(settings.DATA_DIR) / "dealers")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGTERM or SIGINT."""
        served = dealers_simulated.dealers(
            scenarios.load(
                settings.PLIMSOLL_SCENARIO, seed=settings.PLIMSOLL_SEED, directory=settings.REPLAY_DIR or None
            ),
            seed=settings.PLIMSOLL_SEED,
            data_dir=options["journal"],
        )
        server = dealers_server.DealerServer((options["host"], options["port"]), served)

        def stop(signum: int, frame: FrameType | None) -> None:
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        self.stderr.write(f"dealers {', '.join(sorted(served))} at http://{options['host']}:{options['port']}")
        server.serve_forever(poll_interval=0.1)
        server.server_close()
