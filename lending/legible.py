"""What is sent is looked at before a door opens: what no text can hold is not let in, and unseen signs say nothing."""

import unicodedata
from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

NUL = "\0"
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_FILLERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")  # letters by their class, and yet blank


def only_seems(text: str) -> bool:
    """Return whether a text is more than blanks, and yet has no sign that anybody could see."""
    return bool(text.strip()) and all(unicodedata.category(sign) in _UNSEEN or sign in _FILLERS for sign in text)


class LegibleMiddleware(MiddlewareMixin):
    """
    Refuses a request with NUL in its address or in a field, which PostgreSQL could not keep and no browser sends.

    A field that holds nothing but signs that nobody sees is empty for every door: a reason of them is no reason. Doors
    for programs, which no form leads to, read what they get themselves.
    """

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Raise BadRequest where something can not be text, and empty what only seems to be text."""
        fields = [request.path_info, *_values(request.GET)]
        sent = None if getattr(view, "csrf_exempt", False) else request.POST
        if sent is not None:
            fields += _values(sent)
        if any(NUL in text for text in fields):
            raise BadRequest("a sign that no text has")
        if sent is not None and any(map(only_seems, _values(sent))):
            seen = sent.copy()
            for name, texts in sent.lists():
                seen.setlist(name, ["" if only_seems(text) else text for text in texts])
            request.POST = seen  # type: ignore[assignment]


def _values(query: Any) -> list[str]:
    """Return all names and values of what was sent."""
    return [text for name, texts in query.lists() for text in (name, *texts)]
