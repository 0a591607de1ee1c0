"""The door at which a custodian knocks: signed webhooks in, nothing out but whether they were understood."""

import logging

from celery import current_app
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from kombu.exceptions import OperationalError

from lending import clock, webhooks
from lending.engine.signatures import UnableToVerify

logger = logging.getLogger(__name__)

_LOOK = {"deposit": "lending.tasks.poll_deposits", "withdrawal": "lending.tasks.send_withdrawals"}


@csrf_exempt  # who signs a message needs no cookie
@never_cache
@require_POST
def hook(request: HttpRequest) -> HttpResponse:
    """
    Take a webhook down and ask for a look at what it is about; answer 204 for the first of an id and for every repeat.

    401 says that it is not signed as it must be, 400 that nothing can be made of it. The look is a hint: beat asks for
    the same every second.
    """
    if not webhooks.keys():
        raise Http404
    try:
        heard = webhooks.hear(request.headers, request.body, now=clock.now(), wall_now=clock.wall_now())
    except UnableToVerify as refusal:
        logger.warning("a webhook was refused: %s", refusal)
        return JsonResponse({"error": str(refusal)}, status=401)
    except webhooks.UnableToHear as refusal:
        logger.error("a webhook was not understood: %s", refusal)
        return JsonResponse({"error": str(refusal)}, status=400)
    if heard.first:
        _hint(_LOOK.get(heard.kind.partition(".")[0], ""))
    if heard.first and heard.kind == webhooks.REORGED:
        _hint("lending.tasks.reconcile_custody")  # it may be credited already
    return HttpResponse(status=204)


def _hint(task: str) -> None:
    """Ask a worker for a look; whoever knocks does not wait for a broker that is away."""
    if not task:
        return
    try:
        current_app.send_task(task, expires=5, retry=False)
    except OperationalError as error:
        logger.warning("no hint for %s: %s", task, error)
