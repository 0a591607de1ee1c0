"""Everybody uses one sign-in page and lands at their own door; guessing passwords ends quickly."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client as Browser

from lending import clock
from tests.cast import NOW, PASSWORD, Cast


def sign_in(browser: Browser, email: str, password: str = PASSWORD, **extra: str):
    return browser.post("/sign-in/", {"username": email, "password": password, **extra})


@pytest.mark.parametrize(
    ("who", "door"),
    [
        ("alice", "/portal/"),
        ("bob", "/portal/"),
        ("rhea", "/console/"),
        ("rolf", "/console/"),
        ("dana", "/admin/"),
        ("dirk", "/admin/"),
        ("robin", "/admin/"),
        ("olga", "/admin/"),
    ],
)
def test_each_role_lands_at_its_own_door(cast: Cast, client: Browser, who: str, door: str) -> None:
    response = sign_in(client, getattr(cast, who).email)
    assert (response.status_code, response["Location"]) == (302, door)
    assert client.get("/")["Location"] == door


def test_every_frame_tells_the_page_where_platform_time_stands_still(cast: Cast, client: Browser) -> None:
    """A countdown on an open page must stop where the clock does."""
    stop = NOW + timedelta(hours=3)
    clock.start(sim_origin=NOW, wall_origin=clock.wall_now(), speed=Decimal(6), stop_at=stop)
    for who, address in ((cast.alice, "/portal/"), (cast.olga, "/admin/"), (cast.rhea, "/console/")):
        client.force_login(who)
        page = client.get(address).content.decode()
        assert '<meta name="platform-time"' in page, address
        assert f'data-stop="{stop.isoformat()}"' in page, address


def test_the_spelling_of_an_e_mail_does_not_matter(cast: Cast, client: Browser) -> None:
    assert sign_in(client, cast.alice.email.upper()).status_code == 302


def test_a_wrong_password_is_told_apart_from_nothing(cast: Cast, client: Browser) -> None:
    wrong = sign_in(client, cast.alice.email, "not it").content.decode()
    unknown = sign_in(client, "nobody@nowhere.example", "not it").content.decode()
    assert "do not go together" in wrong
    assert wrong.count("do not go together") == unknown.count("do not go together")


def test_a_barred_user_stays_out(cast: Cast, client: Browser) -> None:
    cast.alice.is_active = False
    cast.alice.save()
    assert sign_in(client, cast.alice.email).status_code == 200
    assert "_auth_user_id" not in client.session


def test_five_failures_lock_this_e_mail_from_this_address_and_nobody_else(cast: Cast, client: Browser) -> None:
    for _ in range(5):
        response = sign_in(client, cast.rhea.email, "guess")
    assert response.status_code == 429
    assert "Locked for a while" in response.content.decode()
    assert sign_in(client, cast.rhea.email).status_code == 429  # the right password does not help now
    assert sign_in(Browser(), cast.alice.email).status_code == 302
    assert sign_in(Browser(REMOTE_ADDR="192.0.2.7"), cast.rhea.email).status_code == 302


def test_a_foreign_address_is_no_place_to_go_after_sign_in(cast: Cast, client: Browser) -> None:
    response = sign_in(client, cast.alice.email, next="https://elsewhere.example/")
    assert response["Location"] == "/portal/"


def test_signing_out_ends_the_session(cast: Cast, client: Browser) -> None:
    client.force_login(cast.alice)
    assert client.get("/sign-out/").status_code == 405  # a link or an image can not sign anybody out
    client.post("/sign-out/")
    assert "_auth_user_id" not in client.session


def test_pages_carry_a_strict_content_policy(db: None, client: Browser) -> None:
    policy = client.get("/sign-in/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("wanted", ["/sign-in/", "/sign-in/?next=/sign-in/", "http://testserver/sign-in/"])
def test_who_is_signed_in_is_not_sent_in_circles(cast: Cast, client: Browser, wanted: str) -> None:
    client.force_login(cast.alice)
    answer = client.get("/sign-in/", {"next": wanted}, follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain[-1][0] == "/portal/"
