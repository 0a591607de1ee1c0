"""Whose a live loan is: a client that a file names by its number, its name or a signer, and that may borrow here."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from lending import kyc, onboarding, screening
from lending.csv_tables import Cells
from lending.engine import names
from lending.models import Client, ClientUser, Role


class Clients:
    """Every client by what a file may call it; what is wrong about one is said at each row that names it."""

    def __init__(self, *, now: datetime) -> None:
        self._clients = _known_clients()
        begun = {pk: client for found in self._clients.values() for pk, client in found.items() if _is_active(client)}
        self._unready = onboarding.unready(list(begun.values()), now=now)
        self._stopped: dict[int, str] = {}

    def of(self, cell: Cells) -> Client | None:
        """Return the client of a row; None, and a problem noted, where none can have a loan taken over."""
        said = cell["client"]
        found = self._clients.get(_plain(said), {})
        if len(found) > 1:
            cell.wrong("client", f"{said!r} stands for {len(found)} clients: give the number of one")
        elif said and not found:
            ways = "its number, the e-mail of somebody who signs for it, or its name as it is registered"
            cell.wrong("client", f"{said!r} is no client: give {ways}")
        if len(found) != 1:
            return None
        (client,) = found.values()
        if client.pk not in self._stopped:
            self._stopped[client.pk] = _stopped(client, self._unready.get(client.pk, ()))
        if why := self._stopped[client.pk]:
            cell.wrong("client", why)
            return None
        return client


def _is_active(client: Client) -> bool:
    return client.stage == Client.Stage.ACTIVE


def _stopped(client: Client, missing: Sequence[kyc.Gap]) -> str:
    """Return why no loan of a client is taken over, of whom something may be missing; "" when one may be."""
    if not _is_active(client):
        return f"{client} is not onboarded: it is {client.get_stage_display().lower()}"
    if missing:
        return f"{client} is not onboarded; still missing: {', '.join(gap.words for gap in missing)}"
    try:
        screening.check_new_business(client)
    except screening.UnableToDeal as refusal:
        return str(refusal)
    return ""


def _known_clients() -> dict[str, dict[int, Client]]:
    """Return every client by its number, its name, and the e-mails of those who sign for it."""
    found: defaultdict[str, dict[int, Client]] = defaultdict(dict)
    clients = {client.pk: client for client in Client.objects.all()}
    for client in clients.values():
        for said in (str(client.public_id), client.name):
            found[_plain(said)][client.pk] = client
    signers = ClientUser.objects.filter(role=Role.BORROWER_ADMIN)
    for client_id, email in signers.values_list("client_id", "user__email"):
        found[_plain(email)][client_id] = clients[client_id]
    return found


def _plain(said: str) -> str:
    return " ".join(names.latin(said).split())
