import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections
from httpx import HTTPError

from deploy.demo import books, pace
from deploy.demo.borrowers import Borrowers
from deploy.demo.jump import Jumper
from lending import clock
from risk import leases, scenarios

_EVERY_S = 0.1
_LOOK_EACH = 5  # of these the borrowers look once
_IN_A_JUMP_S = 0.01
_AFTER_A_FAULT_S = 2.0

log = logging.getLogger("borrowers")


class Command(BaseCommand):
    help = "The demo desk's scripted borrowers; also keeps the pace of platform time, and carries out jumps ahead."

    def handle(self, *args: Any, **options: Any) -> None:
        borrowers = Borrowers(seed=settings.PLIMSOLL_SEED, scripts=books.scripts(settings.PLIMSOLL_SEED))
        scenario = scenarios.load(
            settings.RISK_SCENARIO, seed=settings.PLIMSOLL_SEED, directory=settings.REPLAY_DIR or None
        )
        jumper = Jumper(scenario, borrowers)
        look = 0
        while True:
            pause = _EVERY_S
            try:
                close_old_connections()
                if jumper.advance():
                    pause = _IN_A_JUMP_S
                else:
                    pace.keep()
                    look = (look + 1) % _LOOK_EACH
                    if look == 0 and (sent := borrowers.act_due(now=clock.now())):
                        log.info("%d transfers sent towards open calls", sent)
            except (
                Error,
                HTTPError,
                leases.UnableToFence,
            ) as error:  # a server is being restarted: the next look finds the same calls
                log.warning("waiting, because %s", error)
                pause = _AFTER_A_FAULT_S
            time.sleep(pause)
