"""Where the recorded prices lie: PLIMSOLL_DATA_DIR, else ../shared/data beside the checkout; absent, tests say so."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
CRASH = "crash_2021-05-19"
DEPEG = "multivenue_2023-03_usdc_depeg"


def data_dir() -> Path | None:
    """Return the folder of recordings, None when there is none on this machine."""
    named = os.environ.get("PLIMSOLL_DATA_DIR")
    places = [Path(named)] if named else [CHECKOUT.parent / "shared/data", CHECKOUT.parent.parent / "shared/data"]
    return next((place for place in places if place.is_dir()), None)


def recording(name: str) -> Path:
    """Return the folder of one recording, or skip the test in words."""
    place = data_dir()
    if place is None or not (place / name).is_dir():
        pytest.skip(f"the recording {name} is not on this machine; PLIMSOLL_DATA_DIR names the folder of recordings")
    return place / name
