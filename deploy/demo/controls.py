"""
What a visitor of the demo may do to the simulation: its speed, a jump ahead, a venue's line, a process.

Wishes that another process carries out stand in small files of the data folder's `run`, beside the supervisor's notes.
"""

import contextlib
import json
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.conf import settings

from deploy.embedded.layout import Layout
from deploy.embedded.processes import alive
from lending import clock
from risk.models import Source
from risk.scenarios import silence

# Files of the data folder's `run` that hold what visitors wished; gone with the run.
JUMP, WANTED = "jump.json", "wanted_speed"
SPEEDS = (Decimal(0), Decimal(1), Decimal(10), Decimal(60), Decimal(120))
# Where a scenario's worst hour begins, with a few minutes left to look around.
CRASHES = {"may-2021": datetime(2021, 5, 19, 12, 36, tzinfo=UTC)}
CRASH_LASTS = timedelta(hours=2)
LONGEST_JUMP = timedelta(hours=24)
# Without the web process nobody could see what became of it; without the supervisor nothing would come back.
KILLABLE = ("marking", "worker", "feed", "beat", "dealers", "custodian", "borrowers")


OVER = "the replay is over: stop with Ctrl-C, and `make run RESET=1` plays it again"


class UnableToControl(Exception):
    """The simulation can not do what was asked; the message says why."""


@dataclass(frozen=True)
class Wish:
    """A jump that is under way: where to, and at which speed time goes on then; `stop` ends it where it is."""

    to: datetime
    speed: Decimal
    stop: bool = False


@dataclass(frozen=True)
class Process:
    """One process of the platform, as the supervisor last told."""

    name: str
    pid: int
    runs: bool
    up_s: int | None


def run_at(speed: Decimal) -> str:
    """
    Have platform time run at a speed from where it stands, 0 being a pause, and return what to tell.

    Raises
    ------
    UnableToControl
        If it is not one of the speeds that the platform is known to keep up with, or the scenario is over.
    """
    if speed not in SPEEDS:
        raise UnableToControl(
            f"choose one of {', '.join(f'{known:g}' for known in SPEEDS)} as the speed, not {speed:g}"
        )
    if over():
        raise UnableToControl(OVER)
    if wish := jump_under_way():
        _want(speed)
        _write(Wish(wish.to, speed, stop=True))
        return "The jump ends where it is; then " + _going(speed)
    _want(speed)
    wall = clock.wall_now()
    clock.resume(stopped_at=wall, wall_origin=wall, speed=speed)
    return _going(speed).capitalize()


def over() -> bool:
    """Return whether the scenario has been played to its end, where platform time stands still for good."""
    now, _, stop_at = clock.reading()
    return stop_at is not None and now >= stop_at


def wanted_speed() -> Decimal:
    """
    Return the speed that was last asked for, or the usual one, which is slower in the crash.

    Time may be held back for a while, see `deploy.demo.pace`.
    """
    try:
        return Decimal((_folder() / WANTED).read_text(encoding="utf-8"))
    except (FileNotFoundError, InvalidOperation):
        begins = crash()
        slower = begins is not None and begins <= clock.now() < begins + CRASH_LASTS
        return Decimal(str(settings.PLIMSOLL_CRASH_SPEED if slower else settings.PLIMSOLL_SPEED))


def _want(speed: Decimal) -> None:
    path = _folder() / WANTED
    if speed:  # a pause is no speed to go on at
        path.write_text(f"{speed:f}", encoding="utf-8")


def _going(speed: Decimal) -> str:
    return f"platform time runs at {speed:g} ×." if speed else "platform time stands still."


def crash() -> datetime | None:
    """Return the instant at which the scenario's crash begins, if it is one that has one."""
    return None if settings.REPLAY_DIR else CRASHES.get(settings.PLIMSOLL_SCENARIO)


def jump(to: datetime) -> str:
    """
    Ask for a jump ahead to an instant, which the process of the borrowers carries out, and return what to tell.

    Raises
    ------
    UnableToControl
        If the instant is not ahead, too far ahead, past the end of the scenario, or another jump is under way.
    """
    now, speed, stop_at = clock.reading()
    to = to.replace(second=0, microsecond=0)
    if jump_under_way():
        raise UnableToControl("a jump is under way already")
    if to <= now:
        raise UnableToControl(f"platform time never goes back: it is {now:%d %b %H:%M} UTC already")
    if over():
        raise UnableToControl(OVER)
    if to - now > LONGEST_JUMP or (stop_at and to > stop_at):
        raise UnableToControl("that is too far ahead")
    _write(Wish(to, speed and wanted_speed()))
    return f"Playing every minute up to {to:%d %b %H:%M} UTC, as fast as this machine can."


def jump_under_way() -> Wish | None:
    """Return the jump that was asked for and is not over."""
    try:
        told = json.loads(_jump_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Wish(datetime.fromisoformat(told["to"]), Decimal(told["speed"]), bool(told["stop"]))


def jump_is_over() -> None:
    """Forget the jump: only who carried it out says so."""
    _jump_file().unlink(missing_ok=True)


def _write(wish: Wish) -> None:
    path = _jump_file()
    fresh = path.with_suffix(".new")
    told = {"to": wish.to.isoformat(), "speed": f"{wish.speed:f}", "stop": wish.stop}
    fresh.write_text(json.dumps(told), encoding="utf-8")
    fresh.rename(path)


def venues() -> list[tuple[Source, bool]]:
    """Return every venue, and whether its line is up."""
    away = silence.silent(settings.RISK_SILENT_VENUES)
    return [(source, source.code not in away) for source in Source.objects.order_by("code")]


def cut(code: str, *, up: bool) -> str:
    """
    Cut a venue's line, or bring it back, and return what to tell.

    Raises
    ------
    UnableToControl
        If there is no such venue.
    """
    known = {source.code: source.name for source, _ in venues()}
    if code not in known:
        raise UnableToControl(f"there is no venue {code!r}")
    away = silence.silent(settings.RISK_SILENT_VENUES)
    silence.write(settings.RISK_SILENT_VENUES, away - {code} if up else away | {code})
    return f"{known[code]} speaks again." if up else f"{known[code]} is cut off: its prices go stale within a minute."


def processes() -> list[Process]:
    """Return the processes that may be killed, as far as the supervisor has told of them."""
    pids = _platform().get("pids", {})
    found = [(name, int(pids[name])) for name in KILLABLE if name in pids]
    return [Process(name, pid, alive(pid), _up_s(pid)) for name, pid in found]


def kill(name: str) -> str:
    """
    Kill a process of the platform the hard way, which its supervisor answers with a new one; returns what to tell.

    Raises
    ------
    UnableToControl
        If it is none of the processes that may be killed, is not running, or is not the supervisor's child.
    """
    if name not in KILLABLE:
        raise UnableToControl(f"{name!r} is not one of {', '.join(KILLABLE)}")
    found = next((process for process in processes() if process.name == name), None)
    if found is None or not found.runs:
        raise UnableToControl(f"{name} is not running just now; it is being started again")
    if _parent(found.pid) not in (None, int(_platform()["pid"])):
        raise UnableToControl(f"process {found.pid} is no longer {name}")
    os.kill(found.pid, signal.SIGKILL)
    return f"Killed {name}, process {found.pid}. The supervisor starts it again."


def _parent(pid: int) -> int | None:
    """Return a process's parent, None where the system does not tell: a number is soon given to another."""
    told = _stat(pid)
    return int(told[1]) if told else None


def _up_s(pid: int) -> int | None:
    """Return for how many seconds a process has run, None where the system does not tell."""
    told = _stat(pid)
    if not told:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return max(int(float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0]) - int(told[19]) / ticks), 0)


def _stat(pid: int) -> list[str]:
    """Return what the system tells of a process, from its state on."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return []


def _platform() -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((_folder() / "platform.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return told


def _jump_file() -> Path:
    return _folder() / JUMP


def _folder() -> Path:
    return Layout.of(Path(settings.DATA_DIR)).locks
