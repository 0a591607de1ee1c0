"""Both publishers' lists, in both of their forms, read into the same entries; and what is refused, by its line."""

from collections.abc import Sequence
from datetime import date

import pytest

from lending import list_files
from lending.engine.listed import Alias, Born
from lending.list_files import Source, UnableToRead, bounds
from tests import bad_input
from tests.factories import list_files as made


def read(form: str, sources: Sequence[Source]) -> list_files.Reading:
    return list_files.read(form, sources)


def words(reading: list_files.Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


def test_ofac_says_the_same_as_csv_and_as_xml() -> None:
    csv = read(list_files.OFAC_CSV, made.ofac())
    xml = read(list_files.OFAC_XML, [made.source("sdn.xml", made.SDN_XML)])
    assert not csv.problems
    assert not xml.problems
    assert (csv.published_on, xml.published_on) == (None, date(2026, 11, 20))
    person = csv.entries["101"]
    assert person.names == (
        Alias("VELTHORN, Aurelio Pasco", "primary"),
        Alias("VELTORN, Aurelio", "aka"),
        Alias("EL BARQUERO", "aka", weak=True),
    )
    assert [born.text for born in person.births] == ["28 Jul 1963", "circa 1965"]
    assert person.countries == ("PT",)
    assert person.programs == ("INVENTED1", "INVENTED2")
    assert csv.entries["102"].countries == ("KP",)
    assert csv.entries["102"].kind == "entity"
    assert csv.entries["103"].kind == "vessel"
    for ref in ("101", "102"):
        assert csv.entries[ref].identity() == xml.entries[ref].identity(), "a decision must hold over both forms"


def test_the_eu_says_the_same_as_csv_and_as_xml() -> None:
    csv = read(list_files.EU_CSV, [made.source("eu.csv", made.EU_CSV)])
    xml = read(list_files.EU_XML, [made.source("eu.xml", made.EU_XML)])
    assert not csv.problems
    assert not xml.problems
    assert csv.published_on == xml.published_on == date(2026, 11, 20)
    person = csv.entries["501"]
    assert [alias.name for alias in person.names] == ["Οδυσσέας Καραβέλης", "Odysseas Karavelis"]
    assert person.births == (Born("1953 to 1958", date(1952, 1, 1), date(1960, 1, 1)),)
    assert person.countries == ("GR",)
    assert csv.entries["502"].names[0].name == "Kestrel; Moor Trading"
    assert [entry.content() for entry in csv.entries.values()] == [
        {**entry.content(), "names": [[name, kind, False] for name, kind, _weak in entry.content()["names"]]}
        for entry in xml.entries.values()
    ], "but for the weakness of a name, which the CSV does not tell"
    assert xml.entries["501"].names[1].weak


@pytest.mark.parametrize(
    ("names", "head", "form"),
    [
        (["sdn.csv", "alt.csv", "add.csv"], made.SDN_CSV, list_files.OFAC_CSV),
        (["SDN (1).CSV", "ALT (1).CSV", "ADD (1).CSV"], made.SDN_CSV, list_files.OFAC_CSV),
        (["whatever.xml"], made.SDN_XML, list_files.OFAC_XML),
        (["list.csv"], made.EU_CSV, list_files.EU_CSV),
        (["list.xml"], made.EU_XML, list_files.EU_XML),
    ],
)
def test_a_list_is_known_by_its_first_bytes(names: list[str], head: str, form: str) -> None:
    assert list_files.form_of(names, head.encode()) == form


NO_LIST = {
    "a spreadsheet": (["people.xlsx"], "PK\x03\x04"),
    "another publisher's": (["un.xml"], "<CONSOLIDATED_LIST/>"),
    "two files in XML": (["a.xml", "b.xml"], made.SDN_XML),
    "the EU's with another": (["eu.csv", "alt.csv"], made.EU_CSV),
    "no file": ([], ""),
}
ROW = made.sdn_csv((7, "HOLLOW PINE", "individual"))
LAUGHS = (
    '<!DOCTYPE export [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<export generationDate="2026-11-20">&b;</export>'
)
OUTSIDE = '<!DOCTYPE export SYSTEM "file:///etc/passwd"><export/>'
DEEP = "<export>" + "<sanctionEntity>" + "<a>" * 20


def rows(sdn: str, alt: str = "", add: str = "") -> list[Source]:
    return list(made.ofac(sdn=sdn, alt=alt, add=add))


def eu(text: str | bytes, name: str = "eu.csv") -> list[Source]:
    return [made.source(name, text)]


BAD: dict[str, dict[str, Sequence[Source]]] = {
    list_files.OFAC_CSV: {
        "a file too few": made.ofac()[:1],
        "a file twice": [*made.ofac(), made.source("sdn2.csv", "")],
        "no entry": rows(""),
        "cells too few": rows('1,"A","individual"\n'),
        "a number twice": rows(ROW + ROW),
        "number “x7”": rows(ROW.replace("7,", "x7,", 1)),
        "kind “person”": rows(ROW.replace("individual", "person")),
        "no name": rows(ROW.replace('"HOLLOW PINE"', "-0- ")),
        "a name of signs": rows(ROW.replace("HOLLOW PINE", "?!")),
        "a name of 807 letters": rows(ROW.replace("PINE", "P" * 800)),
        "another name of nobody": rows(ROW, '8,1,"aka","X",-0-\n'),
        "a name of kind “dba”": rows(ROW, '7,1,"dba","X",-0-\n'),
        "another name that is none": rows(ROW, '7,1,"aka",-0- ,-0-\n'),
        "an error in each file": rows('"x",1\n' + ROW, '9,1,"aka","X",-0-\n', "1,2\n"),
    },
    list_files.EU_CSV: {
        "a column too few": eu("fileGenerationDate;Entity_LogicalId\n"),
        "no UTF-8": eu(b"fileGenerationDate;\xff\xfe\n"),
        "a quote that is never closed": eu('fileGenerationDate;"open\n'),
        "number “fifty”": eu(made.EU_CSV.replace("501;An invented person;P", "fifty;An invented person;P")),
        "date “soon”": eu(made.EU_CSV.replace("20/11/2026", "soon")),
        "cells too many": eu(made.EU_CSV.replace('Trading";KP', 'Trading";KP;;;;')),
        "no name": eu(made.EU_CSV.replace('"Kestrel; Moor Trading"', "")),
    },
    list_files.EU_XML: {
        "cut off": eu(made.EU_XML[:-20], "eu.xml"),
        "another publisher's": eu(made.SDN_XML, "eu.xml"),
        "entities of its own": eu(LAUGHS, "eu.xml"),
        "a file of ours": eu(OUTSIDE, "eu.xml"),
        "nested too deep": eu(DEEP, "eu.xml"),
        "too many elements": eu(f"<export><sanctionEntity>{'<a/>' * 20_001}</sanctionEntity></export>", "eu.xml"),
        "too long a text": eu(
            f"<export><sanctionEntity><remark>{'x' * 40_001}</remark></sanctionEntity></export>", "eu.xml"
        ),
        "no number": eu(made.EU_XML.replace('logicalId="502"', 'logicalId=""'), "eu.xml"),
        "a number twice": eu(made.EU_XML.replace('logicalId="502"', 'logicalId="501"'), "eu.xml"),
        "no name": eu(made.EU_XML.replace('wholeName="Kestrel; Moor Trading"', ""), "eu.xml"),
        "date “in November”": eu(made.EU_XML.replace("2026-11-20T", "in November T"), "eu.xml"),
    },
    list_files.OFAC_XML: {
        "no entry": eu("<sdnList></sdnList>", "sdn.xml"),
        "date “20 Nov”": eu(made.SDN_XML.replace("11/20/2026", "20 Nov"), "sdn.xml"),
        "kind “Thing”": eu(made.SDN_XML.replace(">Entity<", ">Thing<"), "sdn.xml"),
    },
}


def test_what_is_no_list_is_refused() -> None:
    said = {}
    for case, (names, head) in NO_LIST.items():
        with pytest.raises(UnableToRead) as refusal:
            list_files.form_of(names, head.encode())
        said[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Sanctions lists: the files", said)


@pytest.mark.parametrize("form", BAD)
def test_what_is_wrong_with_a_list_is_named_by_its_line(form: str) -> None:
    said = {case: wrong(form, sources) for case, sources in BAD[form].items()}
    bad_input.stands(bad_input.IMPORTS, f"Sanctions lists: {list_files.FORMS[form]}", said)


def wrong(form: str, sources: Sequence[Source]) -> list[str]:
    """Return what a reader of a list is told: that it can not be read at all, or each line that is wrong."""
    try:
        return words(read(form, sources))
    except UnableToRead as refusal:
        return [str(refusal)]


def test_many_bad_lines_are_all_counted_and_some_of_them_kept() -> None:
    reading = read(list_files.OFAC_CSV, made.ofac(sdn="1,2\n" * 1000, alt="", add=""))
    assert reading.problem_count == 1000
    assert len(reading.problems) == bounds.SHOWN


def test_a_file_beyond_measure_is_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds.Bounded.__init__, "__defaults__", (1024,))
    with pytest.raises(UnableToRead, match="is larger than 0 MB"):
        read(list_files.EU_XML, [made.source("eu.xml", made.EU_XML)])


def test_reading_tells_how_far_it_has_come() -> None:
    taken: list[int] = []
    list_files.read(list_files.EU_XML, [made.source("eu.xml", made.EU_XML)], taken.append)
    assert sum(taken) == len(made.EU_XML.encode())
