"""
Sanctions lists as their publishers put them out, read into one form: OFAC's SDN list and the EU's, each as CSV and XML.

Reading is streamed and bounded; XML that brings a document type or entities is refused. A list is read whole or not
at all: each line that can not be taken is named.
"""

import codecs
from collections.abc import Sequence

from lending.list_files import eu_csv, eu_xml, ofac_csv, ofac_xml
from lending.list_files.bounds import Heard, Problem, Reading, Source, UnableToRead

__all__ = ["FORMS", "Problem", "Reading", "Source", "UnableToRead", "form_of", "read"]

OFAC_CSV, OFAC_XML, EU_CSV, EU_XML = "ofac_csv", "ofac_xml", "eu_csv", "eu_xml"
FORMS = {
    OFAC_CSV: "OFAC, CSV (sdn.csv, alt.csv, add.csv)",
    OFAC_XML: "OFAC, XML (sdn.xml)",
    EU_CSV: "EU, CSV",
    EU_XML: "EU, XML",
}
_HEAD = 2048


def form_of(names: Sequence[str], head: bytes) -> str:
    """
    Return the form of a list by its files' names and the first bytes of the first of them.

    Raises
    ------
    UnableToRead
        If it is none of those in FORMS; the message says which there are.
    """
    text = head.removeprefix(codecs.BOM_UTF8)[:_HEAD].decode("utf-8", "replace").lstrip()
    if text.startswith("<"):
        if len(names) != 1:
            raise UnableToRead("a list in XML is one file")
        found = next(
            (form for form, root in ((OFAC_XML, ofac_xml.ROOT), (EU_XML, eu_xml.ROOT)) if f"<{root}" in text), ""
        )
        if found:
            return found
    elif text.startswith((eu_csv.FIRST, f'"{eu_csv.FIRST}"')):
        if len(names) != 1:
            raise UnableToRead("the EU's list is one file")
        return EU_CSV
    elif names and all(map(ofac_csv.role, names)):
        return OFAC_CSV
    known = "; ".join(FORMS.values())
    raise UnableToRead(f"{', '.join(names) or 'nothing'} is no list that is known here. Known are: {known}")


def read(form: str, sources: Sequence[Source], heard: Heard = lambda _: None) -> Reading:
    """
    Read a list whole; `heard` is told how many bytes were taken, as they are.

    Raises
    ------
    UnableToRead
        If the files can not be read at all; what is wrong with single lines stands in the reading's problems.
    """
    reading = Reading()
    if form == OFAC_CSV:
        roles = [ofac_csv.role(source.name) or "" for source in sources]
        if len(set(roles)) < len(roles):
            raise UnableToRead(f"two files stand for the same part of the list: {', '.join(s.name for s in sources)}")
        ofac_csv.read(dict(zip(roles, sources, strict=True)), reading, heard)
    else:
        readers = {OFAC_XML: ofac_xml.read, EU_CSV: eu_csv.read, EU_XML: eu_xml.read}
        readers[form](sources[0], reading, heard)
    if not reading.entries and not reading.problems:
        raise UnableToRead(f"{sources[0].name} has no entry")
    return reading
