"""No page that a link leads to keeps somebody out: axe-core finds nothing serious on any, in light and in dark."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from deploy.run import crawl, doors
from tests import stories
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.cast import PASSWORD, Cast, assemble

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("people", [("alice",), ("dirk",), ("rhea", "robin", "cora", "olga")], ids="-".join)
def test_every_page_can_be_used_by_everybody(visitor: Visitor, people: tuple[str, ...]) -> None:
    """A page that a colleague sees just so is looked at with the colleague's eyes alone."""
    cast = assemble()
    stories.called(cast)
    found = []
    colleagues = [] if people[0] == "alice" else [_fetching(visitor, cast, "dirk")]
    for who in people:
        door, fetch, looked = visitor.sign_in(getattr(cast, who).email), _fetching(visitor, cast, who), 0
        pages = list(crawl.pages(fetch, door))
        assert len(pages) > 3
        for page in pages:
            mine = crawl.shape(fetch(page.path).text)
            if who != "dirk" and any(crawl.shape(other(page.path).text) == mine for other in colleagues):
                continue
            looked += 1
            found += _looks(visitor, page)
        assert looked > 3
        colleagues.append(fetch)
    assert found == []


def _looks(visitor: Visitor, page: crawl.Page) -> Iterator[str]:
    """Yield what is wrong with a page on a dark phone, and then in a large and light window."""
    for size, dark in ((PHONE, True), (DESKTOP, False)):
        visitor.look(size, dark=dark)
        if size == PHONE:
            visitor.open(page.path)
        look = f"{page.path} at {size[0]} px, {'dark' if dark else 'light'}"
        yield from (f"{look}: {violation}" for violation in visitor.violations())
        if visitor.wide():
            yield f"{look}: scrolls sideways"


def _fetching(visitor: Visitor, cast: Cast, who: str) -> Callable[[str], crawl.Answer]:
    """Return how somebody fetches pages; what was fetched once does not change while this lasts."""
    return cache(doors.Visitor(visitor.base, getattr(cast, who).email, PASSWORD).fetch)
