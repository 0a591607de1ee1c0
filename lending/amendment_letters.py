"""What the client and their relationship manager are told about an amendment, each once per step."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.mail import EmailMessage

from lending import notices, outbox, term_sheets
from lending.engine import figures
from lending.models import Amendment
from lending.notices import Letter


def offer(row: Amendment, *, now: datetime) -> None:
    """Tell the client that other terms wait to be signed, and which."""
    lines = [f"{label}: {before} becomes {after}." for label, before, after in changes(row)]
    lines += [f"{from_when(row)} Why: {row.reason}"]
    lines += [f"It can be signed until {figures.instant(row.expires_at)}. Sign in to read it and to decide."]
    _to_client(row, "A change of your loan waits for you", lines, now=now)


def agreed(row: Amendment, *, now: datetime) -> None:
    """Tell the client who signed, and from when it counts."""
    lines = [f"{label}: {before} becomes {after}." for label, before, after in changes(row)]
    _to_client(row, "Your loan was changed", [*lines, f"{row.signer} signed it. {from_when(row)}"], now=now)


def over(row: Amendment, subject: str, *, now: datetime) -> None:
    """Tell the client that what waited for them is over."""
    _to_client(row, subject, ["Nothing about the loan changes: it runs on as before."], now=now)


def to_desk(row: Amendment, what: str, *, now: datetime) -> None:
    """Have the client's relationship manager told about a step that somebody else took."""
    payload = {"amendment": str(row.public_id), "what": what}
    outbox.put("amendment.told", payload, key=f"amendment:{row.public_id}:{row.state}", now=now)


def send(payload: Mapping[str, Any], *, now: datetime) -> None:
    """Send the relationship manager the letter about a step of an amendment; called by the outbox."""
    named = ("client__relationship_manager", "sheet", "loan__asset")
    row = Amendment.objects.select_related(*named).get(public_id=payload["amendment"])
    EmailMessage(
        subject=f"{row.client}: version {row.sheet.version} of the term sheet",
        body=f"{row.client}, loan {row.loan}: {payload['what']}.\n",
        to=[row.client.relationship_manager.email],
    ).send()


def changes(row: Amendment) -> list[term_sheets.Change]:
    """Return what an amendment changes, term by term, as a person reads it."""
    return term_sheets.changes(term_sheets.of(row.sheet))


def from_when(row: Amendment) -> str:
    """Return in words from when an amendment counts."""
    if row.from_at is not None:
        return f"It counts from {figures.instant(row.from_at)} on."
    reset = "spread" in term_sheets.of(row.sheet).amends["before"]["loan"]
    later = " The new spread counts from the next reset of the rate on." if reset else ""
    if row.agreed_at is not None:
        return f"It counts since {figures.instant(row.agreed_at)}.{later}"
    return f"It counts from the moment it is signed.{later}"


def _to_client(row: Amendment, subject: str, lines: list[str], *, now: datetime) -> None:
    about = f"Your loan {str(row.loan.public_id)[:8]}, version {row.sheet.version} of its term sheet."
    letter = Letter(
        client=row.client,
        kind="amendment",
        subject=subject,
        body="\n".join([about, *lines, f"SHA-256 of what it says: {row.sheet.fingerprint}"]),
        key=f"amendment:{row.public_id}:{row.state}",
        margin_account=row.loan.margin_account,
    )
    notices.enqueue([letter], now=now)
