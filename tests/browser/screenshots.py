"""
Take a picture of every page of a running demo desk: `make screenshots`.

Every kind of page that links lead to from each role's door, at desktop and phone width, light and dark, and every kind
of paper (PDF), while the crash of 19 May 2021 is on; a page that a role before sees just so is not taken again. They go
to build/screenshots, named role-page-width-light.png, beside an index; a few small ones for the README, and only these,
replace those in docs/pictures by `make screenshots README=1`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import django
import httpx
import pypdfium2
from PIL import Image

from deploy.embedded.layout import CHECKOUT
from deploy.run import crawl, doors
from deploy.run.started import started
from tests.browser.visitor import DESKTOP, PHONE, NoBrowser, Visitor, chromium

ROLES = ("borrower", "risk", "relationship manager", "desk head", "compliance", "operations")
START, CRASH = "2021-05-19T12:40:00+00:00", datetime(2021, 5, 19, 13, 6, tzinfo=UTC)
LOOKS = [(width, dark) for width in (DESKTOP, PHONE) for dark in (False, True)]
README = {
    ("borrower", "portal_call"): "borrower.png",
    ("risk", "console_queue"): "risk.png",
    ("relationship manager", "admin:index"): "relationship-manager.png",
    ("desk head", "admin:otc_pnl"): "desk-head.png",
}
_FRESH_S = 16
_SHEETS, _SHARP = 4, 1.5  # of a paper: pages, and pixels to a point
_SETTLE_S = 0.4  # for charts to draw


def main() -> None:
    """Start a scratch platform, run it into the crash, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=CHECKOUT / "build" / "screenshots")
    parser.add_argument("--readme", action="store_true", help="take only those of the README, and replace them")
    parser.add_argument("--speed", default="60", help="seconds of platform time in one of wall time")
    asked = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
    django.setup()  # addresses are told apart by the project's own routes
    asked.to.mkdir(parents=True, exist_ok=True)
    try:
        driver = chromium()
    except NoBrowser as problem:
        sys.exit(str(problem))
    try:
        with started({"START": START, "SPEED": asked.speed}) as platform:
            state = platform.wait_until_ready()
            say(f"ready at {state['url']}, waiting for the crash")
            stand_still(state["url"], state["people"], at=CRASH)
            visitor = Visitor(driver, state["url"], "")
            taken: list[str] = []
            before: list[doors.Visitor] = []
            for who in people(state["people"]):
                kinds = {kind for role, kind in README if role == who["role"]} if asked.readme else None
                if kinds != set():
                    taken += pictures(visitor, who, before, asked.to, kinds)
    finally:
        driver.quit()
    index(taken, asked.to)
    if asked.readme:
        for (role, kind), name in README.items():
            small(asked.to / named(role, kind, DESKTOP, dark=False), CHECKOUT / "docs" / "pictures" / name)
    say(f"{len(taken)} pictures, look through {asked.to / 'index.html'}")


def people(known: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return one person of each role."""
    return [next(person for person in known if person["role"].startswith(role)) for role in ROLES]


def stand_still(url: str, known: list[dict[str, str]], *, at: datetime) -> None:
    """Let platform time come to an instant, marks catch up with it, and time stand still: every picture is of then."""
    (risk,) = (person for person in known if person["role"] == "risk")
    strip = doors.Visitor(url, risk["email"], risk["password"])
    wait_for(url, lambda health: datetime.fromisoformat(health["now"]) >= at)
    strip.post("/demo/speed/", speed="1")
    wait_for(url, lambda health: health["mark_age_s"] <= _FRESH_S)
    strip.post("/demo/speed/", speed="0")


def wait_for(url: str, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what the platform says of itself meets a condition."""
    while not condition(httpx.get(f"{url}/healthz", timeout=10).json()):
        time.sleep(0.2)


def pictures(
    visitor: Visitor, who: dict[str, str], before: list[doors.Visitor], folder: Path, kinds: set[str] | None
) -> list[str]:
    """
    Take every page that a person reaches, or only some kinds, in every look, and return the files' names.

    Those that one of the persons `before` sees just so are left out; the person is added to them.
    """
    visitor.look(DESKTOP, dark=False)
    door = visitor.sign_in(who["email"], who["password"])
    person = doors.Visitor(visitor.base, who["email"], who["password"])
    found = crawl.pages(person.fetch, door)
    pages = [page for page in found if kinds is None or page.kind in kinds]
    taken = []
    for page in pages:
        mine = crawl.shape(person.fetch(page.path).text)
        if kinds is None and any(crawl.shape(other.fetch(page.path).text) == mine for other in before):
            continue
        for size, dark in LOOKS:
            visitor.look(size, dark=dark)
            visitor.open(page.path)
            time.sleep(_SETTLE_S)
            name = named(who["role"], page.kind, size, dark=dark)
            visitor.picture(folder / name)
            taken.append(name)
        say(f"{who['role']}: {page.kind} {page.path}")
    if kinds is None:
        for page in crawl.papers(person.fetch, door):
            paper = person.fetch(page.path)
            if all(other.fetch(page.path) != paper for other in before):
                taken += draw(person.paper(page.path), named_paper(who["role"], page.kind), folder)
                say(f"{who['role']}: {page.kind} {page.path}")
    for complaint in visitor.complaints():
        say(f"{who['role']}: the browser complains: {complaint}")
    before.append(person)
    return taken


def draw(paper: bytes, name: str, folder: Path) -> list[str]:
    """Draw the first pages of a paper, and return the files' names."""
    drawn = pypdfium2.PdfDocument(paper)
    names = [f"{name}-{number + 1}.png" for number in range(min(len(drawn), _SHEETS))]
    for number, each in enumerate(names):
        drawn[number].render(scale=_SHARP).to_pil().save(folder / each)
    return names


def named(role: str, kind: str, size: tuple[int, int], *, dark: bool) -> str:
    """Return the file's name of a picture."""
    return f"{_plain(role, kind)}-{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}.png"


def named_paper(role: str, kind: str) -> str:
    """Return what the files' names of a paper's pages begin with."""
    return f"{_plain(role, kind)}-paper"


def _plain(role: str, kind: str) -> str:
    return f"{role}-{kind}".replace(" ", "-").replace(":", "-")


def small(picture: Path, to: Path) -> None:
    """Keep what a first look sees of a picture, in few enough colours for a repository."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as whole:
        seen = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, DESKTOP[1])))
        seen.quantize(128).save(to, optimize=True)


def index(names: list[str], folder: Path) -> None:
    """Write a page that shows all pictures."""
    figures = "\n".join(
        f'<figure><img src="{escape(name)}" loading="lazy"><figcaption>{escape(name)}</figcaption></figure>'
        for name in names
    )
    style = "body{display:flex;flex-wrap:wrap;gap:1rem;font:14px sans-serif}img{max-width:30rem;border:1px solid #999}"
    (folder / "index.html").write_text(f"<!doctype html><title>Plimsoll</title><style>{style}</style>{figures}")


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
