"""
The EU's consolidated list of financial sanctions as XML (version 1.1): export / sanctionEntity / nameAlias and others.

What it says stands in attributes. Source: European Commission, Financial Sanctions Files, xmlFullSanctionsList_1_1.
"""

from lending.engine import listed
from lending.engine.listed import Alias, Listed
from lending.list_files import eu_csv
from lending.list_files.bounds import Heard, Reading, Source, tidy
from lending.list_files.records import Element, records

ROOT = "export"
_ENTITY = "sanctionEntity"
_NO_COUNTRY = "00"


def read(source: Source, reading: Reading, heard: Heard) -> None:
    """Read the file; UnableToRead where it is no such XML."""
    for element in records(source, heard, roots=(ROOT,), wanted=(_ENTITY,)):
        if element.name == ROOT:
            reading.published_on = eu_csv.generated(element.attributes.get("generationDate", ""))
            if reading.published_on is None:
                reading.wrong(source.name, element.line, "generationDate is no date")
        else:
            reading.add(source.name, _listed(element))


def _listed(entity: Element) -> Listed:
    aliases: dict[str, Alias] = {}
    for element in entity.all("nameAlias"):
        said = element.attributes
        name = tidy(said.get("wholeName")) or tidy(
            " ".join(said.get(part, "") for part in ("firstName", "middleName", "lastName"))
        )
        kind = listed.AKA if aliases else listed.PRIMARY
        aliases.setdefault(name, Alias(name, kind, weak=said.get("strong", "").lower() == "false"))
    codes = [element.attributes.get("code", "").lower() for element in entity.all("subjectType")]
    places = [
        element.attributes.get("countryIso2Code", "").upper()
        for name in ("citizenship", "address", "birthdate")
        for element in entity.all(name)
    ]
    births = [_birth(element.attributes) for element in entity.all("birthdate")]
    return Listed(
        ref=entity.attributes.get("logicalId", "").strip(),
        kind=next((eu_csv.KINDS[code] for code in codes if code in eu_csv.KINDS), listed.OTHER),
        names=tuple(alias for name, alias in aliases.items() if name),
        births=tuple(dict.fromkeys(born for born in births if born)),
        countries=tuple(code for code in listed.once(places) if code != _NO_COUNTRY),
        programs=listed.once(element.attributes.get("programme", "") for element in entity.all("regulation")),
        remarks=" ".join(listed.once(tidy(element.text) for element in entity.all("remark"))),
        line=entity.line,
    )


def _birth(said: dict[str, str]) -> listed.Born | None:
    return eu_csv.birth(
        said.get("birthdate", ""),
        said.get("year", ""),
        said.get("yearRangeFrom", ""),
        said.get("yearRangeTo", ""),
        circa=said.get("circa", "").lower() == "true",
        calendar=said.get("calendarType", ""),
    )
