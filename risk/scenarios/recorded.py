"""Recordings in a documented CSV format, replayed bar by bar; see README.md beside this file."""

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from risk.scenarios import venues
from risk.scenarios.grid import STEPS_PER_MINUTE, FeedSpec, FloatArray, Scenario, UnableToLoad, generator, utc

STALE_AFTER_S = 300
MINUTE = timedelta(minutes=1)
COLUMNS = ("venue", "symbol", "ts", "open", "high", "low", "close")
DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Bars:
    """One pair at one venue: the minute and (open, high, low, close) of each bar, in order of time."""

    venue: str
    base: str
    quote: str
    minutes: NDArray[np.int64]
    prices: FloatArray


def read(directory: Path, *, seed: int) -> Scenario:
    """
    Return the recordings of a folder as one scenario.

    Several venues replay as they are; a single one is spread over three synthetic venues. Stablecoins without a
    dollar quote get a simulated one.

    Raises
    ------
    UnableToLoad
        If the folder is missing, holds no recording, or a file does not have the documented columns.
    """
    recorded = _read_all(directory)
    first = min(int(bars.minutes[0]) for bars in recorded)
    last = max(int(bars.minutes[-1]) for bars in recorded)
    steps = (last - first + 1) * STEPS_PER_MINUTE
    several = len({bars.venue for bars in recorded}) > 1
    feeds: list[FeedSpec] = []
    prices: list[FloatArray] = []
    for bars in recorded:
        path = _replayed(bars, first, steps, seed=seed)
        if several:
            feeds.append(_feed(bars))
            prices.append(path)
        else:
            more_feeds, more_prices = venues.spread(path, bars.base, bars.quote, seed=seed, stale_after_s=STALE_AFTER_S)
            feeds += more_feeds
            prices += more_prices
    quoted = {bars.base for bars in recorded}
    coins = tuple(coin for coin in venues.STABLECOINS if coin not in quoted)
    simulated = venues.add_simulated_coins(coins, steps, feeds, prices, seed=seed, stale_after_s=STALE_AFTER_S)
    start_at = utc("1970-01-01") + first * MINUTE
    table = np.vstack(prices)
    return Scenario(directory.name, seed, start_at, tuple(feeds), table, _mids(feeds, table, simulated))


def _feed(bars: Bars) -> FeedSpec:
    """Return the feed of a recorded venue."""
    return FeedSpec(bars.venue, bars.venue.title(), False, bars.base, bars.quote, Decimal(1), STALE_AFTER_S, DECIMALS)


def _read_all(directory: Path) -> list[Bars]:
    """Return the bars of every pair and venue in a folder, in order of venue and pair."""
    if not directory.is_dir():
        raise UnableToLoad(f"there is no folder {directory}")
    files = sorted(path for path in directory.iterdir() if path.name.endswith((".csv", ".csv.gz")))
    if not files:
        raise UnableToLoad(f"{directory} holds no *.csv or *.csv.gz")
    rows: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
    for path in files:
        for venue, symbol, minute, bar in _rows(path):
            rows.setdefault((venue, symbol), {})[minute] = bar
    if not rows:
        raise UnableToLoad(f"{directory} holds no bars")
    return [_bars(venue, symbol, bars) for (venue, symbol), bars in sorted(rows.items())]


def _bars(venue: str, symbol: str, bars: Mapping[int, tuple[float, ...]]) -> Bars:
    """Return the arrays of one pair."""
    base, dash, quote = symbol.partition("-")
    if not dash:
        raise UnableToLoad(f"{symbol!r} is no pair, such as BTC-USD")
    minutes = np.array(sorted(bars), dtype=np.int64)
    return Bars(venue, base, quote, minutes, np.array([bars[int(minute)] for minute in minutes]))


def _rows(path: Path) -> Iterator[tuple[str, str, int, tuple[float, ...]]]:
    """Yield venue, symbol, minute since 1970 and (open, high, low, close) of every complete bar of a file."""
    try:
        with _opened(path) as file:
            yield from _read(path.name, csv.reader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UnableToLoad(f"{path.name} is no CSV in UTF-8, or not packed as its name says") from error


def _read(name: str, reader: Any) -> Iterator[tuple[str, str, int, tuple[float, ...]]]:
    header: list[str] = next(reader, [])
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise UnableToLoad(f"{name} has no column {', '.join(missing)}")
    venue, symbol, ts, *ohlc = (header.index(column) for column in COLUMNS)
    for row in reader:
        place = f"{name}, line {reader.line_num}"
        if len(row) <= max(venue, symbol, ts, *ohlc):
            raise UnableToLoad(f"{place}: {len(row)} cells where the first line names {len(header)} columns")
        if not all(row[column] for column in ohlc):
            continue  # a minute without a trade
        bar = tuple(_price(row[column], place) for column in ohlc)
        try:
            minute = _minute(row[ts])
        except ValueError as error:
            raise UnableToLoad(f"{place}: {row[ts]!r} is no time, such as 2023-03-14T14:24:00Z") from error
        yield row[venue], row[symbol], minute, bar


def _price(text: str, place: str) -> float:
    """Return a price above zero; UnableToLoad for what is none."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise UnableToLoad(f"{place}: {text!r} is no price above zero")
    return found


def _opened(path: Path) -> TextIO:
    """Open a plain or gzipped text file."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _minute(text: str) -> int:
    """Return the whole minutes since 1970 of a time stamp."""
    at: datetime = utc(text)
    return int(at.timestamp()) // 60


def _replayed(bars: Bars, first: int, steps: int, *, seed: int) -> FloatArray:
    """Return a pair's prices on the grid: open, low and high in a seeded order, close; NaN in minutes without a bar."""
    low_first = generator(seed, "bars", bars.venue, bars.base, bars.quote).random(len(bars.minutes)) < 0.5
    opened, high, low, close = bars.prices.T
    inside = np.column_stack([opened, np.where(low_first, low, high), np.where(low_first, high, low), close])
    path = np.full((steps // STEPS_PER_MINUTE, STEPS_PER_MINUTE), np.nan)
    path[bars.minutes - first] = inside
    return path.reshape(-1)


def _mids(feeds: Iterable[FeedSpec], table: FloatArray, simulated: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the USD mid of every asset: the median of its feeds, converted, each carried on through its silences."""
    mids = dict(simulated)
    rows: dict[str, list[tuple[str, FloatArray]]] = {}
    for feed, row in zip(feeds, table, strict=True):
        if feed.base not in simulated:
            rows.setdefault(feed.base, []).append((feed.quote, _carried(row)))
    coins_first = sorted(rows, key=lambda base: (base not in venues.STABLECOINS, base != "USDT", base))
    for base in coins_first:
        quotes = [row * _in_usd(quote, mids) for quote, row in rows[base] if quote == "USD" or quote in mids]
        if not quotes:
            raise UnableToLoad(f"{base} has no quote that leads to USD")
        mids[base] = np.nanmedian(np.vstack(quotes), axis=0)
    return mids


def _in_usd(quote: str, mids: Mapping[str, FloatArray]) -> FloatArray | float:
    """Return the USD mid of a quote currency."""
    return 1.0 if quote == "USD" else mids[quote]


def _carried(row: FloatArray) -> FloatArray:
    """Return prices with silences filled by the last price, and the start by the first."""
    known = np.flatnonzero(~np.isnan(row))
    index = np.searchsorted(known, np.arange(len(row)), side="right") - 1
    carried: FloatArray = row[known[np.maximum(index, 0)]]
    return carried
