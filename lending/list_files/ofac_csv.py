"""
The SDN list in OFAC's CSV form: sdn.csv, alt.csv, add.csv and, where a remark was too long, sdn_comments.csv.

No file has a header, -0- stands for nothing, programs are parted by "] [". Source: OFAC, SDN data specification
(dat_spec.txt), 25 September 2023. Dates of birth, nationalities and weak other names stand in the remarks.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lending.engine import countries, listed
from lending.engine.listed import Alias, Listed
from lending.list_files.bounds import Heard, Reading, Source, UnableToRead, tidy
from lending.list_files.tables import lines

SDN, ALT, ADD, COMMENTS = "sdn.csv", "alt.csv", "add.csv", "sdn_comments.csv"
NEEDED = (SDN, ALT, ADD)
_WIDTH = {SDN: 12, ALT: 5, ADD: 6, COMMENTS: 2}
_KINDS = {"individual": listed.INDIVIDUAL, "vessel": listed.VESSEL, "aircraft": listed.AIRCRAFT, "": listed.ENTITY}
_FORMS = {"aka": listed.AKA, "fka": listed.FKA, "nka": listed.NKA}
_BIRTH = re.compile(r"^(?:alt\. )?DOB (.+)$")
_COUNTRY = re.compile(r"^(?:alt\. )?(?:nationality|citizen|POB) (.+)$")
_WEAK = re.compile(r"([afn])\.k\.a\. '([^']+(?:'[^';]+)*)'")


@dataclass(slots=True)
class _Row:
    """What the files say of one number so far."""

    line: int
    kind: str
    names: list[Alias]
    programs: list[str]
    remarks: str
    countries: list[str] = field(default_factory=list)


def role(name: str) -> str | None:
    """Return which of the files a name stands for: sdn.csv, SDN (2).CSV, cons_alt.csv; None for any other."""
    bare = name.rpartition("/")[2].lower()
    if not bare.endswith(".csv"):
        return None
    if "comments" in bare:
        return COMMENTS
    return next((file for file in (ALT, ADD, SDN) if file.removesuffix(".csv") in bare), None)


def read(sources: Mapping[str, Source], reading: Reading, heard: Heard) -> None:
    """
    Read the files of one publication, by the role of each.

    Raises
    ------
    UnableToRead
        If one of the three files is missing, or can not be told apart into cells.
    """
    if missing := [name for name in NEEDED if name not in sources]:
        raise UnableToRead(f"the list comes as {', '.join(NEEDED)} together; {' and '.join(missing)} is missing")
    rows: dict[str, _Row] = {}
    for line, cells in _cells(SDN, sources, reading, heard):
        _take_entry(rows, line, cells, sources[SDN].name, reading)
    for line, cells in _cells(ALT, sources, reading, heard):
        if row := _owner(rows, ALT, line, cells, sources, reading):
            kind = _FORMS.get(cells[2].lower())
            if kind is None:
                reading.wrong(sources[ALT].name, line, f"{cells[2][:20]!r} is no kind of name; aka, fka and nka are")
            else:
                row.names.append(Alias(cells[3], kind))
    for line, cells in _cells(ADD, sources, reading, heard):
        if row := _owner(rows, ADD, line, cells, sources, reading):
            row.countries.append(cells[4])
    if COMMENTS in sources:
        for line, cells in _cells(COMMENTS, sources, reading, heard):
            if row := _owner(rows, COMMENTS, line, cells, sources, reading):
                row.remarks = f"{row.remarks} {cells[1]}".strip()
    for ref, row in rows.items():
        reading.add(sources[SDN].name, _listed(ref, row))


def _cells(role: str, sources: Mapping[str, Source], reading: Reading, heard: Heard) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of one file that have as many cells as it should, with nothing for -0-."""
    source = sources[role]
    for line, raw in lines(source, heard, delimiter=","):
        if len(raw) != _WIDTH[role]:
            reading.wrong(source.name, line, f"{len(raw)} cells instead of {_WIDTH[role]}")
            continue
        yield line, ["" if cell.strip() == "-0-" else tidy(cell) for cell in raw]


def _take_entry(rows: dict[str, _Row], line: int, cells: list[str], file: str, reading: Reading) -> None:
    ref, name, kind = cells[0], cells[1], cells[2].lower()
    if ref in rows:
        reading.wrong(file, line, f"number {ref[:20]} stood in line {rows[ref].line} already")
    elif not ref.isdecimal():
        reading.wrong(file, line, f"{ref[:40]!r} is not the number of an entry")
    elif not name:
        reading.wrong(file, line, f"entry {ref} has no name")
    elif kind not in _KINDS:
        reading.wrong(file, line, f"{kind[:20]!r} is no kind of entry; individual, vessel and aircraft are")
    else:
        programs = [part.strip(" []") for part in cells[3].split("] [")]
        rows[ref] = _Row(line, _KINDS[kind], [Alias(name, listed.PRIMARY)], programs, cells[11])


def _owner(
    rows: Mapping[str, _Row], role: str, line: int, cells: list[str], sources: Mapping[str, Source], reading: Reading
) -> _Row | None:
    row = rows.get(cells[0])
    if row is None:
        reading.wrong(sources[role].name, line, f"no entry of {sources[SDN].name} has the number {cells[0][:20]!r}")
    return row


def _listed(ref: str, row: _Row) -> Listed:
    """Return an entry, with what its remarks say in words that always begin the same way."""
    births, places, names = [], list(row.countries), list(row.names)
    for part in row.remarks.rstrip(". ").split("; "):
        if found := _BIRTH.match(part):
            births.append(listed.born(found.group(1)))
        elif found := _COUNTRY.match(part):
            places.append(found.group(1).rpartition(", ")[2] if " POB " in f" {part}" else found.group(1))
    for form, name in _WEAK.findall(row.remarks):
        names.append(Alias(name.strip(), _FORMS[f"{form}ka"], weak=True))
    known = [countries.code_of(place) or place for place in places]
    return Listed(
        ref=ref,
        kind=row.kind,
        names=tuple(dict.fromkeys(names)),
        births=tuple(dict.fromkeys(births)),
        countries=listed.once(known),
        programs=listed.once(row.programs),
        remarks=row.remarks,
        line=row.line,
    )
