"""Who may pass the borrower's door."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from lending import access, clock
from lending.models import Client, ClientUser, Role, User


class SignedIn(HttpRequest):
    """
    A request of somebody who acts for a client, as every view behind this door gets it.

    The door has read for whom they act and what the platform's clock shows, so that no page asks for it again.
    """

    user: User
    acts_for: list[ClientUser]
    roles: frozenset[Role]
    reading: clock.Reading


View = Callable[..., HttpResponse]


def borrower_only(view: View) -> View:
    """Wrap a view so that only people of a client reach it; whose objects they see is the view's own business."""

    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        passed = cast("SignedIn", request)
        passed.acts_for = access.acts_for(passed.user)
        if not passed.acts_for:
            raise access.UnableToAccess(f"{passed.user} acts for no client")
        own = frozenset(Role(row.role) for row in passed.acts_for)
        passed.roles = own | access.roles_of(passed.user) if passed.user.is_staff else own
        passed.reading = clock.reading()
        return view(passed, *args, **kwargs)

    return wrapped


def clients_of(request: SignedIn) -> list[Client]:
    """Return the clients that the reader acts for, by name."""
    return [row.client for row in request.acts_for]


def signs_for(request: SignedIn, client: Client) -> bool:
    """Return whether the reader may act for a client, and not only look; a verb checks it again by itself."""
    return any(row.client_id == client.pk and row.role == Role.BORROWER_ADMIN for row in request.acts_for)
