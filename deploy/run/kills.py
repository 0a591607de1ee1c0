"""Kill the platform's processes one after another, see each come back, and see unfinished work finish."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg

from deploy.embedded.processes import alive
from deploy.run.options import UnableToRun
from deploy.run.services import services
from deploy.run.started import Started

SERVERS = ("postgres", "valkey", "keeper")
_BACK_S = 60.0
_SETTLE_S = 180.0
_ORDER_WAIT_S = 120.0

# Work that has begun and must end: sales ordered, quotes taken, fills to settle, withdrawals to send.
_UNFINISHED = """
SELECT 'order', id FROM risk_liquidationorder WHERE state IN ('pending', 'working', 'paused')
UNION ALL SELECT 'quote', id FROM otc_quote WHERE state = 'accepting'
UNION ALL SELECT 'settlement', id FROM otc_settlement WHERE state = 'instructed'
"""
_NEWEST_MARK = "SELECT max(as_of) FROM risk_mark"


@dataclass
class Kill:
    """One victim, what it left unfinished, and how long things took, in seconds of wall time."""

    victim: str
    pid: int
    unfinished: int
    back_s: float = 0.0
    settled_s: float | None = None
    work: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)
    at: float = field(default=0.0, repr=False)

    def shown(self) -> dict[str, Any]:
        """Return what is printed of it."""
        return {name: value for name, value in asdict(self).items() if name not in {"work", "at"}}


def plan(seed: int, count: int) -> list[str]:
    """Return the victims in order: every class of process once, the rest drawn, all shuffled by the seed."""
    draw = random.Random(f"kills/{seed}")  # noqa: S311  reproducible on purpose
    classes = [service.name for service in services(0)] + ["supervisor", *SERVERS]
    victims = classes + draw.choices(classes, k=max(0, count - len(classes)))
    draw.shuffle(victims)
    return victims


class Killer:
    """Carries out a plan on a running platform."""

    def __init__(self, platform: Started, *, seed: int, say: Callable[[str], None]) -> None:
        self._platform = platform
        self._draw = random.Random(f"pauses/{seed}")  # noqa: S311  reproducible on purpose
        self._say = say
        self.kills: list[Kill] = []

    def run(self, victims: list[str]) -> None:
        """Kill every victim, the first one not before there is a sale under way, and wait until all work is done."""
        self._wait(lambda: bool(self._unfinished()), _ORDER_WAIT_S, "no sale was ordered to interrupt")
        for number, victim in enumerate(victims, 1):
            kill = self._kill(victim)
            self.kills.append(kill)
            self._say(
                f"{number:>3} {victim:<11} pid {kill.pid:<8} {kill.unfinished:>3} unfinished"
                f"  marks again after {kill.back_s:5.1f} s"
            )
            self._note_settled()
            time.sleep(self._draw.uniform(0.5, 3.0))
        self._wait(self._note_settled, _SETTLE_S, "work that a kill interrupted is still unfinished")

    def _kill(self, victim: str) -> Kill:
        work = frozenset(self._unfinished())
        newest = self._newest_mark()
        pid = self._pid_of(victim)
        kill = Kill(victim, pid, len(work), work=work, at=time.monotonic())
        if victim == "supervisor":
            self._platform.kill()
            self._platform.start()
            self._platform.wait_until_ready()
        else:
            os.kill(pid, signal.SIGKILL)
        self._wait(lambda: self._replaced(victim, pid), _BACK_S, f"{victim} did not come back")
        self._wait(lambda: self._newest_mark() != newest, _BACK_S, f"no new mark after {victim} was killed")
        kill.back_s = round(time.monotonic() - kill.at, 1)
        return kill

    def _pid_of(self, victim: str) -> int:
        """Return the victim's process, waiting for one that is just being started."""
        found: dict[str, int] = {}

        def look() -> bool:
            state = self._platform.state()
            found.update(
                {"supervisor": int(state.get("pid", 0))}, **self._platform.pids(), **self._platform.server_pids()
            )
            return alive(found.get(victim, 0))

        self._wait(look, _BACK_S, f"there is no {victim} to kill")
        return found[victim]

    def _replaced(self, victim: str, killed: int) -> bool:
        now = {"supervisor": int(self._platform.state().get("pid", 0)), **self._platform.pids()}
        now |= self._platform.server_pids()
        pid = now.get(victim, killed)
        return pid != killed and alive(pid)

    def _note_settled(self) -> bool:
        """Note which kills' interrupted work is done by now, and tell whether all of it is."""
        left = self._unfinished()
        for kill in self.kills:
            if kill.settled_s is None and not kill.work & left:
                kill.settled_s = round(time.monotonic() - kill.at, 1)
        return all(kill.settled_s is not None for kill in self.kills)

    def _unfinished(self) -> frozenset[tuple[str, int]]:
        return frozenset((str(kind), int(key)) for kind, key in self._ask(_UNFINISHED))

    def _newest_mark(self) -> object:
        return self._ask(_NEWEST_MARK)[0][0]

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        """Query the database, again and again while it is being restarted."""
        deadline = time.monotonic() + _BACK_S
        while True:
            with contextlib.suppress(psycopg.OperationalError), self._platform.connect() as connection:
                return connection.execute(query.encode()).fetchall()
            if time.monotonic() > deadline:
                raise UnableToRun("the database does not answer")
            time.sleep(0.1)

    def _wait(self, what: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise UnableToRun(f"{otherwise} within {seconds:.0f} s\n{self._platform.last_words()}")
            time.sleep(0.1)
