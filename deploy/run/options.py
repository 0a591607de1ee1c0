"""What a user may set for a run, from the environment that make passes on."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.layout import default_data_dir

# Where a scenario is taken up unless START says otherwise: an hour and a half before its crash, which is on the screen
# within two minutes then; what lies before is quiet.
STARTS = {"may-2021": "2021-05-19T11:00"}
_LAST_PORT = 65535


class UnableToReadOptions(ValueError):
    """A variable holds something that it can not mean."""


class UnableToRun(RuntimeError):
    """The platform did not start; the message says what stood in the way."""


@dataclass(frozen=True)
class Options:
    """One run of the platform."""

    data: Path
    reset: bool = False
    port: int | None = None
    scenario: str = "may-2021"
    start: str = ""
    speed: float | None = None

    @classmethod
    def of_environment(cls) -> "Options":
        """Read RESET, PORT, SCENARIO, START, SPEED and DATA_DIR."""
        scenario = os.environ.get("SCENARIO") or os.environ.get("PLIMSOLL_SCENARIO") or "may-2021"
        recorded = os.environ.get("REPLAY_DIR")
        return cls(
            data=default_data_dir(),
            reset=os.environ.get("RESET", "").lower() not in {"", "0", "no", "false"},
            port=_port() if os.environ.get("PORT") else None,
            scenario=scenario,
            start=os.environ.get("START") or ("" if recorded else STARTS.get(scenario, "")),
            speed=_number("SPEED") if os.environ.get("SPEED") else None,
        )

    def environment(self) -> dict[str, str]:
        """Return the settings that follow for every process."""
        chosen = {"PLIMSOLL_SCENARIO": self.scenario}
        if self.speed is not None:
            chosen["PLIMSOLL_SPEED"] = str(self.speed)
        return chosen


def _number(name: str) -> float:
    text = os.environ[name]
    try:
        value = float(text)
    except ValueError as problem:
        raise UnableToReadOptions(f"{name}={text} is not a number") from problem
    if not 0 < value < math.inf:
        raise UnableToReadOptions(f"{name}={text} must be above zero, and finite")
    return value


def _port() -> int:
    value = _number("PORT")
    if value != int(value) or value > _LAST_PORT:
        raise UnableToReadOptions(f"PORT={os.environ['PORT']} is no port: a whole number up to {_LAST_PORT}")
    return int(value)
