"""
The hash chains over the ledger and the audit trail, and the hash of what the ledger says.

Writers never wait for a chain: one sealer appends links for rows of transactions that are surely over, which are
those below the xmin of its snapshot.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from lending.engine.drafts import hash_content

GENESIS = bytes(32)
_SEALER_LOCK = 7_200_001  # advisory, for speed: two sealers would collide on the primary key of a seal


@dataclass(frozen=True, slots=True)
class BrokenSeal:
    """Something that does not verify: in which chain, at which link (0: none), about what, and why."""

    chain: str
    seq: int
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain over the rows of one append-only table; `facts` is the text array of what a link vouches for."""

    name: str
    seals: str
    subject_id: str
    rows: str
    facts: str

    def sql(self, template: str) -> str:
        for field in ("seals", "subject_id", "rows", "facts"):
            template = template.replace(f"<{field}>", getattr(self, field))
        return template


_INSTANT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')"""

LEDGER = Chain(
    name="ledger",
    seals="lending_seal",
    subject_id="entry_id",
    rows="lending_entry",
    facts="ARRAY[r.idempotency_key, encode(r.content_hash, 'hex'), r.actor_id::text, r.reverses_id::text, "
    + _INSTANT.format("r.recorded_at")
    + "]",
)
AUDIT = Chain(
    name="audit",
    seals="lending_auditseal",
    subject_id="record_id",
    rows="lending_auditrecord",
    facts="ARRAY[r.id::text, r.action, r.actor_id::text, r.object_kind, r.object_id, r.client_id::text, "
    "r.before::text, r.after::text, r.reason, r.request_id, r.address::text, " + _INSTANT.format("r.happened_at") + "]",
)

_UNSEALED = """
SELECT r.id, <facts> FROM <rows> r
WHERE r.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND (r.txid, r.id) > (%s, %s)
ORDER BY r.txid, r.id LIMIT %s
"""

_LAST = """
SELECT s.seq, s.hash, r.txid, r.id FROM <seals> s JOIN <rows> r ON r.id = s.<subject_id> ORDER BY s.seq DESC LIMIT 1
"""

_ADD = """
INSERT INTO <seals> (seq, <subject_id>, previous_hash, hash, sealed_at)
SELECT seq, subject, previous, hash, %s FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[])
    AS link (seq, subject, previous, hash)
"""

_LINKS = """
SELECT s.seq, s.previous_hash, s.hash, s.<subject_id>, CASE WHEN r.id IS NOT NULL THEN <facts> END
FROM <seals> s LEFT JOIN <rows> r ON r.id = s.<subject_id> ORDER BY s.seq
"""

_SKIPPED = """
SELECT r.id FROM <rows> r
WHERE (r.txid, r.id) <= (%s, %s) AND NOT EXISTS (SELECT FROM <seals> s WHERE s.<subject_id> = r.id) ORDER BY r.id
"""

# What an entry says, from its rows: by database ids as it was hashed when posted, or by natural names only.
_CONTENTS = """
SELECT e.id, e.idempotency_key, e.kind, e.effective_at, e.content_hash, array_agg(
    concat_ws('|', regexp_replace(a.key, '#[0-9]+$', ''), p.amount::text, p.category,
              coalesce(p.client_id::text, ''), coalesce(p.loan_id::text, ''), p.book_id, p.cause))
    FILTER (WHERE p.id IS NOT NULL)
FROM lending_entry e
LEFT JOIN lending_posting p ON p.entry_id = e.id
LEFT JOIN lending_ledgeraccount a ON a.id = p.account_id
GROUP BY e.id ORDER BY e.id
"""

_NATURAL_CONTENTS = """
SELECT e.id, e.idempotency_key, e.kind, e.effective_at, e.content_hash, array_agg(
    concat_ws('|', a.kind, s.code, coalesce(ac.public_id::text, ''), coalesce(am.public_id::text, ''),
              coalesce(al.public_id::text, ''), coalesce(ab.code, ''), a.party, p.amount::text, p.category,
              coalesce(c.public_id::text, ''), coalesce(l.public_id::text, ''), b.code, p.cause))
FROM lending_entry e
JOIN lending_posting p ON p.entry_id = e.id
JOIN lending_ledgeraccount a ON a.id = p.account_id
JOIN lending_asset s ON s.id = p.asset_id
JOIN lending_book b ON b.id = p.book_id
LEFT JOIN lending_client c ON c.id = p.client_id
LEFT JOIN lending_loan l ON l.id = p.loan_id
LEFT JOIN lending_client ac ON ac.id = a.client_id
LEFT JOIN lending_marginaccount am ON am.id = a.margin_account_id
LEFT JOIN lending_loan al ON al.id = a.loan_id
LEFT JOIN lending_book ab ON ab.id = a.book_id
GROUP BY e.id ORDER BY e.idempotency_key COLLATE "C"
"""


def seal(*, now: dt.datetime, limit: int = 5000) -> int:
    """Append links to both chains for rows whose transactions are over, and return how many."""
    return sum(_seal(chain, now=now, limit=limit) for chain in (LEDGER, AUDIT))


def verify_seals() -> list[BrokenSeal]:
    """Return every edit, deletion, insertion or swap that the chains show; none means they verify."""
    return [*_broken_links(LEDGER), *_broken_links(AUDIT), *_broken_contents()]


def oldest_unsealed() -> dt.datetime | None:
    """Return when the oldest entry was recorded that no seal vouches for yet; its age is watched."""
    with connection.cursor() as cursor:
        cursor.execute(LEDGER.sql(_LAST))
        _, _, txid, pk = cursor.fetchone() or (0, GENESIS, 0, 0)
        cursor.execute(
            "SELECT recorded_at FROM lending_entry WHERE (txid, id) > (%s, %s) ORDER BY txid, id LIMIT 1", [txid, pk]
        )
        row = cursor.fetchone()
    return row[0] if row else None


def ledger_hash() -> str:
    """
    Return the SHA-256 over all entries, sorted by their keys, without a single database id.

    Two ledgers that say the same have the same hash; one changed posting changes it. It is not the chain's root,
    which also depends on the order of commits.
    """
    digest = hashlib.sha256()
    for _, key, kind, effective_at, _, lines in _stream(_NATURAL_CONTENTS):
        digest.update(hash_content(key, kind, effective_at, sorted(lines)))
    return digest.hexdigest()


def _seal(chain: Chain, *, now: dt.datetime, limit: int) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SEALER_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(chain.sql(_LAST))
        seq, previous, txid, pk = cursor.fetchone() or (0, GENESIS, 0, 0)
        cursor.execute(chain.sql(_UNSEALED), [txid, pk, limit])
        links: list[tuple[int, int, bytes, bytes]] = []
        for subject, facts in cursor.fetchall():
            seq += 1
            link = _link(seq, bytes(previous), facts)
            links.append((seq, subject, bytes(previous), link))
            previous = link
        if links:
            cursor.execute(chain.sql(_ADD), [now, *(list(column) for column in zip(*links, strict=True))])
    return len(links)


def _link(seq: int, previous: bytes, facts: Sequence[str | None]) -> bytes:
    # Lengths, so that no text can pass for two.
    parts = (b"-" if fact is None else b"%d:%s" % (len(fact.encode()), fact.encode()) for fact in facts)
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + b"".join(parts)).digest()


def _broken_links(chain: Chain) -> Iterator[BrokenSeal]:
    expected, previous, subject = 1, GENESIS, None
    for seq, claimed, link, subject, facts in _stream(chain.sql(_LINKS)):
        if seq != expected:
            yield BrokenSeal(chain.name, seq, str(subject), f"a link is missing: {expected} was to come")
        if bytes(claimed) != previous:
            yield BrokenSeal(chain.name, seq, str(subject), "the link does not continue the one before it")
        if facts is None:
            yield BrokenSeal(chain.name, seq, str(subject), "the sealed row is gone")
        elif bytes(link) != _link(seq, bytes(claimed), facts):
            yield BrokenSeal(chain.name, seq, str(subject), "the sealed row, or its link, was changed")
        expected, previous = seq + 1, bytes(link)
    with connection.cursor() as cursor:
        cursor.execute(chain.sql(_LAST))
        last = cursor.fetchone()
        if last:
            cursor.execute(chain.sql(_SKIPPED), list(last[2:]))
            for (pk,) in cursor.fetchall():
                yield BrokenSeal(chain.name, 0, str(pk), "a row slipped in behind the chain")


def _broken_contents() -> Iterator[BrokenSeal]:
    for _, key, kind, effective_at, content_hash, lines in _stream(_CONTENTS):
        if hash_content(key, kind, effective_at, sorted(lines or ())) != bytes(content_hash):
            yield BrokenSeal("ledger", 0, key, "the postings do not say what was hashed when they were posted")


def _stream(sql: str) -> Iterator[tuple[Any, ...]]:
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(sql)
        while rows := cursor.fetchmany(2000):
            yield from rows
