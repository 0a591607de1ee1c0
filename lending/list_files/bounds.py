"""What every reader of a sanctions list holds to: how much it reads, and how it says what is wrong."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import IO

from lending.engine.listed import Listed

LARGEST = 128 * 1024 * 1024  # bytes of one file; the largest published today has about 35 MB
LONGEST_NAME = 700
LONGEST_REMARKS = 20_000
MOST_NAMES = 500  # of one entry
SHOWN = 200  # problems that are kept of a file; more of them help nobody

Heard = Callable[[int], None]


class UnableToRead(Exception):
    """A file is no list, or too large; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be read: its name, and its bytes."""

    name: str
    stream: IO[bytes]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line of a file."""

    file: str
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.words}"


@dataclass(slots=True)
class Reading:
    """What was read: entries by their publisher's number, the day of publication if the file says it, problems."""

    entries: dict[str, Listed] = field(default_factory=dict)
    published_on: date | None = None
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    def wrong(self, file: str, line: int, words: str) -> None:
        """Note a problem; only the first of very many are kept, all are counted."""
        self.problem_count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(file, line, words))

    def add(self, file: str, listed: Listed) -> None:
        """Take an entry, or note why it can not be one."""
        if listed.ref in self.entries:
            first = self.entries[listed.ref].line
            self.wrong(file, listed.line, f"number {listed.ref} stood in line {first} already")
        elif words := unfit(listed):
            self.wrong(file, listed.line, words)
        else:
            self.entries[listed.ref] = listed


def unfit(listed: Listed) -> str:
    """Return why an entry can not be taken, nothing if it can."""
    if not listed.ref.isdecimal() or len(listed.ref) > 18:
        return f"{listed.ref[:40]!r} is not the number of an entry"
    if not listed.names:
        return f"entry {listed.ref} has no name"
    if len(listed.names) > MOST_NAMES:
        return f"entry {listed.ref} has {len(listed.names)} names; {MOST_NAMES} are read at most"
    if len(listed.remarks) > LONGEST_REMARKS:
        return f"entry {listed.ref} has remarks of {len(listed.remarks)} characters; {LONGEST_REMARKS} are read at most"
    wrong = next((words for alias in listed.names if (words := _unfit_name(alias.name))), "")
    return f"entry {listed.ref} has a name {wrong}" if wrong else ""


def _unfit_name(name: str) -> str:
    if not any(sign.isalnum() for sign in name):
        return f"without a letter: {name[:40]!r}"
    if len(name) > LONGEST_NAME:
        return f"of {len(name)} characters; {LONGEST_NAME} are read at most"
    if any(ord(sign) < 32 for sign in name):
        return f"with a control character: {name[:40]!r}"
    return ""


def tidy(text: str | None) -> str:
    """Return a text with single spaces and without signs that no list means."""
    return " ".join((text or "").replace("\x00", " ").split())


class Bounded(io.RawIOBase):
    """A stream that refuses to give more than it may, and tells how far it has come."""

    def __init__(self, source: Source, heard: Heard, most: int = LARGEST) -> None:
        super().__init__()
        self._source, self._heard, self._most, self.taken = source, heard, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: bytearray) -> int:  # type: ignore[override]
        part = self._source.stream.read(len(into))
        self.taken += len(part)
        if self.taken > self._most:
            raise UnableToRead(f"{self._source.name} is larger than {self._most // 1024 // 1024} MB")
        into[: len(part)] = part
        self._heard(len(part))
        return len(part)
