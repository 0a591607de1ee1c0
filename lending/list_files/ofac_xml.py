"""
The SDN list in OFAC's XML form: sdnList / sdnEntry.

The name space changed in 2024, so names count without it; the publisher writes "publshInformation". Source: the
schema that OFAC publishes beside the file (sdn.xsd).
"""

from datetime import date, datetime

from lending.engine import countries, listed
from lending.engine.listed import Alias, Listed
from lending.list_files.bounds import Heard, Reading, Source, tidy
from lending.list_files.records import Element, records

ROOT = "sdnList"
_ENTRY, _HEAD = "sdnEntry", "publshInformation"
_KINDS = {
    "individual": listed.INDIVIDUAL,
    "entity": listed.ENTITY,
    "vessel": listed.VESSEL,
    "aircraft": listed.AIRCRAFT,
}
_FORMS = {"a.k.a.": listed.AKA, "f.k.a.": listed.FKA, "n.k.a.": listed.NKA}
_PLACES = (
    ("nationalityList", "nationality", "country"),
    ("citizenshipList", "citizenship", "country"),
    ("addressList", "address", "country"),
)


def read(source: Source, reading: Reading, heard: Heard) -> None:
    """Read the file; UnableToRead where it is no such XML."""
    for element in records(source, heard, roots=(ROOT,), wanted=(_ENTRY, _HEAD)):
        if element.name == _HEAD:
            reading.published_on = _published(element.said("Publish_Date"))
            if reading.published_on is None:
                reading.wrong(source.name, element.line, "Publish_Date is no date such as 11/20/2026")
        elif element.name == _ENTRY:
            kind = element.said("sdnType").lower()
            if kind not in _KINDS:
                reading.wrong(source.name, element.line, f"{kind[:20]!r} is no kind of entry")
            else:
                reading.add(source.name, _listed(element, _KINDS[kind]))


def _published(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%m/%d/%Y").date()  # noqa: DTZ007  a day, not an instant
    except ValueError:
        return None


def _listed(entry: Element, kind: str) -> Listed:
    names = [Alias(_name(entry), listed.PRIMARY)] if _name(entry) else []
    for aka in entry.all("akaList", "aka"):
        form = _FORMS.get(aka.said("type").lower(), listed.AKA)
        names.append(Alias(_name(aka), form, weak=aka.said("category").lower() == "weak"))
    places = [place.text.strip() for path in _PLACES for place in entry.all(*path)]
    places += [
        place.text.rpartition(",")[2].strip()
        for place in entry.all("placeOfBirthList", "placeOfBirthItem", "placeOfBirth")
    ]
    births = [listed.born(item.text) for item in entry.all("dateOfBirthList", "dateOfBirthItem", "dateOfBirth")]
    return Listed(
        ref=entry.said("uid"),
        kind=kind,
        names=tuple(dict.fromkeys(names)),
        births=tuple(dict.fromkeys(births)),
        countries=listed.once(countries.code_of(place) or tidy(place) for place in places),
        programs=listed.once(tidy(program.text) for program in entry.all("programList", "program")),
        remarks=tidy(entry.said("remarks")),
        line=entry.line,
    )


def _name(of: Element) -> str:
    """Return a name as the CSV form writes it, last name first, so that both forms compare alike."""
    return ", ".join(part for part in (tidy(of.said("lastName")), tidy(of.said("firstName"))) if part)
