"""
Lines of bank statements matched with the books by references, never by their amount alone.

The bank's own reference, ours, or the payment reference of a client: what the custodian has reported live is in the
books already, and its line only confirms it.
"""

import itertools
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from lending import arrivals, bank_lines
from lending.models import Asset, BankLine, Deposit, DepositAddress, Withdrawal

_AT_ONCE = 2_000
_NEAR = timedelta(days=5)  # between a live report and its line
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_-]{5,119}")


def match_due(*, now: datetime) -> int:
    """
    Match open lines with what the books say, book expected receipts that nobody reports live, and return how many.

    A receipt is expected where a line names the payment reference of one client and no other.
    """
    open_lines = list(BankLine.objects.filter(state=BankLine.State.OPEN).order_by("pk").values_list("pk", flat=True))
    return sum(_match(keys, now) for keys in _pages(open_lines))


@transaction.atomic
def _match(keys: list[int], now: datetime) -> int:
    rows = BankLine.objects.select_for_update(of=("self",), skip_locked=True).select_related("account", "asset")
    lines = list(rows.filter(pk__in=keys, state=BankLine.State.OPEN).order_by("booked_date", "pk"))
    named = _addresses_named(lines)
    wanted = {line.pk: _entry_keys(line) for line in lines}
    for pk, key in _our_transfers(lines):
        wanted[pk].append(key)
    for pk, key in _reported(lines, named):
        wanted[pk].append(key)
    untied = bank_lines.cash_entries({key for keys in wanted.values() for key in keys})
    matched = []
    for line in lines:
        moved = ((line.account.custodian, line.asset_id, line.amount, key) for key in wanted[line.pk])
        found = next((untied.pop(move) for move in moved if move in untied), None)
        if found is not None:
            line.state, line.entry_id, line.reason, line.decided_at = BankLine.State.MATCHED, found, "by reference", now
            matched.append(line)
    BankLine.objects.bulk_update(matched, ["state", "entry", "reason", "decided_at"])
    expected = [line for line in lines if line.state == BankLine.State.OPEN and line.pk in named]
    return len(matched) + sum(_book_expected(line, named[line.pk], now) for line in expected)


def _entry_keys(line: BankLine) -> list[str]:
    """Return the keys of entries that a line's references could name: deposits by the bank's, settlements by ours."""
    said = [ref for ref in (line.ref, line.end_to_end) if ref]
    ours = [ref for ref in said if ref.startswith("settlement:")]
    return [f"deposit:{line.account.custodian}:{ref}" for ref in said] + ours


def _our_transfers(lines: Iterable[BankLine]) -> Iterator[tuple[int, str]]:
    """Return the entries of withdrawals, by line: the custodian says its own id of them, and repeats ours."""
    by_ref: defaultdict[str, list[int]] = defaultdict(list)
    for line in lines:
        for ref in (line.ref, line.end_to_end):
            if line.amount < 0 and ref:
                by_ref[ref].append(line.pk)
    ours = [ref for ref in by_ref if _is_uuid(ref)]
    done = Withdrawal.objects.filter(Q(custodian_ref__in=by_ref) | Q(public_id__in=ours), state=Withdrawal.State.DONE)
    for row in done:
        for ref in (row.custodian_ref, str(row.public_id)):
            for pk in by_ref.get(ref, ()):
                yield pk, f"withdrawal:{row.key}"


def _addresses_named(lines: Iterable[BankLine]) -> dict[int, DepositAddress]:
    """Return the payment reference that each receipt names, where it is one and no other."""
    words = {line.pk: _words(line) for line in lines if line.amount > 0}
    every = {word for said in words.values() for word in said}
    rows = DepositAddress.objects.filter(address__in=every, asset__kind=Asset.Kind.FIAT).select_related(
        "margin_account"
    )
    by_name = {(row.address, row.asset_id): row for row in rows}
    found = {}
    for line in lines:
        named = {row.pk: row for word in words.get(line.pk, ()) if (row := by_name.get((word, line.asset_id)))}
        if len(named) == 1:
            found[line.pk] = next(iter(named.values()))
    return found


def _words(line: BankLine) -> set[str]:
    """Return what may be a payment reference: each word, small as we write it, and two that a line break had parted."""
    said = _WORD.findall(f"{line.end_to_end} {line.text}")
    joined = [first + second for first, second in itertools.pairwise(line.text.split())]
    return {form for word in [*said, *joined] if len(word) <= 120 for form in (word, word.lower())}


def _reported(lines: Sequence[BankLine], named: dict[int, DepositAddress]) -> Iterator[tuple[int, str]]:
    """Return the entries of deposits to the payment references that lines name, of the same amount and about then."""
    rows = Deposit.objects.filter(address__in={row.pk for row in named.values()}, state=Deposit.State.CREDITED)
    by_address: defaultdict[int | None, list[Deposit]] = defaultdict(list)
    for row in rows.order_by("seen_at", "pk"):
        by_address[row.address_id].append(row)
    for line in lines:
        address = named.get(line.pk)
        for row in by_address[address.pk] if address else ():
            if row.quantity == line.amount and abs(row.seen_at - line.arrived_at) <= _NEAR:
                yield line.pk, f"deposit:{row.custodian}:{row.custodian_ref}"


def _book_expected(line: BankLine, address: DepositAddress, now: datetime) -> int:
    """Book a receipt that a client's reference announces, unless it will be reported live, and return how many."""
    if line.account.reported_live or line.arrived_at > now or bank_lines.recorded(line):
        return 0
    deposit = bank_lines.book(line, address)
    if not arrivals.credit(deposit.pk, now=now):
        return 0
    bank_lines.match(line, bank_lines.entry_of(deposit), reason="expected: names a payment reference", now=now)
    return 1


def _is_uuid(words: str) -> bool:
    try:
        uuid.UUID(words)
    except ValueError:
        return False
    return True


def _pages(keys: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
