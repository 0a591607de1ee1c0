"""
Sanctions lists: sent in by compliance, read by a worker, taken whole or not at all.

Each version keeps its files, and each entry says from which version to which it stood, so that the list of any day can
be read again. Nothing is ever screened against half a list.
"""

import hashlib
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Any, Protocol

from django.core.cache import cache
from django.db import DataError, transaction

from lending import access, audit, events, list_files
from lending.engine.listed import Listed, digest
from lending.list_files import Reading, Source, UnableToRead
from lending.list_files.bounds import LARGEST
from lending.models import (
    Role,
    SanctionsEntry,
    SanctionsFile,
    SanctionsList,
    SanctionsName,
    SanctionsUpload,
    SanctionsVersion,
    User,
)

logger = logging.getLogger(__name__)

IMPORTERS = frozenset({Role.COMPLIANCE})
MOST_REMOVED = 5  # one entry in so many may go without a second look: more looks like a file that was cut off
_SMALL = 20  # entries; a shorter list is looked at by eye
_CHUNK = 1024 * 1024
_ROWS = 2000
_TOLD_S = 120  # how long progress is kept in the cache
_State = SanctionsUpload.State


class UnableToImport(Exception):
    """A list can not be taken; the message says why, `problems` name lines."""

    def __init__(self, words: str, problems: Sequence[str] = ()) -> None:
        super().__init__(words)
        self.problems = list(problems)


class Sent(Protocol):
    """A file as a form or a command hands it over."""

    @property
    def name(self) -> Any: ...

    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Change:
    """How a new version differs from what stands, by the publisher's numbers."""

    added: Sequence[Listed]
    changed: Sequence[Listed]
    removed: Sequence[SanctionsEntry]


@transaction.atomic
def receive(
    watchlist: SanctionsList,
    files: Sequence[Sent],
    *,
    published_on: date | None,
    confirmed: bool,
    by: User,
    now: datetime,
) -> SanctionsUpload:
    """
    Keep files that are sent in as the next version of a list, for a worker to take in.

    `confirmed` says that it may be older, or much shorter, than what it follows.

    Raises
    ------
    UnableToImport
        If there is no file, one is too large, they are in no known form or in another publisher's, the day of
        publication is missing, or they are what stands already.
    lending.access.UnableToAccess
        If the user is not of compliance.
    """
    access.require_role(by, *IMPORTERS)
    if not files:
        raise UnableToImport("choose the files of the list")
    whole = hashlib.sha256()
    kept: list[SanctionsFile] = []
    heads: list[bytes] = []
    for file in sorted(files, key=lambda file: str(file.name)):
        row, head = _kept(file, whole)
        kept.append(row)
        heads.append(head)
    try:
        form = list_files.form_of([row.name for row in kept], heads[0])
    except UnableToRead as error:
        raise UnableToImport(str(error)) from error
    if not form.startswith(watchlist.publisher):
        raise UnableToImport(
            f"these files are {list_files.FORMS[form]}, and {watchlist} comes from {watchlist.publisher.upper()}"
        )
    if form == list_files.OFAC_CSV and published_on is None:
        raise UnableToImport("say on which day the list was published: these files do not")
    standing = current(watchlist)
    if standing is not None and standing.sha256 == whole.hexdigest():
        raise UnableToImport(f"these files are version {standing.number}, which stands already")
    upload = SanctionsUpload.objects.create(
        watchlist=watchlist,
        form=form,
        published_on=published_on,
        confirmed=confirmed,
        sha256=whole.hexdigest(),
        uploaded_by=by,
        uploaded_at=now,
    )
    for row in kept:
        row.upload = upload
    SanctionsFile.objects.bulk_create(kept)
    facts = {"list": watchlist.code, "sha256": upload.sha256, "files": [row.name for row in kept]}
    audit.write("sanctions_list_sent", actor=by, obj=upload, after=facts, now=now)
    return upload


def take_in_due(*, now: datetime) -> int:
    """Take in the lists that wait, the oldest first, and return how many were taken or refused."""
    keys = (
        SanctionsUpload.objects.filter(state=_State.WAITING).order_by("uploaded_at", "pk").values_list("pk", flat=True)
    )
    return sum(take_in(pk, now=now) is not None for pk in list(keys))


def take_in(upload_id: int, *, now: datetime) -> SanctionsUpload | None:
    """
    Take in one list that waits: all of it becomes the current version, or none and the upload says why.

    Returns None where another worker has it in hand, or it was ended before.
    """
    with transaction.atomic():
        rows = SanctionsUpload.objects.select_for_update(of=("self",), skip_locked=True)
        upload = rows.select_related("watchlist", "uploaded_by").filter(pk=upload_id, state=_State.WAITING).first()
        if upload is None:
            return None
        try:
            with transaction.atomic():
                _become_version(upload, now)
        except UnableToImport as refusal:
            upload.state, upload.refusal, upload.problems = _State.REFUSED, str(refusal)[:400], refusal.problems
        except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, DataError) as failure:
            # What no check foresaw ends this upload, and not the taking in of every list behind it.
            logger.exception("%s could not be read", upload)
            words = f"a part of it could not be read ({type(failure).__name__}): send it to who keeps this platform"
            upload.state, upload.refusal = _State.REFUSED, words
        else:
            upload.state = _State.TAKEN
        upload.ended_at = now
        upload.save(update_fields=["state", "refusal", "problems", "ended_at"])
        if upload.state == _State.REFUSED:
            facts = {"refusal": upload.refusal, "lines": len(upload.problems)}
            audit.write("sanctions_list_refused", actor=upload.uploaded_by, obj=upload, after=facts, now=now)
    return upload


def progress(upload: SanctionsUpload) -> float:
    """Return how much of an upload has been read, from 0 to 1, as far as the worker has told."""
    told = cache.get(_key(upload), 0)
    size = sum(row.size for row in upload.files.defer("content"))
    return min(1.0, told / size) if size else 0.0


def current(watchlist: SanctionsList) -> SanctionsVersion | None:
    """Return the version of a list that stands."""
    return watchlist.versions.order_by("-number").first()


def current_versions() -> list[SanctionsVersion]:
    """Return the version that stands of each list that has one, by the lists' codes."""
    newest = SanctionsVersion.objects.order_by("watchlist__code", "-number").distinct("watchlist__code")
    return list(newest.select_related("watchlist", "upload"))


def _kept(file: Sent, whole: Any) -> tuple[SanctionsFile, bytes]:
    """Return a file as it is kept, and how it begins; `whole` takes the hash of all."""
    name = str(file.name).rpartition("/")[2][-120:] or "file"
    packed, size, head = zlib.compressobj(), 0, b""
    parts = []
    while part := file.read(_CHUNK):
        size += len(part)
        if size > LARGEST:
            raise UnableToImport(f"{name} is larger than {LARGEST // 1024 // 1024} MB")
        head = head or part[:4096]
        whole.update(part)
        parts.append(packed.compress(part))
    if not size:
        raise UnableToImport(f"{name} is empty")
    return SanctionsFile(name=name, size=size, content=b"".join((*parts, packed.flush()))), head


class _Unpacked:
    """A kept file, unpacked as it is read."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._by = packed, zlib.decompressobj()

    def read(self, size: int = _CHUNK) -> bytes:
        part = self._by.decompress(self._packed, size)
        self._packed = self._by.unconsumed_tail
        return part


def _become_version(upload: SanctionsUpload, now: datetime) -> None:
    reading = _read(upload)
    watchlist = SanctionsList.objects.select_for_update().get(pk=upload.watchlist_id)
    before = current(watchlist)
    published_on = reading.published_on or upload.published_on
    if published_on is None:
        raise UnableToImport("the files do not say on which day the list was published")
    change = _compare(watchlist, reading.entries)
    _check(upload, before, published_on, change, len(reading.entries))
    version = SanctionsVersion.objects.create(
        watchlist=watchlist,
        number=before.number + 1 if before else 1,
        upload=upload,
        published_on=published_on,
        sha256=upload.sha256,
        imported_by=upload.uploaded_by,
        imported_at=now,
        entries=len(reading.entries),
        names=sum(len(listed.names) for listed in reading.entries.values()),
        added=len(change.added),
        removed=len(change.removed),
        changed=len(change.changed),
    )
    _write(version, change)
    counts = {"added": version.added, "removed": version.removed, "changed": version.changed}
    facts = {"list": watchlist.code, "version": version.number, "published_on": published_on.isoformat(), **counts}
    audit.write("sanctions_list_imported", actor=upload.uploaded_by, obj=upload, after=facts, now=now)
    events.emit("compliance", "list_imported", facts, now=now)
    logger.info("%s: %s", version, counts)


def _read(upload: SanctionsUpload) -> Reading:
    """Return what an upload holds, and tell on the way how far it was read."""
    taken = 0

    def heard(size: int) -> None:
        nonlocal taken
        before, taken = taken, taken + size
        if taken // _CHUNK > before // _CHUNK:
            cache.set(_key(upload), taken, _TOLD_S)

    files = upload.files.order_by("pk")
    sources = [Source(row.name, _stream(bytes(row.content))) for row in files]
    try:
        reading = list_files.read(upload.form, sources, heard)
    except UnableToRead as error:
        raise UnableToImport(str(error)) from error
    if count := reading.problem_count:
        words = f"{count} line{'s' if count > 1 else ''} can not be taken, so nothing of the list is"
        raise UnableToImport(words, [str(problem) for problem in reading.problems])
    return reading


def _stream(packed: bytes) -> IO[bytes]:
    stream: Any = _Unpacked(packed)
    return stream


def _compare(watchlist: SanctionsList, entries: Mapping[str, Listed]) -> Change:
    standing = {row.ref: row for row in SanctionsEntry.objects.filter(watchlist=watchlist, closed_by=None)}
    return Change(
        added=[listed for ref, listed in entries.items() if ref not in standing],
        changed=[
            listed
            for ref, listed in entries.items()
            if ref in standing and standing[ref].digest != digest(listed.content())
        ],
        removed=[row for ref, row in standing.items() if ref not in entries],
    )


def _check(
    upload: SanctionsUpload, before: SanctionsVersion | None, published_on: date, change: Change, size: int
) -> None:
    """Refuse what looks like the wrong file, unless whoever sent it in said that it is meant."""
    if before is None or upload.confirmed:
        return
    if published_on < before.published_on:
        raise UnableToImport(
            f"it was published on {published_on}, before what stands, of {before.published_on}: send it in as meant if "
            "it is to stand"
        )
    if before.entries > _SMALL and len(change.removed) * MOST_REMOVED > before.entries:
        raise UnableToImport(
            f"it would take {len(change.removed):,} of {before.entries:,} entries off the list and leave {size:,}: if "
            "the file is whole, send it in as meant"
        )


def _write(version: SanctionsVersion, change: Change) -> None:
    """Close what is gone or said otherwise now, and write down what is new."""
    gone = [row.pk for row in change.removed]
    reworded = [listed.ref for listed in change.changed]
    standing = SanctionsEntry.objects.filter(watchlist=version.watchlist, closed_by=None)
    for part in _parts(gone):
        standing.filter(pk__in=part).update(closed_by=version)
    for refs in _parts(reworded):
        standing.filter(ref__in=refs).update(closed_by=version)
    for some in _parts([*change.added, *change.changed]):
        rows = SanctionsEntry.objects.bulk_create(_entry(version, listed) for listed in some)
        SanctionsName.objects.bulk_create(
            SanctionsName(entry=row, name=alias.name, kind=alias.kind, weak=alias.weak)
            for row, listed in zip(rows, some, strict=True)
            for alias in listed.names
        )


def _entry(version: SanctionsVersion, listed: Listed) -> SanctionsEntry:
    return SanctionsEntry(
        watchlist_id=version.watchlist_id,
        ref=listed.ref,
        kind=listed.kind,
        name=listed.names[0].name,
        births=[
            [born.text, *(day.isoformat() if day else None for day in (born.first, born.last))]
            for born in listed.births
        ],
        countries=list(listed.countries),
        programs=list(listed.programs),
        remarks=listed.remarks,
        digest=digest(listed.content()),
        identity=digest(listed.identity()),
        opened_by=version,
    )


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def _key(upload: SanctionsUpload) -> str:
    return f"sanctions-upload:{upload.pk}"
