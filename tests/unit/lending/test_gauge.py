"""The gauge draws every level with its name, and no label over another."""

from decimal import Decimal
from itertools import pairwise

import pytest

from lending.models import LadderTerms
from lending.templatetags.gauge import gauge, gauge_bar

TERMS = LadderTerms(
    clear_ltv=Decimal("0.64"),
    warning_ltv=Decimal("0.65"),
    margin_call_ltv=Decimal("0.70"),
    accelerated_ltv=Decimal("0.71"),
    liquidation_ltv=Decimal("0.72"),
)


@pytest.mark.parametrize("ltv", ["0", "0.31", "0.6401", "0.70", "0.715", "0.99", "4", "Infinity"])
def test_labels_stand_apart_inside_the_drawing_in_the_order_of_their_levels(ltv: str) -> None:
    drawn = gauge(TERMS, Decimal(ltv))
    heights = [label.at for label in drawn["labels"]]
    assert len(heights) == 6
    assert all(below - above >= 33 for below, above in pairwise(heights))
    assert max(heights) <= 304
    assert min(heights) >= 16
    assert [label.ltv for label in drawn["labels"]] == sorted(label.ltv for label in drawn["labels"])


@pytest.mark.parametrize(
    ("ltv", "state"),
    [("0.65", "healthy"), ("0.6501", "warning"), ("0.701", "call"), ("0.715", "accelerated"), ("0.73", "liquidate")],
)
def test_water_takes_the_colour_of_the_state(ltv: str, state: str) -> None:
    drawn = gauge(TERMS, Decimal(ltv))
    assert drawn["state"] == state
    assert state in drawn["words"]


def test_higher_ltv_is_higher_water() -> None:
    levels = [gauge(TERMS, Decimal(ltv))["water"] for ltv in ("0.60", "0.66", "0.72")]
    assert levels == sorted(levels)
    assert len(set(levels)) == 3


def test_without_an_ltv_nothing_is_said_about_now() -> None:
    drawn = gauge(TERMS)
    assert drawn["water"] is None
    assert drawn["now"] is None
    assert "not known" in drawn["words"]
    assert gauge_bar(TERMS)["here"] is None


def test_words_name_every_level() -> None:
    words = gauge_bar(TERMS, Decimal("0.5"))["words"]
    for name, _level in TERMS.levels:
        assert name in words
