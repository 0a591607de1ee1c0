"""No page that a link leads to keeps somebody out: axe-core finds nothing serious on any, in light and in dark."""

import pytest

from deploy.run import crawl, doors
from tests import stories
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.cast import PASSWORD, Cast, assemble

pytestmark = pytest.mark.browser


STAFF = ("dirk", "rhea", "robin", "cora", "olga")


@pytest.mark.parametrize(
    ("who", "before"), [("alice", ()), *((who, STAFF[:place]) for place, who in enumerate(STAFF))], ids=str
)
def test_every_page_can_be_used_by_everybody(visitor: Visitor, who: str, before: tuple[str, ...]) -> None:
    """A page that a colleague sees just so is looked at with the colleague's eyes alone."""
    cast = assemble()
    stories.called(cast)
    found = []
    door = visitor.sign_in(getattr(cast, who).email)
    me, *colleagues = [_person(visitor, cast, name) for name in (who, *before)]
    pages = list(crawl.pages(me.fetch, door))
    assert len(pages) > 3
    looked = 0
    for page in pages:
        mine = crawl.shape(me.fetch(page.path).text)
        if any(crawl.shape(other.fetch(page.path).text) == mine for other in colleagues):
            continue
        looked += 1
        for size, dark in ((DESKTOP, False), (PHONE, True)):
            visitor.look(size, dark=dark)
            visitor.open(page.path)
            look = f"{page.path} at {size[0]} px, {'dark' if dark else 'light'}"
            found += [f"{look}: {violation}" for violation in visitor.violations()]
            if visitor.wide():
                found.append(f"{look}: scrolls sideways")
    assert found == []
    assert looked > 3


def _person(visitor: Visitor, cast: Cast, who: str) -> doors.Visitor:
    return doors.Visitor(visitor.base, getattr(cast, who).email, PASSWORD)
