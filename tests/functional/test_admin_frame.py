"""The admin's frame: a menu of what its reader may open, and a content policy that opens by one word and no more."""

import re

import pytest
from django.test import Client as Browser

from tests.cast import Cast


def menu(browser: Browser) -> set[str]:
    """Return the addresses in the menu."""
    page = browser.get("/admin/").content.decode()
    return set(re.findall(r'<li><a href="(/admin/[^"]*)"', page))


@pytest.mark.parametrize(
    ("who", "offered", "withheld"),
    [
        ("robin", {"/admin/", "/admin/lending/client/", "/admin/lending/loan/"}, {"/admin/pnl/", "/admin/otc/rfq/"}),
        ("dirk", {"/admin/pnl/", "/admin/otc/rfq/", "/admin/lending/posting/"}, set()),
        ("dana", {"/admin/otc/rfq/"}, {"/admin/lending/client/", "/admin/risk/margincall/", "/admin/pnl/"}),
    ],
)
def test_the_menu_offers_what_its_reader_may_open(
    cast: Cast, client: Browser, who: str, offered: set[str], withheld: set[str]
) -> None:
    client.force_login(getattr(cast, who))
    shown = menu(client)
    assert offered <= shown
    assert not withheld & shown
    assert {client.get(address).status_code for address in shown} == {200}


def test_only_the_admin_may_evaluate_and_nobody_may_inline(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    policies = {path: client.get(path)["Content-Security-Policy"] for path in ("/admin/", "/console/")}
    assert "script-src 'self' 'unsafe-eval'" in policies["/admin/"]
    assert "unsafe-eval" not in policies["/console/"]
    assert not any("unsafe-inline" in policy for policy in policies.values())


def test_a_page_of_the_admin_holds_no_style_of_its_own(cast: Cast, client: Browser) -> None:
    """A strict policy refuses it, and the page would look broken in a way that no test of its words could see."""
    client.force_login(cast.rolf)
    for path in ("/admin/", "/admin/lending/loan/", "/admin/lending/client/", "/admin/pnl/?day=2021-05-19"):
        page = client.get(path).content.decode()
        assert "<style" not in page, path
        assert " style=" not in page, path
