"""Who may pass the borrower's door."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from lending import access
from lending.models import User


class SignedIn(HttpRequest):
    """A request of somebody who has signed in, as every view behind a door gets it."""

    user: User


View = Callable[..., HttpResponse]


def borrower_only(view: View) -> View:
    """Wrap a view so that only people of a client reach it; whose objects they see is the view's own business."""

    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        access.require_role(request.user, *access.BORROWER_ROLES)
        return view(request, *args, **kwargs)

    return wrapped
