"""
The EU's consolidated list of financial sanctions as CSV (version 1.1): a line per name, address or birth.

Cells are parted by semicolons and known by the header; what belongs to the entity is repeated in each of its lines.
Source: European Commission, Financial Sanctions Files, csvFullSanctionsList_1_1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from lending.engine import listed
from lending.engine.listed import Alias, Born, Listed
from lending.list_files.bounds import Heard, Reading, Source, UnableToRead, tidy
from lending.list_files.tables import lines

FIRST = "fileGenerationDate"
_REF, _WHOLE = "Entity_LogicalId", "NameAlias_WholeName"
_NEEDED = (FIRST, _REF, "Entity_SubjectType", _WHOLE)
_PARTS = ("NameAlias_FirstName", "NameAlias_MiddleName", "NameAlias_LastName")
_PLACES = ("Citizenship_CountryIso2Code", "Address_CountryIso2Code", "BirthDate_CountryIso2Code")
KINDS = {"p": listed.INDIVIDUAL, "person": listed.INDIVIDUAL, "e": listed.ENTITY, "enterprise": listed.ENTITY}


@dataclass(slots=True)
class _Entity:
    """What the lines of one number have said so far."""

    line: int
    kind: str
    names: list[str] = field(default_factory=list)
    births: list[Born] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read(source: Source, reading: Reading, heard: Heard) -> None:
    """
    Read the file.

    Raises
    ------
    UnableToRead
        If it can not be told apart into cells, or lacks a column.
    """
    header: list[str] = []
    entities: dict[str, _Entity] = {}
    for line, cells in lines(source, heard, delimiter=";"):
        if not header:
            header = [cell.strip() for cell in cells]
            if missing := [name for name in _NEEDED if name not in header]:
                raise UnableToRead(f"{source.name} has no column {' and no '.join(missing)}")
            continue
        if len(cells) == len(header) + 1 and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            reading.wrong(source.name, line, f"{len(cells)} cells instead of {len(header)}")
            continue
        row = {name: tidy(cell) for name, cell in zip(header, cells, strict=True)}
        reading.published_on = reading.published_on or generated(row[FIRST])
        if not row[_REF].isdecimal():
            reading.wrong(source.name, line, f"{row[_REF][:40]!r} is not the number of an entity")
            continue
        _take(entities.setdefault(row[_REF], _Entity(line, _kind(row))), row)
    if header and reading.published_on is None:
        reading.wrong(source.name, 2, f"{FIRST} is no date such as 20/11/2026")
    for ref, entity in entities.items():
        reading.add(source.name, _listed(ref, entity))


def generated(text: str) -> date | None:
    """Return the day on which a file was made, written 20/11/2026 or as the XML form does; None for anything else."""
    for form in ("%d/%m/%Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(text[:10], form).date()  # noqa: DTZ007  a day, not an instant
        except ValueError:
            continue
    return None


def birth(day: str, year: str, first_year: str, last_year: str, *, circa: bool, calendar: str) -> Born | None:
    """Return a birth as both forms of the list say it: a day, a year or a span of years; None where there is none."""
    text = day or year or " to ".join(part for part in (first_year, last_year) if part)
    if not text:
        return None
    if calendar.upper() not in ("", "GREGORIAN"):
        return Born(f"{text} ({calendar.lower()} calendar)")
    if day:
        exact = generated(day)
        return listed.around(day, exact, exact, circa=circa) if exact else Born(text)
    years = [int(part) if part.isdecimal() else None for part in (year or first_year, year or last_year)]
    if not any(years):
        return Born(text)
    return listed.born_between(text, years[0], years[1], circa=circa)


def _kind(row: Mapping[str, str]) -> str:
    codes = (row["Entity_SubjectType"], row.get("Entity_SubjectType_ClassificationCode", ""))
    return next((KINDS[code.lower()] for code in codes if code.lower() in KINDS), listed.OTHER)


def _take(entity: _Entity, row: Mapping[str, str]) -> None:
    entity.names.append(row[_WHOLE] or " ".join(part for name in _PARTS if (part := row.get(name, ""))))
    born = birth(
        row.get("BirthDate_BirthDate", ""),
        row.get("BirthDate_Year", ""),
        row.get("BirthDate_YearRangeFrom", ""),
        row.get("BirthDate_YearRangeTo", ""),
        circa=row.get("BirthDate_Circa", "").lower() == "true",
        calendar=row.get("BirthDate_CalendarType", ""),
    )
    if born:
        entity.births.append(born)
    entity.places += [row.get(name, "").upper() for name in _PLACES]
    entity.programs.append(row.get("Entity_Regulation_Programme", ""))
    entity.remarks.append(row.get("Entity_Remark", ""))


def _listed(ref: str, entity: _Entity) -> Listed:
    names = listed.once(entity.names)
    return Listed(
        ref=ref,
        kind=entity.kind,
        names=tuple(Alias(name, listed.AKA if place else listed.PRIMARY) for place, name in enumerate(names)),
        births=tuple(dict.fromkeys(entity.births)),
        countries=tuple(code for code in listed.once(entity.places) if code != "00"),
        programs=listed.once(entity.programs),
        remarks=" ".join(listed.once(entity.remarks)),
        line=entity.line,
    )
