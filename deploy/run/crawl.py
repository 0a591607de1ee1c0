"""One page of every kind that links lead to: for whoever has to look at all of them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

from django.urls import Resolver404, resolve

_LINK = re.compile(r"<a\b[^>]*>", re.IGNORECASE)
_HREF = re.compile(r'\bhref="([^"]*)"', re.IGNORECASE)
_OWN = re.compile(r"<main.*</main>", re.DOTALL)
_PASSING = re.compile(r'value="[^"]*"|[0-9]+')  # tokens, figures, ages
_NO_PAGES = {"front", "sign_out", "admin:logout", "admin:jsi18n"}


class UnableToOpen(RuntimeError):
    """A link leads to a page that does not open."""


@dataclass(frozen=True)
class Answer:
    """What an address gave."""

    status: int
    content_type: str
    text: str


@dataclass(frozen=True)
class Page:
    """One page of a kind: the first address that was met for it."""

    kind: str
    path: str


def pages(fetch: Callable[[str], Answer], door: str) -> Iterator[Page]:
    """
    Yield one page of every kind, from a door on.

    A kind is a route of the project's addresses: every loan's page is of one kind, each table of the admin of its own.
    Raises UnableToOpen for a link that is dead or closed to whoever is shown it; files are no pages.
    """
    return (page for page, content_type in _walk(fetch, door) if content_type.startswith("text/html"))


def papers(fetch: Callable[[str], Answer], door: str) -> Iterator[Page]:
    """Yield one paper (PDF) of every kind, from a door on, as `pages` does pages."""
    return (page for page, content_type in _walk(fetch, door) if content_type.startswith("application/pdf"))


def _walk(fetch: Callable[[str], Answer], door: str) -> Iterator[tuple[Page, str]]:
    """Yield one of every kind that links lead to, and what it is."""
    seen: set[str] = set()
    met = {door}
    ahead = [(door, "")]
    while ahead:
        path, met_on = ahead.pop(0)
        kind = _kind(path)
        if kind is None or kind in seen or kind in _NO_PAGES:
            continue
        answer = fetch(path)
        if answer.status != 200:
            raise UnableToOpen(f"{met_on} links to {path}, which answers {answer.status}")
        seen.add(kind)
        yield Page(kind, path), answer.content_type
        if not answer.content_type.startswith("text/html"):
            continue
        links = dict.fromkeys(_links(path, answer.text))
        ahead += [(link, path) for link in links if link not in met]
        met |= links.keys()


def shape(text: str) -> str:
    """Return what a page holds within its frame, but for what passes: two persons who see the same see it just so."""
    own = _OWN.search(text)
    return _PASSING.sub("", own[0] if own else text)


def _links(path: str, text: str) -> Iterator[str]:
    for tag in _LINK.findall(text):
        href = _HREF.search(tag)
        if href and " download" not in tag:
            parts = urlsplit(urljoin(path, unescape(href[1])))
            if not parts.netloc and parts.path:
                yield f"{parts.path}?{parts.query}" if parts.query else parts.path


def _kind(path: str) -> str | None:
    asked = urlsplit(path)
    try:
        match = resolve(asked.path)
    except Resolver404:
        return None
    # What a page hands out in another form, such as a statement's PDF, is of a kind of its own.
    return "-".join([match.view_name or match.route, *parse_qs(asked.query).get("format", [])])
