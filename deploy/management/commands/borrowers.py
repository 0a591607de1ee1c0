import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections
from httpx import HTTPError

from deploy.demo import books
from deploy.demo.borrowers import Borrowers
from lending import clock

_EVERY_S = 0.5
_AFTER_A_FAULT_S = 2.0

log = logging.getLogger("borrowers")


class Command(BaseCommand):
    help = "Scripted borrowers of the demo desk: they answer margin calls with transfers, or do not."

    def handle(self, *args: Any, **options: Any) -> None:
        borrowers = Borrowers(seed=settings.PLIMSOLL_SEED, scripts=books.scripts(settings.PLIMSOLL_SEED))
        while True:
            pause = _EVERY_S
            try:
                close_old_connections()
                sent = borrowers.act_due(now=clock.now())
                if sent:
                    log.info("%d transfers sent towards open calls", sent)
            except (Error, HTTPError) as error:  # a server is being restarted: the next look finds the same calls
                log.warning("waiting, because %s", error)
                pause = _AFTER_A_FAULT_S
            time.sleep(pause)
