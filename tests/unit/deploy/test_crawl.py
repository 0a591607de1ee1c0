"""The crawler meets each kind of page once, says where a dead link stands, and leaves files and other hosts alone."""

import pytest

from deploy.run.crawl import Answer, UnableToOpen, pages

LOANS = [f"/portal/loans/00000000-0000-0000-0000-00000000000{n}/" for n in (1, 2)]
HOME = """
<a href="/portal/notices/?page=2">notices</a> <a class="x" href="/portal/loans/00000000-0000-0000-0000-000000000001/">
<a href="/portal/loans/00000000-0000-0000-0000-000000000002/">two</a> <a href="/static/a.css">a file</a>
<a href="mailto:robin@plimsoll.example">write</a> <a href="https://elsewhere.example/portal/notices/">away</a>
<a href="/console/stream/">a line that is no page</a> <a href="?sort=ltv">itself</a> <a name="no-link">
"""


def site(**pages_by_path: Answer):
    known = {
        "/portal/": Answer(200, "text/html; charset=utf-8", HOME),
        "/portal/notices/?page=2": Answer(200, "text/html", '<a href="../">home &amp; back</a>'),
        "/console/stream/": Answer(200, "text/event-stream", ""),
        LOANS[0]: Answer(200, "text/html", ""),
    }
    return lambda path: (known | pages_by_path)[path]


def test_each_kind_of_page_comes_once():
    found = [(page.kind, page.path) for page in pages(site(), "/portal/")]
    assert found == [
        ("portal_home", "/portal/"),
        ("portal_notices", "/portal/notices/?page=2"),
        ("portal_loan", LOANS[0]),
    ]


def test_a_link_that_does_not_open_is_named_with_the_page_it_stands_on():
    closed = site(**{LOANS[0]: Answer(403, "text/html", "")})
    with pytest.raises(UnableToOpen, match=f"/portal/ links to {LOANS[0]}, which answers 403"):
        list(pages(closed, "/portal/"))
