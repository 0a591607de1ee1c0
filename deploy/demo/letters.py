"""The letters that the demo wrote: nothing is sent, so a visitor reads them here."""

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.policy import default
from itertools import islice
from pathlib import Path

from django.conf import settings

SHOWN = 30
_BETWEEN = b"-" * 79 + b"\n"  # what the file backend writes after each
_LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter: to whom, about what, and its text in pieces, each with whether it is a link."""

    to: str
    subject: str
    pieces: tuple[tuple[str, bool], ...]


def newest(to: str = "") -> list[Letter]:
    """Return the newest letters, to one address if it is given."""
    files = sorted(Path(settings.EMAIL_FILE_PATH).glob("*.log"), key=lambda path: path.name, reverse=True)
    written = (_read(raw) for path in files for raw in reversed(path.read_bytes().split(_BETWEEN)) if raw.strip())
    return list(islice((letter for letter in written if to in ("", letter.to)), SHOWN))


def _read(raw: bytes) -> Letter:
    letter = email.message_from_bytes(raw, policy=default)
    body = letter.get_body(("plain",))
    text = body.get_content().strip() if body else ""
    return Letter(str(letter["To"]), str(letter["Subject"]), tuple(_pieces(text)))


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    end = 0
    for link in _LINK.finditer(text):
        yield text[end : link.start()], False
        yield link[0], True
        end = link.end()
    yield text[end:], False
