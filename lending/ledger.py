"""
The only writer of the ledger.

A posted entry never changes. Its idempotency key is natural: posting the same content under it again returns the
first entry, other content raises. What holds whoever writes (sums, signs, append-only) is kept by the database; see
migration 0002.
"""

import datetime as dt
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models import Max

from lending import ids
from lending.balances import balance, balances, owed
from lending.engine import entries
from lending.engine.chart import CLIENT_KINDS, AccountKind, Category
from lending.engine.drafts import AccountKey, Draft, Heading, Line
from lending.models import Entry, Period, PeriodState, Posting, User
from lending.seals import ledger_hash, oldest_unsealed, seal, verify_seals

__all__ = [
    "UnableToPost",
    "balance",
    "balances",
    "ledger_hash",
    "oldest_unsealed",
    "owed",
    "post",
    "post_many",
    "reversal_key",
    "reverse",
    "seal",
    "verify_seals",
]

BATCH = 10_000  # entries per statement
_CAUSE, _KEY_LENGTH = 80, 200  # letters
_ENTRY_FIELDS = [field.attname for field in Entry._meta.concrete_fields]


class UnableToPost(RuntimeError):
    """
    Raised when an entry is refused: other content under its key, an unknown asset, a balance past its sign.

    When the database refused it, the transaction is lost; let the exception leave its block.
    """


# One round trip whether one entry is posted or a thousand. Nothing is written while an account is missing. The look-up
# of an account is pinned to its index by OFFSET 0: the planner would rather join all accounts than believe an array.
# One entry is given as values, whose number a prepared plan knows; many come as arrays, planned by their length.
_LINE = "(%s::text, %s::numeric, %s::text, %s::bigint, %s::bigint, %s::bigint, %s::text)"

_POST_ONE = """
WITH line AS MATERIALIZED (
    SELECT given.*, account.id AS account_id, account.asset_id
    FROM (VALUES <lines>) AS given (account, amount, category, client_id, loan_id, book_id, cause)
    CROSS JOIN LATERAL (
        SELECT id, asset_id FROM lending_ledgeraccount WHERE key = given.account OFFSET 0
    ) account
), entry AS (
    INSERT INTO lending_entry
        (idempotency_key, kind, effective_at, content_hash, recorded_at, reverses_id, actor_id, txid)
    SELECT %s::text, %s::text, %s::timestamptz, %s::bytea, %s::timestamptz, %s::bigint, %s::bigint, 0
    WHERE (SELECT count(*) FROM line) = %s
    ON CONFLICT (idempotency_key) DO NOTHING
    RETURNING id, idempotency_key, txid
), posted AS (
    INSERT INTO lending_posting
        (entry_id, account_id, asset_id, amount, category, client_id, loan_id, book_id, cause)
    SELECT entry.id, line.account_id, line.asset_id, line.amount, line.category,
           line.client_id, line.loan_id, line.book_id, line.cause
    FROM entry CROSS JOIN line
)
SELECT (SELECT count(*) FROM line), array_agg(idempotency_key), array_agg(id), max(txid) FROM entry
"""

_POST_MANY = """
WITH head AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bytea[])
        WITH ORDINALITY AS head (key, kind, effective_at, content_hash, n)
), line AS MATERIALIZED (
    SELECT given.*, account.id AS account_id, account.asset_id
    FROM unnest(%s::bigint[], %s::text[], %s::numeric[], %s::text[],
                %s::bigint[], %s::bigint[], %s::bigint[], %s::text[])
        AS given (n, account, amount, category, client_id, loan_id, book_id, cause)
    CROSS JOIN LATERAL (
        SELECT id, asset_id FROM lending_ledgeraccount WHERE key = given.account OFFSET 0
    ) account
), entry AS (
    INSERT INTO lending_entry
        (idempotency_key, kind, effective_at, content_hash, recorded_at, reverses_id, actor_id, txid)
    SELECT key, kind, effective_at, content_hash, %s::timestamptz, %s::bigint, %s::bigint, 0 FROM head
    WHERE (SELECT count(*) FROM line) = %s
    ORDER BY key
    ON CONFLICT (idempotency_key) DO NOTHING
    RETURNING id, idempotency_key, txid
), posted AS (
    INSERT INTO lending_posting
        (entry_id, account_id, asset_id, amount, category, client_id, loan_id, book_id, cause)
    SELECT entry.id, line.account_id, line.asset_id, line.amount, line.category,
           line.client_id, line.loan_id, line.book_id, line.cause
    FROM entry JOIN head ON head.key = entry.idempotency_key JOIN line ON line.n = head.n
    ORDER BY entry.id
)
SELECT (SELECT count(*) FROM line), array_agg(idempotency_key), array_agg(id), max(txid) FROM entry
"""

_OPEN_ACCOUNTS = """
INSERT INTO lending_ledgeraccount
    (key, kind, asset_id, client_id, margin_account_id, loan_id, book_id, party, stripe, opened_at)
SELECT given.key, given.kind, asset.id, client_id, margin_account_id, loan_id, book_id, party, stripe, %s
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],
            %s::smallint[])
    AS given (key, kind, asset, client_id, margin_account_id, loan_id, book_id, party, stripe)
JOIN lending_asset asset ON asset.code = given.asset
ORDER BY given.key
ON CONFLICT (key) DO NOTHING
"""


def post(draft: Draft, *, now: dt.datetime, actor: User | None = None) -> Entry:
    """
    Post a draft and return its entry, or the entry that the same draft left before.

    Raises
    ------
    UnableToPost
        If the key is taken by other content, an asset is unknown, or a balance would pass its sign.
    """
    return _post([draft], now=now, actor=actor)[0]


def post_many(drafts: Iterable[Draft], *, now: dt.datetime, actor: User | None = None) -> list[Entry]:
    """Post drafts set by set and return their entries in the same order; raises as `post` does."""
    given = list(drafts)
    posted: list[Entry] = []
    for start in range(0, len(given), BATCH):
        posted += _post(given[start : start + BATCH], now=now, actor=actor)
    return posted


def reverse(
    entry: Entry,
    *,
    key: str,
    now: dt.datetime,
    cause: str,
    actor: User | None = None,
    effective_at: dt.datetime | None = None,
) -> Entry:
    """Post the mirror image of an entry, effective now unless an instant is named; an entry is reversed once."""
    postings = list(Posting.objects.filter(entry=entry).select_related("account__asset").order_by("id"))
    first = postings[0]
    # A posting on the house's account shows the heading's dimensions; one on a client's account shows its owner's.
    of_house = next((posting for posting in postings if posting.account.client_id is None), first)
    heading = Heading(
        key=key,
        effective_at=effective_at or now,
        book_id=first.book_id,
        cause=cause,
        client_id=of_house.client_id,
        loan_id=of_house.loan_id,
    )
    lines = [Line(_key_of(posting), posting.amount, Category(posting.category)) for posting in postings]
    return _post([entries.reversal(heading, lines)], now=now, actor=actor, reverses=entry)[0]


def reversal_key(entry: Entry) -> str:
    """Return the natural key of the entry that reverses another."""
    natural = f"reversal:{entry.idempotency_key}"
    return natural if len(natural) <= _KEY_LENGTH else f"reversal:{ids.derived(entry.idempotency_key)}"


def _key_of(posting: Posting) -> AccountKey:
    account = posting.account
    return AccountKey(
        kind=AccountKind(account.kind),
        asset=account.asset.code,
        client_id=account.client_id,
        margin_account_id=account.margin_account_id,
        loan_id=account.loan_id,
        book_id=account.book_id,
        party=account.party,
    )


def _post(
    drafts: Sequence[Draft], *, now: dt.datetime, actor: User | None, reverses: Entry | None = None
) -> list[Entry]:
    given = _unique(drafts)
    unique = _into_open_period(given, now)
    hashes = {key: draft.content_hash() for key, draft in unique.items()}
    shared = {"recorded_at": now, "reverses_id": reverses and reverses.pk, "actor_id": actor and actor.pk}
    posted = _insert(unique, hashes, shared)
    if posted is None:
        _open_accounts(unique, now=now)
        posted = _insert(unique, hashes, shared)
    if posted is None:
        unknown = sorted({line.account.asset for draft in unique.values() for line in draft.lines})
        raise UnableToPost(f"an asset is unknown among {', '.join(unknown)}")
    missing = [key for key in unique if key not in posted]
    for before in Entry.objects.filter(idempotency_key__in=missing) if missing else ():
        if not _says(before, given[before.idempotency_key]):
            raise UnableToPost(f"{before.idempotency_key} is already posted with other content")
        posted[before.idempotency_key] = before
    return [posted[draft.idempotency_key] for draft in drafts]


def _unique(drafts: Iterable[Draft]) -> dict[str, Draft]:
    unique: dict[str, Draft] = {}
    for draft in drafts:
        first = unique.setdefault(draft.idempotency_key, draft)
        if first is not draft and first.content_hash() != draft.content_hash():
            raise UnableToPost(f"{draft.idempotency_key} stands twice in one batch with different content")
    return unique


def _into_open_period(unique: dict[str, Draft], now: dt.datetime) -> dict[str, Draft]:
    """
    Return drafts with those that are dated into a locked month moved to the first instant of the open one.

    What was closed stays as it was reported; the correction counts from now on, and says from when it would have. The
    month that runs can not be locked, so that nothing is looked up for what is dated into it.
    """
    month = now.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if all(draft.heading.effective_at >= month for draft in unique.values()):
        return unique
    opened_at = Period.objects.filter(state=PeriodState.LOCKED).aggregate(at=Max("end_at"))["at"]
    if opened_at is None:
        return unique
    return {
        key: _moved(draft, opened_at) if draft.heading.effective_at < opened_at else draft
        for key, draft in unique.items()
    }


def _moved(draft: Draft, at: dt.datetime) -> Draft:
    heading = draft.heading
    dated = f"dated {heading.effective_at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    cause = f"{heading.cause[: _CAUSE - len(dated) - 2]}; {dated}" if heading.cause else dated
    return replace(draft, heading=replace(heading, effective_at=at, cause=cause))


def _says(before: Entry, draft: Draft) -> bool:
    """Return whether an entry is this draft, as it was given or as it was moved into the month that was open then."""
    content = bytes(before.content_hash)
    return content in {draft.content_hash(), _moved(draft, before.effective_at).content_hash()}


def _insert(unique: dict[str, Draft], hashes: dict[str, bytes], shared: dict[str, Any]) -> dict[str, Entry] | None:
    """Return the entries that were new by their key, or None when an account is missing and nothing was written."""
    drafts = list(unique.values())
    if len(drafts) == 1:
        found, keys, ids, txid = _insert_one(drafts[0], hashes, shared)
    else:
        found, keys, ids, txid = _insert_many(drafts, hashes, shared)
    if found != sum(len(draft.lines) for draft in drafts):
        return None
    return {
        key: _entry(pk, unique[key], hashes[key], txid, shared) for key, pk in zip(keys or (), ids or (), strict=True)
    }


def _insert_one(draft: Draft, hashes: dict[str, bytes], shared: dict[str, Any]) -> tuple[Any, ...]:
    sql = _POST_ONE.replace("<lines>", ", ".join([_LINE] * len(draft.lines)))
    head = [draft.idempotency_key, draft.kind, draft.heading.effective_at, hashes[draft.idempotency_key]]
    parameters = [value for row in _rows(draft) for value in row] + head + [*shared.values(), len(draft.lines)]
    return _execute(sql, parameters, prepare=True)


def _insert_many(drafts: list[Draft], hashes: dict[str, bytes], shared: dict[str, Any]) -> tuple[Any, ...]:
    rows = [(n, *row) for n, draft in enumerate(drafts, start=1) for row in _rows(draft)]
    parameters = [
        [draft.idempotency_key for draft in drafts],
        [draft.kind for draft in drafts],
        [draft.heading.effective_at for draft in drafts],
        [hashes[draft.idempotency_key] for draft in drafts],
        *(list(column) for column in zip(*rows, strict=True)),
        *shared.values(),
        len(rows),
    ]
    # Never prepared: a prepared plan does not know how long its arrays are.
    return _execute(_POST_MANY, parameters, prepare=False)


def _entry(pk: int, draft: Draft, content_hash: bytes, txid: int, shared: dict[str, Any]) -> Entry:
    stored = {
        "id": pk,
        "idempotency_key": draft.idempotency_key,
        "kind": draft.kind,
        "effective_at": draft.heading.effective_at,
        "content_hash": content_hash,
        "txid": txid,
        **shared,
    }
    return Entry.from_db(connection.alias, _ENTRY_FIELDS, [stored[name] for name in _ENTRY_FIELDS])


def _rows(draft: Draft) -> Iterable[tuple[str, Decimal, str, int | None, int | None, int, str]]:
    heading = draft.heading
    for line in draft.lines:
        account = line.account
        yield (
            _stored_key(account, draft),
            line.amount,
            line.category.value,
            account.client_id or heading.client_id,
            account.loan_id or heading.loan_id,
            heading.book_id,
            heading.cause,
        )


def _stored_key(account: AccountKey, draft: Draft) -> str:
    if account.kind in CLIENT_KINDS:
        return account.text()
    return f"{account.text()}#{_stripe(draft)}"


def _stripe(draft: Draft) -> int:
    """Return which row of a house account an entry uses, so that settlers seldom wait for each other."""
    return zlib.crc32(draft.idempotency_key.encode()) % int(settings.LENDING_HOUSE_STRIPES)


def _open_accounts(unique: dict[str, Draft], *, now: dt.datetime) -> None:
    """Create the accounts that are missing; whoever comes second finds them there."""
    wanted: dict[str, tuple[object, ...]] = {}
    for draft in unique.values():
        for line in draft.lines:
            account = line.account
            key = _stored_key(account, draft)
            wanted[key] = (
                key,
                account.kind.value,
                account.asset,
                account.client_id,
                account.margin_account_id,
                account.loan_id,
                account.book_id,
                account.party,
                0 if account.kind in CLIENT_KINDS else _stripe(draft),
            )
    _execute(_OPEN_ACCOUNTS, [now, *(list(column) for column in zip(*wanted.values(), strict=True))])


def _execute(sql: str, parameters: list[Any], *, prepare: bool = False) -> tuple[Any, ...]:
    """Run one statement with parameters bound by the server, which Django's own cursor would write into the text."""
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    try:
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            cursor.execute(sql, parameters, prepare=prepare)
            return cursor.fetchone() or () if cursor.description else ()
    except IntegrityError as refused:
        raise UnableToPost(str(refused)) from refused
