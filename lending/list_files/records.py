"""Records of an XML file one after the other: never the whole of it in memory, and nothing that it could blow up."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

# The parser is defusedxml's; these are what it raises and calls.
from xml.sax import SAXParseException  # nosec B406
from xml.sax.handler import ContentHandler  # nosec B406
from xml.sax.xmlreader import AttributesImpl, Locator  # nosec B406

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from lending.list_files.bounds import Bounded, Heard, Source, UnableToRead

_CHUNK = 64 * 1024
_DEEPEST = 8
_MOST_PARTS = 20_000  # elements of one record
_LONGEST = 40_000  # characters of one element


@dataclass(slots=True)
class Element:
    """An element of a record: its name without prefix, attributes, own text, what stands in it, its line."""

    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    inner: list["Element"] = field(default_factory=list)

    def all(self, *path: str) -> Iterator["Element"]:
        """Yield what stands at a path below this element."""
        for part in self.inner:
            if part.name == path[0]:
                yield from part.all(*path[1:]) if len(path) > 1 else (part,)

    def said(self, *path: str) -> str:
        """Return the text of the first element at a path, nothing where there is none."""
        return next((part.text.strip() for part in self.all(*path)), "")


class _Records(ContentHandler):
    """Collects what stands directly below the root, under the names that somebody waits for."""

    def __init__(self, file: str, roots: Collection[str], wanted: Collection[str]) -> None:
        super().__init__()
        self._file, self._roots, self._wanted = file, roots, wanted
        self._locator: Locator | None = None
        self._open: list[Element] = []
        self._depth = self._parts = 0
        self.ready: list[Element] = []
        self.root: Element | None = None

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802  SAX's own name
        self._locator = locator

    def _line(self) -> int:
        return (self._locator.getLineNumber() if self._locator else 0) or 0

    def _refuse(self, words: str) -> UnableToRead:
        return UnableToRead(f"{self._file}, line {self._line()}: {words}")

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802  SAX's own name
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._refuse(f"elements stand in each other more than {_DEEPEST} deep")
        element = Element(name.rpartition(":")[2], dict(attrs.items()), self._line())
        if self._depth == 1:
            if element.name not in self._roots:
                raise self._refuse(
                    f"the file begins with <{element.name[:40]}>, not with <{'> or <'.join(self._roots)}>"
                )
            self.root = element
        elif self._open:
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise self._refuse(f"a record has more than {_MOST_PARTS} elements")
            self._open[-1].inner.append(element)
            self._open.append(element)
        elif self._depth == 2 and element.name in self._wanted:
            self._parts = 0
            self._open = [element]

    def characters(self, content: str) -> None:
        if self._open:
            element = self._open[-1]
            element.text += content
            if len(element.text) > _LONGEST:
                raise self._refuse(f"<{element.name}> has more than {_LONGEST} characters")

    def endElement(self, name: str) -> None:  # noqa: N802  SAX's own name
        self._depth -= 1
        if self._open:
            closed = self._open.pop()
            if not self._open:
                self.ready.append(closed)


def records(source: Source, heard: Heard, *, roots: Collection[str], wanted: Collection[str]) -> Iterator[Element]:
    """
    Yield the root without what it holds, then each record, as soon as it is complete.

    Raises
    ------
    UnableToRead
        If the file is too large, is no XML of such a root, brings a document type or entities of its own, or has
        records beyond measure.
    """
    handler = _Records(source.name, roots, wanted)
    parser = DefusedExpatParser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.setContentHandler(handler)
    handler.setDocumentLocator(parser)
    stream, told = Bounded(source, heard), False
    try:
        while part := stream.read(_CHUNK):
            parser.feed(part)
            if handler.root is not None and not told:
                told = True
                yield handler.root
            while handler.ready:
                yield handler.ready.pop(0)
        parser.close()
    except SAXParseException as error:
        raise UnableToRead(f"{source.name}, line {error.getLineNumber()}: {error.getMessage()}") from error
    except DefusedXmlException as error:
        raise UnableToRead(
            f"{source.name} brings a document type or entities of its own: such files are refused"
        ) from error
