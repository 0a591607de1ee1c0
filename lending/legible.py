"""What is sent is looked at before a door opens: what no text can hold is not let in, and unseen signs say nothing."""

import unicodedata
from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, QueryDict
from django.utils.deprecation import MiddlewareMixin

_NUL = "\0"
_NO_TEXT = "a sign that no text has"
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
        request.GET = _seen(request.GET)  # type: ignore[assignment]
        if _NUL in request.path_info:
            raise BadRequest(_NO_TEXT)
        if not getattr(view, "csrf_exempt", False):
            request.POST = _seen(request.POST)  # type: ignore[assignment]


def _seen(sent: QueryDict) -> QueryDict:
    """Return fields without what only seems to be text; BadRequest for what can not be."""
    texts = [text for name, said in sent.lists() for text in (name, *said)]
    if any(_NUL in text for text in texts):
        raise BadRequest(_NO_TEXT)
    if not any(map(only_seems, texts)):
        return sent
    seen = sent.copy()
    for name, said in sent.lists():
        seen.setlist(name, ["" if only_seems(text) else text for text in said])
    return seen
