"""An invented sanctions list for the demo desk: one name is like a client's, so that something is to be decided."""

from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from deploy.demo import reference
from lending import sanctions, screening
from lending.models import SanctionsList

CODE = "invented"
_FILES = Path(__file__).parent / "sanctions"


def load(*, now: datetime) -> None:
    """Bring the invented list in as compliance does, and screen all clients against it."""
    watchlist, _ = SanctionsList.objects.get_or_create(
        code=CODE, defaults={"name": "Invented list of the demo", "publisher": SanctionsList.Publisher.OFAC}
    )
    with ExitStack() as opened:
        files = [opened.enter_context((_FILES / name).open("rb")) for name in ("sdn.csv", "alt.csv", "add.csv")]
        upload = sanctions.receive(
            watchlist, files, published_on=now.date(), confirmed=False, by=reference.staff("cora"), now=now
        )
    sanctions.take_in(upload.pk, now=now)
    screening.screen_due(now=now)
