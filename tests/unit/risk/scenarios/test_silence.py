"""The small file that says which venues are cut off."""

from datetime import UTC, datetime
from decimal import Decimal

from risk.engine.ticks import SourceTick
from risk.scenarios import silence

AT = datetime(2021, 5, 19, 12, tzinfo=UTC)


def test_without_a_file_everybody_speaks(tmp_path):
    assert silence.silent(tmp_path / "none") == frozenset()


def test_what_is_written_is_read_and_the_last_word_counts(tmp_path):
    path = tmp_path / "silent"
    silence.write(path, {"birch", "alder"})
    assert silence.silent(path) == {"alder", "birch"}
    silence.write(path, set())
    assert silence.silent(path) == frozenset()


def test_only_the_venues_that_speak_are_heard():
    ticks = [SourceTick(venue, "BTC", "USD", Decimal(1), AT) for venue in ("alder", "birch")]
    assert [tick.source for tick in silence.heard(ticks, frozenset({"alder"}))] == ["birch"]
