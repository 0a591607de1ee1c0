"""
What banks send at the end of a day: camt.053 and MT940, read into one form and checked.

Bytes in, frozen records out, without a database. A file whose lines do not lead from its opening to its closing balance
is no statement, whatever else it says: that is how a line that was cut off, or never understood, shows.
"""

from lending.bank_files import camt053, mt940
from lending.bank_files.records import LINES, SIZE, Line, Statement, UnableToRead

__all__ = ["LINES", "SIZE", "Line", "Statement", "UnableToRead", "read"]


def read(data: bytes) -> list[Statement]:
    """
    Return the statements of a file, each checked: opening + lines = closing, to the last decimal.

    Raises
    ------
    UnableToRead
        If the file is empty, too large, of neither format, malformed, or one of its statements does not add up.
    """
    if not data.strip():
        raise UnableToRead("the file is empty")
    if len(data) > SIZE:
        raise UnableToRead(f"the file has {len(data):,} bytes; a bank statement has at most {SIZE:,}")
    head = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"<", b"\xfe\xff", b"\xff\xfe")):
        found = camt053.statements(data)
    elif b":20:" in data:
        found = mt940.statements(data)
    else:
        raise UnableToRead("this is neither camt.053 (XML) nor MT940: it begins with neither < nor a field :20:")
    if not found:
        raise UnableToRead("there is no statement in the file")
    for statement in found:
        statement.check()
    return found
