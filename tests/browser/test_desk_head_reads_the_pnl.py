"""A desk head's day: the P&L of the day and the month, a line of it, and the posting that the line is made of."""

from datetime import timedelta

import pytest

from lending import interest
from lending.models import Posting
from tests import stories
from tests.browser.visitor import PHONE, Visitor
from tests.cast import NOW, assemble

pytestmark = pytest.mark.browser


def test_a_figure_leads_down_to_the_posting_it_is_made_of(visitor: Visitor) -> None:
    cast = assemble()
    loan = stories.running(cast)
    stories.market("40000", at=NOW + timedelta(minutes=2))
    interest.accrue_due(now=NOW + timedelta(days=1))

    assert visitor.sign_in(cast.dirk.email) == "/admin/"
    visitor.wait(lambda: not visitor.all(".home .loading"), "the loans closest to a call")
    visitor.find('.house-menu a[href="/admin/pnl/"]').click()
    visitor.wait(lambda: visitor.path.startswith("/admin/pnl/"), "the P&L")
    # 600,000 at 10 % ACT/360 for half a day
    visitor.reads('tr[data-line="interest"]', "83.34")
    visitor.reads('tr[data-line="total"]', "83.34")
    visitor.reads("#residual", "0.00")
    visitor.reads("#residual", "explained")
    drawn = visitor.find('tr[data-line="interest"] rect').attribute("width")
    assert drawn == "1000"
    visitor.wait(lambda: visitor.all('[data-figure="Book size"]'), "the key figures")
    visitor.reads('[data-figure="Book size"]', "600,000.00")

    visitor.find('.periods a[href*="period=month"]').click()
    visitor.wait(lambda: "period=month" in visitor.path, "the month")
    visitor.reads("#lines", "01 May 2021 to 19 May 2021")
    visitor.find('tr[data-line="interest"] a').click()
    visitor.wait(lambda: "/pnl/postings/" in visitor.path, "the postings")
    row = visitor.find("main tbody tr")
    assert "83.34" in row.text
    posting = Posting.objects.get(category="interest")
    visitor.find(f'main tbody a[href="/admin/lending/entry/{posting.entry_id}/change/"]').click()
    visitor.wait(lambda: "/lending/entry/" in visitor.path, "the entry")
    visitor.reads("main", f"accrual:{loan.public_id}:2021-05-19")

    visitor.look(PHONE, dark=True)
    for path in ("/admin/", "/admin/pnl/", "/admin/pnl/figures/"):
        visitor.open(path)
        visitor.wait(lambda: not visitor.all("main .loading"), "the parts that are fetched")
        assert not visitor.wide(), path
    visitor.open("/admin/pnl/?day=2021-05-19")
    drawing = visitor.find('tr[data-line="interest"] svg').do(lambda element: element.size["width"])
    assert drawing > 250, "a bar that can be read"
    assert visitor.complaints() == []
