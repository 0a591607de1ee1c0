from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from lending import clock


class Command(BaseCommand):
    """Have platform time run from where `prepare` left it; `run` says so once every process is up."""

    help = "Have platform time run, at PLIMSOLL_SPEED, from where it stands"

    def handle(self, *args: Any, **options: Any) -> None:
        wall = clock.wall_now()
        row = clock.resume(stopped_at=wall, wall_origin=wall, speed=Decimal(str(settings.PLIMSOLL_SPEED)))
        self.stdout.write(f"platform time runs from {row.sim_origin:%d %b %Y %H:%M:%S} UTC, speed {row.speed:g}")
