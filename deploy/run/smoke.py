"""Watch a freshly started platform through its doors until every step of the thread has shown."""

import re
import time
from collections.abc import Callable
from typing import Any

from deploy.run.doors import Visitor
from deploy.run.started import Started

# Where a step shows: a call in the console's queue, its outcome on its own page, the result on the desk head's.
_CALL = re.compile(r'data-call="([0-9a-f-]{36})"')
_CURED = re.compile(r'class="badge[^"]*\bcured\b')
_LIQUIDATED = re.compile(r'class="badge[^"]*\b(liquidated|filled)\b')
# Only a settled sale gives one of these an amount; before that the page shows them as zero.
_LINE = re.compile(
    r'<tr data-line="(?:liquidation_fee|spread|trade|execution_cost)"(?:(?!</tr>).)*?class="amount">(?!-?0\.00 )',
    re.DOTALL,
)
_PAGES_A_ROUND = 6
_PAUSE_S = 0.5

Say = Callable[[str], None]


def calls(queue: str) -> list[str]:
    """Return the calls that the console's queue shows."""
    return _CALL.findall(queue)


def cured(page: str) -> bool:
    """Return whether a call's page shows it as cured."""
    return bool(_CURED.search(page))


def liquidated(page: str) -> bool:
    """Return whether a call's page shows a sale that was filled."""
    return bool(_LIQUIDATED.search(page))


def sold(pnl: str) -> bool:
    """Return whether the desk's P&L shows what a settled sale brought or cost."""
    return bool(_LINE.search(pnl))


class Watch:
    """What has shown so far, and after how many seconds."""

    def __init__(self, platform: Started, people: list[dict[str, str]], url: str) -> None:
        self._platform = platform
        self._people = people
        self._url = url
        self.shown: dict[str, float] = {}
        self._calls: dict[str, None] = {}

    def run(self, *, started: float, seconds: float, say: Say) -> dict[str, float]:
        """Poll every door until all has shown, or raise with what has not."""
        risk, borrower, desk = (self._visitor(role) for role in ("risk", "borrower", "desk head"))
        heard: list[float] = []
        risk.listen("/console/stream/", heard)
        deadline = time.monotonic() + seconds
        while missing := [name for name in WANTED if name not in self.shown]:
            if time.monotonic() > deadline:
                words = ", ".join(missing)
                raise TimeoutError(f"{words} did not show within {seconds:.0f} s\n{self._platform.last_words()}")
            found = self._look(risk, borrower, desk)
            found["live_line"] = bool(heard)
            for name in missing:
                if found.get(name):
                    self.shown[name] = round(time.monotonic() - started, 1)
                    say(f"{name:<14} after {self.shown[name]:6.1f} s")
            time.sleep(_PAUSE_S)
        return self.shown

    def _look(self, risk: Visitor, borrower: Visitor, desk: Visitor) -> dict[str, bool]:
        self._calls |= dict.fromkeys(calls(risk.page("/console/rows/")))
        texts = [risk.page(f"/console/calls/{call}/") for call in self._turn()]
        return {
            "call": bool(self._calls),
            "cure": any(map(cured, texts)),
            "liquidation": any(map(liquidated, texts)),
            "pnl_line": sold(desk.page("/admin/pnl/")),
            "portal": bool(borrower.page("/portal/")),
        }

    def _turn(self) -> list[str]:
        """Return the next few known calls, each in its turn."""
        turn = list(self._calls)[:_PAGES_A_ROUND]
        for call in turn:
            del self._calls[call]
            self._calls[call] = None
        return turn

    def _visitor(self, role: str) -> Visitor:
        who = next(person for person in self._people if person["role"] == role)
        return Visitor(self._url, who["email"], who["password"])


WANTED = ("portal", "call", "live_line", "cure", "liquidation", "pnl_line")


def report(shown: dict[str, float], *, ready_s: float, left_over: list[int], wall_s: float) -> dict[str, Any]:
    """Return what the command prints: seconds from the start to each sight."""
    return {"ready_s": round(ready_s, 1), **{f"{name}_s": at for name, at in shown.items()}, "left_over": left_over,
            "wall_s": round(wall_s, 1)}  # fmt: skip
