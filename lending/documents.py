"""Papers of clients: taken in by their content, kept by their hash, handed out only as what came in."""

import hashlib
import re
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from lending import access, audit
from lending.engine import files
from lending.models import Client, Document, Role, StoredFile, User

KEEPERS = frozenset({Role.RELATIONSHIP_MANAGER, Role.OPERATIONS, Role.COMPLIANCE})
_NAME = 100
_UNSAFE = re.compile(r"[^\w .()-]+")


class UnableToStore(Exception):
    """A file can not be taken in; the message says why."""


class UnableToOpen(Exception):
    """A document can not be handed out; the message says why."""


def store(upload: BinaryIO) -> StoredFile:
    """
    Take a file in as it comes, and return it with its hash and with what its content says it is.

    Raises
    ------
    UnableToStore
        If it is empty, larger than `settings.LENDING_DOCUMENT_MAX_BYTES`, or neither PDF, PNG nor JPEG.
    """
    most = settings.LENDING_DOCUMENT_MAX_BYTES
    content = upload.read(most + 1)
    if not content:
        raise UnableToStore("the file is empty")
    if len(content) > most:
        raise UnableToStore(f"the file is larger than {most // 2**20} MB")
    kind = files.content_type(content)
    if kind is None:
        raise UnableToStore("the file is no PDF, PNG or JPEG: its content decides, not its name")
    digest = hashlib.sha256(content).digest()
    return StoredFile.objects.create(sha256=digest, content=content, content_type=kind, size=len(content))


@transaction.atomic
def add(
    client: Client,
    upload: BinaryIO,
    *,
    kind: str,
    name: str,
    by: User,
    now: datetime,
    person: UUID | None = None,
    expires_date: date | None = None,
) -> Document:
    """
    Take a paper of a client in.

    Raises
    ------
    UnableToStore
        As `store` does; also if it has expired already.
    lending.access.UnableToAccess
        If `by` keeps no documents, or does not see the client.
    """
    access.require_role(by, *KEEPERS)
    access.require_client(by, client)
    if expires_date is not None and expires_date < now.date():
        raise UnableToStore(f"it expired on {expires_date:%d %b %Y}: a paper that is still good is asked for")
    file = store(upload)
    row = Document.objects.create(
        client=client,
        kind=kind,
        person=person,
        file=file,
        name=plain_name(name, file.content_type),
        expires_date=expires_date,
        uploaded_by=by,
        uploaded_at=now,
    )
    facts = {"kind": kind, "name": row.name, "sha256": bytes(file.sha256).hex(), "size": file.size}
    audit.write("document_added", actor=by, obj=row, after=facts, now=now)
    return row


def plain_name(name: str, content_type: str) -> str:
    """Return what a file was called without its folders and odd characters, ending as its content says."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    kept = _UNSAFE.sub("_", stem).strip(" ._")[:_NAME]
    return (kept or "document") + files.SUFFIXES[content_type]


@transaction.atomic
def open_for(document: Document, *, by: User, now: datetime) -> bytes:
    """
    Return the bytes of a document to somebody who may see its client, and write down that they were read.

    Raises
    ------
    lending.access.UnableToAccess
        If they may not see the client.
    UnableToOpen
        If the bytes are not those that came in.
    """
    access.require_client(by, document.client)
    content = bytes(document.file.content)
    if hashlib.sha256(content).digest() != bytes(document.file.sha256):
        raise UnableToOpen("the file is not what was uploaded: tell compliance")
    audit.write("document_read", actor=by, obj=document, after={"name": document.name}, now=now)
    return content


@transaction.atomic
def withdraw(document: Document, *, by: User, now: datetime) -> None:
    """Take a paper out of use; its file stays. UnableToStore when it was withdrawn already."""
    access.require_role(by, *KEEPERS)
    access.require_client(by, document.client)
    used = Document.objects.filter(pk=document.pk, withdrawn_at=None)
    if not used.update(withdrawn_at=now, withdrawn_by=by):
        raise UnableToStore("it was withdrawn already")
    audit.write("document_withdrawn", actor=by, obj=document, before={"name": document.name}, now=now)


def in_use(client: Client) -> QuerySet[Document]:
    """Return the papers of a client that were not withdrawn, the newest first, without their bytes."""
    rows = Document.objects.filter(client=client, withdrawn_at=None).select_related("file", "uploaded_by")
    return rows.defer("file__content").order_by("-uploaded_at", "-pk")
