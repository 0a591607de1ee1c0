"""
Tables that people send as CSV: read as a spreadsheet shows them, with everything that is wrong named by its place.

The first row names the columns, in any order; a comma or a semicolon stands between them.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from lending.engine.terms import RATIO_DECIMALS

SIZE = 500_000  # bytes
LARGEST = Decimal(10) ** 18


class UnableToRead(Exception):
    """A file can not be read as the table that is asked for at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: the row as a spreadsheet counts it, its column, and the file if there are several."""

    row: int
    column: str
    words: str
    file: str = ""

    def __str__(self) -> str:
        place = f"row {self.row}, {self.column}: {self.words}"
        return f"{self.file}, {place}" if self.file else place


def text_of(content: bytes) -> str:
    """
    Return the text of a file.

    Raises
    ------
    UnableToRead
        If it is too large, no UTF-8 or no text.
    """
    if len(content) > SIZE:
        raise UnableToRead(f"it has {len(content):,} bytes, and at most {SIZE:,} are read: split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UnableToRead("it is no text in UTF-8: save it as CSV in that encoding") from problem
    if "\0" in text:
        raise UnableToRead("it holds signs that no text has: save it as CSV in UTF-8")
    return text


def rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with their numbers, their cells without blanks around them; UnableToRead if it is no CSV."""
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1):
            yield number, [cell.strip() for cell in cells]
    except csv.Error as problem:
        raise UnableToRead(f"it is no CSV: {problem}") from problem


def columns(cells: Sequence[str], *, known: Sequence[str], needed: Sequence[str]) -> list[str]:
    """Return the names of the columns, as the first row says them; UnableToRead if they are not as they must be."""
    found = [cell.lower().replace(" ", "_") for cell in cells]
    if strange := [cell for cell, column in zip(cells, found, strict=True) if column not in known]:
        raise UnableToRead(f"the first row names {', '.join(map(repr, strange))}; known are {', '.join(known)}")
    if len(set(found)) < len(found):
        raise UnableToRead("the first row names a column twice")
    if missing := [column for column in needed if column not in found]:
        raise UnableToRead(f"the first row does not name {', '.join(missing)}")
    return found


def records(
    text: str, *, known: Sequence[str], needed: Sequence[str], most: int, file: str = ""
) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """
    Return the rows below the first, each with its number and its cells by column, and those of another width.

    Rows without anything in them are left out; a column that the table lacks is empty.

    Raises
    ------
    UnableToRead
        As `rows` and `columns` do, or if there are more rows than `most`.
    """
    read = rows(text)
    named = columns(next(read, (1, []))[1], known=known, needed=needed)
    found: list[tuple[int, dict[str, str]]] = []
    problems = []
    for number, cells in read:
        if not any(cells):
            continue
        if len(found) == most:
            raise UnableToRead(f"it has more than {most:,} rows: split it")
        if len(cells) != len(named):
            words = f"{len(cells)} cells where the first row names {len(named)} columns"
            problems.append(Problem(number, "row", words, file))
        found.append((number, dict.fromkeys(known, "") | dict(zip(named, cells, strict=False))))
    return found, problems


def number(said: str) -> Decimal | None:
    """Return the plain number that a cell says, None where it says none: no infinity, no grouping, no other digits."""
    try:
        found = Decimal(said) if said.isascii() and "_" not in said else Decimal("nan")
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def decimals(amount: Decimal) -> int:
    """Return how many digits after the point count in a number that `number` returned."""
    _, digits, exponent = amount.as_tuple()
    zeros = next((count for count, digit in enumerate(reversed(digits)) if digit), len(digits))
    return max(-int(exponent) - zeros, 0)


def day(said: str) -> date | None:
    """Return the date that a cell says, as 2026-11-23; None where it says none."""
    try:
        return date.fromisoformat(said) if len(said) == len("2026-11-23") else None
    except ValueError:
        return None


class Cells:
    """One row, whose cells are read by column; what can not be read is None, and is noted as a problem."""

    def __init__(
        self, problems: list[Problem], file: str, row: int, cells: Mapping[str, str], needed: Iterable[str]
    ) -> None:
        self._problems, self.file, self.row, self._cells = problems, file, row, cells
        for column in needed:
            if not cells[column]:
                self.wrong(column, "is missing")

    def __getitem__(self, column: str) -> str:
        return self._cells[column]

    def wrong(self, column: str, words: str) -> None:
        self._problems.append(Problem(self.row, column, words, self.file))

    def text(self, column: str, most: int) -> str:
        said = self[column]
        if len(said) > most or not said.isprintable():
            self.wrong(column, f"is longer than {most} characters, or holds signs that can not be printed")
        return said

    def amount(self, column: str, most: int | None, *, zero: bool = False) -> Decimal | None:
        if not (said := self[column]):
            return None
        found = number(said)
        if found is None:
            self.wrong(column, f"{said!r} is no amount, such as 2500000.00")
        elif not 0 <= found < LARGEST or (not zero and not found):
            self.wrong(column, f"{said!r} is no amount {'from' if zero else 'above'} zero")
        elif most is not None and decimals(found) > most:
            self.wrong(column, f"{said!r} is finer than its asset can move ({most} decimals)")
        else:
            return found.copy_abs()
        return None

    def ratio(self, column: str) -> Decimal | None:
        if not (said := self[column]):
            return None
        found = number(said)
        if found is None or not 0 <= found < 1:
            self.wrong(column, f"{said!r} is no ratio from 0 to below 1; 8.5 % is 0.085")
        elif decimals(found) > RATIO_DECIMALS:
            self.wrong(column, f"{said!r} has more than {RATIO_DECIMALS} decimals")
        else:
            return found
        return None

    def day(self, column: str) -> date | None:
        if not (said := self[column]):
            return None
        if (found := day(said)) is None:
            self.wrong(column, f"{said!r} is no date, such as 2026-11-23")
        return found

    def choice(self, column: str, choices: Mapping[str, Any], otherwise: Any) -> Any:
        said = self[column]
        if not said:
            return otherwise
        if said not in choices:
            self.wrong(column, f"{said!r} is none of {', '.join(choices)}")
            return otherwise
        return choices[said]

    def count(self, column: str, most: int, otherwise: int) -> int:
        said = self[column]
        if said and not (said.isascii() and said.isdigit() and len(said) < 10 and int(said) <= most):
            self.wrong(column, f"{said!r} is no whole number from 0 to {most:,}")
            return otherwise
        return int(said) if said else otherwise
