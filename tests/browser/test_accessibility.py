"""No page that a link leads to keeps somebody out: axe-core finds nothing serious on any, in light and in dark."""

import pytest

from deploy.run import crawl, doors
from tests import stories
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.cast import PASSWORD, assemble

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("who", ["alice", "rhea", "robin", "dirk"])
def test_every_page_can_be_used_by_everybody(visitor: Visitor, who: str) -> None:
    cast = assemble()
    stories.called(cast)
    found = []
    email = getattr(cast, who).email
    door = visitor.sign_in(email)
    pages = list(crawl.pages(doors.Visitor(visitor.base, email, PASSWORD).fetch, door))
    assert len(pages) > 3
    for page in pages:
        for size, dark in ((DESKTOP, False), (PHONE, True)):
            visitor.look(size, dark=dark)
            visitor.open(page.path)
            look = f"{page.path} at {size[0]} px, {'dark' if dark else 'light'}"
            found += [f"{look}: {violation}" for violation in visitor.violations()]
            if visitor.wide():
                found.append(f"{look}: scrolls sideways")
    assert found == []
