"""Both publishers' lists, in both of their forms, read into the same entries; and what is refused, by its line."""

from collections.abc import Sequence
from datetime import date

import pytest

from lending import list_files
from lending.engine.listed import Alias, Born
from lending.list_files import Source, UnableToRead, bounds
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


@pytest.mark.parametrize(
    ("names", "head", "says"),
    [
        (["people.xlsx"], "PK\x03\x04", "people.xlsx is no list that is known here"),
        (["un.xml"], "<CONSOLIDATED_LIST/>", "no list that is known here"),
        (["a.xml", "b.xml"], made.SDN_XML, "a list in XML is one file"),
        (["eu.csv", "alt.csv"], made.EU_CSV, "the EU's list is one file"),
        ([], "", "nothing is no list"),
    ],
)
def test_what_is_no_list_is_refused(names: list[str], head: str, says: str) -> None:
    with pytest.raises(UnableToRead, match=says):
        list_files.form_of(names, head.encode())


ROW = made.sdn_csv((7, "HOLLOW PINE", "individual"))


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (made.ofac(sdn='1,"A","individual"\n'), ["sdn.csv, line 1: 3 cells instead of 12"]),
        (made.ofac(sdn=ROW + ROW, alt="", add=""), ["sdn.csv, line 2: number 7 stood in line 1 already"]),
        (made.ofac(sdn=ROW.replace("7,", "x7,", 1), alt="", add=""), ["line 1: 'x7' is not the number of an entry"]),
        (made.ofac(sdn=ROW.replace("individual", "person"), alt="", add=""), ["'person' is no kind of entry"]),
        (made.ofac(sdn=ROW.replace('"HOLLOW PINE"', "-0- "), alt="", add=""), ["line 1: entry 7 has no name"]),
        (made.ofac(sdn=ROW.replace("HOLLOW PINE", "?!"), alt="", add=""), ["a name without a letter: '?!'"]),
        (made.ofac(sdn=ROW.replace("PINE", "P" * 800), alt="", add=""), ["has a name of 807 characters; 700 are"]),
        (made.ofac(sdn=ROW, alt='8,1,"aka","X",-0-\n', add=""), ["alt.csv, line 1: no entry of sdn.csv has"]),
        (made.ofac(sdn=ROW, alt='7,1,"dba","X",-0-\n', add=""), ["alt.csv, line 1: 'dba' is no kind of name"]),
        (made.ofac(sdn=ROW, alt='7,1,"aka",-0- ,-0-\n', add=""), ["sdn.csv, line 1: entry 7 has a name with"]),
        (
            made.ofac(sdn='"x",1\n' + ROW, alt='9,1,"aka","X",-0-\n', add="1,2\n"),
            ["sdn.csv, line 1: 2 cells", "alt.csv, line 1: no entry", "add.csv, line 1: 2 cells"],
        ),
    ],
)  # fmt: skip
def test_a_bad_line_of_ofac_is_named(sources: Sequence[Source], says: list[str]) -> None:
    found = words(read(list_files.OFAC_CSV, sources))
    assert len(found) >= len(says)
    for wanted in says:
        assert any(wanted in line for line in found), found


def test_many_bad_lines_are_all_counted_and_some_of_them_kept() -> None:
    reading = read(list_files.OFAC_CSV, made.ofac(sdn="1,2\n" * 1000, alt="", add=""))
    assert reading.problem_count == 1000
    assert len(reading.problems) == bounds.SHOWN


@pytest.mark.parametrize(
    ("form", "sources", "says"),
    [
        (list_files.OFAC_CSV, made.ofac()[:1], "alt.csv and add.csv is missing"),
        (list_files.OFAC_CSV, [*made.ofac(), made.source("sdn2.csv", "")], "two files stand for the same part"),
        (list_files.OFAC_CSV, made.ofac(sdn="", alt="", add=""), "sdn.csv has no entry"),
        (list_files.EU_CSV, [made.source("eu.csv", "fileGenerationDate;Entity_LogicalId\n")], "has no column Entity"),
        (list_files.EU_CSV, [made.source("eu.csv", b"fileGenerationDate;\xff\xfe\n")], "is not UTF-8 after line 0"),
        (list_files.EU_CSV, [made.source("eu.csv", 'fileGenerationDate;"open\n')], "line 1: unexpected end of data"),
        (list_files.EU_XML, [made.source("eu.xml", made.EU_XML[:-20])], "eu.xml, line 17: unclosed token"),
        (list_files.EU_XML, [made.source("eu.xml", made.SDN_XML)], "begins with <sdnList>, not with <export>"),
        (list_files.OFAC_XML, [made.source("sdn.xml", "<sdnList></sdnList>")], "has no entry"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_read_is_refused(form: str, sources: Sequence[Source], says: str) -> None:
    with pytest.raises(UnableToRead, match=says):
        read(form, sources)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("501;An invented person;P", "fifty;An invented person;P"), "line 2: 'fifty' is not the number of an entity"),
        (("20/11/2026", "soon"), "line 2: fileGenerationDate is no date such as 20/11/2026"),
        (("Trading\";KP", "Trading\";KP;;;;"), "line 6: 22 cells instead of 18"),
        (('"Kestrel; Moor Trading"', ""), "line 6: entry 502 has no name"),
    ],
)  # fmt: skip
def test_a_bad_line_of_the_eu_is_named(change: tuple[str, str], says: str) -> None:
    found = words(read(list_files.EU_CSV, [made.source("eu.csv", made.EU_CSV.replace(*change))]))
    assert any(says in line for line in found), found


@pytest.mark.parametrize(
    ("form", "text", "change", "says"),
    [
        (list_files.EU_XML, made.EU_XML, ('logicalId="502"', 'logicalId=""'), "line 12: '' is not the number"),
        (list_files.EU_XML, made.EU_XML, ('logicalId="502"', 'logicalId="501"'), "line 12: number 501 stood in line 3"),
        (list_files.EU_XML, made.EU_XML, ('wholeName="Kestrel; Moor Trading"', ""), "line 12: entry 502 has no name"),
        (list_files.EU_XML, made.EU_XML, ("2026-11-20T", "in November T"), "line 2: generationDate is no date"),
        (list_files.OFAC_XML, made.SDN_XML, ("11/20/2026", "20 Nov"), "line 3: Publish_Date is no date such as"),
        (list_files.OFAC_XML, made.SDN_XML, (">Entity<", ">Thing<"), "line 18: 'thing' is no kind of entry"),
    ],
)  # fmt: skip
def test_a_bad_record_of_xml_is_named_by_its_line(form: str, text: str, change: tuple[str, str], says: str) -> None:
    found = words(read(form, [made.source("list.xml", text.replace(*change))]))
    assert any(says in line for line in found), found


LAUGHS = (
    '<!DOCTYPE export [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<export generationDate="2026-11-20">&b;</export>'
)
OUTSIDE = '<!DOCTYPE export SYSTEM "file:///etc/passwd"><export/>'
DEEP = "<export>" + "<sanctionEntity>" + "<a>" * 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "brings a document type or entities of its own"),
        (OUTSIDE, "brings a document type or entities of its own"),
        (DEEP, "line 1: elements stand in each other more than 8 deep"),
        (f"<export><sanctionEntity>{'<a/>' * 20_001}</sanctionEntity></export>", "more than 20000 elements"),
        (f"<export><sanctionEntity><remark>{'x' * 40_001}</remark></sanctionEntity></export>", "more than 40000 char"),
    ],
)
def test_xml_that_would_blow_up_is_refused(text: str, says: str) -> None:
    with pytest.raises(UnableToRead, match=says):
        read(list_files.EU_XML, [made.source("eu.xml", text)])


def test_a_file_beyond_measure_is_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds.Bounded.__init__, "__defaults__", (1024,))
    with pytest.raises(UnableToRead, match="is larger than 0 MB"):
        read(list_files.EU_XML, [made.source("eu.xml", made.EU_XML)])


def test_reading_tells_how_far_it_has_come() -> None:
    taken: list[int] = []
    list_files.read(list_files.EU_XML, [made.source("eu.xml", made.EU_XML)], taken.append)
    assert sum(taken) == len(made.EU_XML.encode())
