import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deploy.embedded.layout import UnableToLayOut
from deploy.embedded.session import UnableToJoin
from deploy.run.options import Options, UnableToReadOptions, UnableToRun
from deploy.run.platform import Platform


class Command(BaseCommand):
    """Start the platform, or resume it; RESET, SCENARIO, START, SPEED, PORT and DATA_DIR come from the environment."""

    help = "Start every process of the platform and watch them until Ctrl-C"
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # also while it is still preparing
        try:
            Platform(Options.of_environment()).run()
        except KeyboardInterrupt:
            raise CommandError("stopped before it was ready") from None
        except (UnableToReadOptions, UnableToRun, UnableToJoin, UnableToLayOut) as problem:
            raise CommandError(str(problem)) from problem
