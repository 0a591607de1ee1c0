"""Lines of a CSV file, each with its number, whatever is wrong with the file."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from lending.list_files.bounds import Bounded, Heard, Source, UnableToRead

_END = "\x1a"  # the mark with which OFAC's files end


def lines(source: Source, heard: Heard, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """
    Yield the number and the cells of each line that is not empty.

    Raises
    ------
    UnableToRead
        If the file is too large, is not UTF-8, or its quotes or cells can not be told apart.
    """
    bytes_: Any = Bounded(source, heard)
    text = io.TextIOWrapper(io.BufferedReader(bytes_), encoding="utf-8-sig", newline="")
    table = csv.reader(text, delimiter=delimiter, strict=True)
    before = 0
    try:
        for cells in table:
            begun, before = before + 1, table.line_num
            if any(cell.strip(f" {_END}") for cell in cells):
                yield begun, cells
    except UnicodeDecodeError as error:
        raise UnableToRead(f"{source.name} is not UTF-8 after line {before}") from error
    except csv.Error as error:
        raise UnableToRead(f"{source.name}, line {before + 1}: {error}") from error
