"""Two books, movement by movement: what is under way, what is wrong, and what nothing explains."""

import datetime as dt
from decimal import Decimal

import pytest

from lending.engine import agreement
from lending.engine.agreement import Movement

NOW = dt.datetime(2021, 5, 19, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def told(amount: str = "2", *, counts: bool = True, since: dt.datetime | None = None, final: bool = False) -> Movement:
    """Return what one side says of a movement."""
    return Movement((("BTC", Decimal(amount)),), counts, "booked" if counts else "open", since, final)


@pytest.mark.parametrize(
    ("our", "their", "asked_by_us", "words"),
    [
        (told(), told(), False, ""),
        (told(counts=False), told(counts=False), False, ""),
        (told(counts=False), told(), False, ""),
        (None, told(since=NOW - HOUR), False, ""),
        (told(since=NOW + HOUR), told(counts=False), False, ""),  # booked after what the other side speaks of
        (told(), None, False, "2 BTC booked here, and unknown at the custodian"),
        (told(), told(counts=False), False, "2 BTC booked here, and open at the custodian"),
        (None, told(), True, "2 BTC booked at the custodian, which nobody here asked for"),
        (None, told(since=NOW - 2 * HOUR), False, "2 BTC booked at the custodian, and not booked here"),
        (told(counts=False, final=True), told(), False, "2 BTC booked at the custodian, and open here"),
        (told("3"), told(), False, "our books have 3 BTC, the custodian 2 BTC"),
    ],
)
def test_what_is_wrong_with_a_movement_is_said_and_the_rest_is_under_way(
    our: Movement | None, their: Movement | None, asked_by_us: bool, words: str
) -> None:
    sides = [{"m": side} if side else {} for side in (our, their)]
    compared = agreement.compare("deposit", *sides, now=NOW, patience=HOUR, asked_by_us=asked_by_us)
    assert [finding.words for finding in compared.findings] == ([words] if words else [])
    counted = [Decimal(sum(d for _, d in side.deltas)) if side and side.counts else Decimal(0) for side in (our, their)]
    explained = compared.in_findings if words else compared.under_way
    assert explained.get("BTC", Decimal(0)) == counted[1] - counted[0]
    # Whatever it is, it explains the balances: nothing is left over.
    assert agreement.balance("BTC", Decimal(10) + counted[0], Decimal(10) + counted[1], [compared]) == (0, None)


def test_what_no_movement_explains_is_found() -> None:
    compared = agreement.compare("deposit", {}, {"m": told()}, now=NOW, patience=HOUR, asked_by_us=False)
    rest, finding = agreement.balance("BTC", Decimal(10), Decimal("12.5"), [compared])
    assert rest == Decimal("0.5")
    assert finding is not None
    assert (finding.ours, finding.theirs) == (12, Decimal("12.5"))
    assert finding.words == "0.5 BTC more at the custodian than the ledger has, which no movement explains"


def test_a_difference_that_was_booked_is_neither_found_nor_explains_anything() -> None:
    settled = [("withdrawal", "thief", "BTC")]
    theirs = {"thief": told("-5")}
    compared = agreement.compare("withdrawal", {}, theirs, now=NOW, patience=HOUR, asked_by_us=True, settled=settled)
    assert compared.findings == ()
    assert agreement.balance("BTC", Decimal(20), Decimal(20), [compared]) == (0, None)
