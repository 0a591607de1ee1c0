"""What a sanctions list says of one person, firm or ship, whatever file it was read from."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

INDIVIDUAL, ENTITY, VESSEL, AIRCRAFT, OTHER = "individual", "entity", "vessel", "aircraft", "other"
PRIMARY, AKA, FKA, NKA = "primary", "aka", "fka", "nka"

_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905
}
_CIRCA = timedelta(days=366)
_ONE = re.compile(r"(?:(?:(\d{1,2})\s+)?([A-Za-z]{3})[A-Za-z]*\.?\s+)?(\d{4})")


@dataclass(frozen=True, slots=True)
class Alias:
    """One name: as it is written, of which kind (PRIMARY, AKA, FKA, NKA), and whether its publisher calls it weak."""

    name: str
    kind: str = AKA
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Born:
    """When somebody was born, as it is written, and the first and last day that it means; None where it is unclear."""

    text: str
    first: date | None = None
    last: date | None = None

    def allows(self, day: date) -> bool:
        """Return whether somebody born on a day may be meant; never where the text is unclear."""
        return self.first is not None and self.last is not None and self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Listed:
    """
    One entry of a list.

    `ref` is the publisher's own number; `countries` are ISO codes, or a name as written where we know no code for it;
    `line` says where in its file it began and is no part of its content.
    """

    ref: str
    kind: str
    names: tuple[Alias, ...]
    births: tuple[Born, ...] = ()
    countries: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    remarks: str = ""
    line: int = 0

    def identity(self) -> dict[str, Any]:
        """Return, in JSON values and in one order, what says who is meant: a decision about a match holds for that."""
        return {
            "kind": self.kind,
            "names": sorted([alias.name, alias.kind, alias.weak] for alias in self.names),
            "births": sorted(born.text for born in self.births),
            "countries": sorted(self.countries),
        }

    def content(self) -> dict[str, Any]:
        """Return all that is kept of the entry, in the same way: what two versions of a list are compared by."""
        return {**self.identity(), "programs": sorted(self.programs), "remarks": self.remarks}


def digest(content: Any) -> str:
    """Return the SHA-256 of JSON values in canonical form, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def once(values: Iterable[str]) -> tuple[str, ...]:
    """Return values that are not empty, each once, in the order in which they came."""
    return tuple(dict.fromkeys(value for value in values if value))


def born(text: str) -> Born:
    """
    Read a date of birth as OFAC writes it: 28 Jul 1963, Jul 1963, 1963, circa 1963, 1960 to 1965, 01 Jan 1960 to 1961.

    What can not be read is kept as it is written and compared with nobody.
    """
    words = " ".join(text.split())
    bare = re.sub(r"(?i)\b(circa|c\.|approximately)\s*", "", words)
    parts = [_ONE.fullmatch(part.strip()) for part in re.split(r"\s+to\s+", bare)]
    if len(parts) > 2 or not all(parts):
        return Born(words)
    spans = [_span(found.group(1), found.group(2), found.group(3)) for found in parts if found]
    if not all(spans):
        return Born(words)
    first, last = spans[0][0], spans[-1][1]  # type: ignore[index]
    return around(words, first, last, circa=bare != words)


def born_between(text: str, first_year: int | None, last_year: int | None, *, circa: bool) -> Born:
    """Return a birth within a span of years, open where a year is None."""
    try:
        first = date(first_year, 1, 1) if first_year else date.min
        last = date(last_year, 12, 31) if last_year else date.max
    except ValueError:
        return Born(text)
    return around(text, first, last, circa=circa)


def around(text: str, first: date, last: date, *, circa: bool) -> Born:
    """Return a birth between two days, or within a year of them where a list says that it is about then."""
    if first > last:
        return Born(text)
    if circa:
        first = max(first, date.min + _CIRCA) - _CIRCA
        last = min(last, date.max - _CIRCA) + _CIRCA
    return Born(text, first, last)


def _span(day: str | None, month: str | None, year: str) -> tuple[date, date] | None:
    """Return the first and last day that a date means, which may lack its day, or its month too."""
    try:
        if month is None:
            return date(int(year), 1, 1), date(int(year), 12, 31)
        number = _MONTHS[month.lower()]
        if day:
            exact = date(int(year), number, int(day))
            return exact, exact
        following = date(int(year) + number // 12, number % 12 + 1, 1)
        return date(int(year), number, 1), following - timedelta(days=1)
    except (KeyError, ValueError):
        return None
