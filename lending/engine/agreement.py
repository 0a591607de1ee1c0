"""
Do two books agree: movement by movement, and what no movement explains.

One side is ours, the other a custodian's. A movement counts on a side once it is part of that side's balances.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from lending.engine import money

Deltas = tuple[tuple[str, Decimal], ...]
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Movement:
    """
    What one side says of a movement.

    `deltas` is what it changes in the balances by asset, signed; `since` when it began to count there. `standing` says
    in words what that side makes of it, and `final` that it will make nothing else of it.
    """

    deltas: Deltas
    counts: bool
    standing: str
    since: datetime | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that both sides say differently: of one asset, what it makes of the balance on each side, signed."""

    kind: str
    ref: str
    asset: str
    ours: Decimal
    theirs: Decimal
    words: str

    @property
    def key(self) -> Key:
        """What stays the same while it is found again."""
        return self.kind, self.ref, self.asset


@dataclass(frozen=True, slots=True)
class Compared:
    """
    What a comparison of movements says about the balances, by asset, as theirs less ours.

    `under_way` belongs to movements that are on their way from one book into the other, `in_findings` to those that
    are findings themselves.
    """

    findings: tuple[Finding, ...]
    under_way: Mapping[str, Decimal]
    in_findings: Mapping[str, Decimal]
    movements: int


def compare(
    kind: str,
    ours: Mapping[str, Movement],
    theirs: Mapping[str, Movement],
    *,
    now: datetime,
    patience: timedelta,
    asked_by_us: bool,
    settled: Iterable[Key] = (),
) -> Compared:
    """
    Return how two lists of movements of one kind, by the id that both know them by, differ.

    What counts there and not here is under way for as long as `patience` says, unless we will make nothing of it any
    more, or it is unknown here though it would have had to be asked for by us (`asked_by_us`). What counts here and
    not there is a finding at once. `settled` names findings whose difference was booked: they are none any more.
    """
    done = frozenset(settled)
    findings: list[Finding] = []
    under_way: defaultdict[str, Decimal] = defaultdict(Decimal)
    in_findings: defaultdict[str, Decimal] = defaultdict(Decimal)
    with money.exact():
        for ref in sorted({*ours, *theirs}):
            our, their = ours.get(ref), theirs.get(ref)
            words = _difference(our, their, now=now, patience=patience, asked_by_us=asked_by_us)
            for asset, mine, yours in _amounts(our, their):
                found = Finding(kind, ref, asset, mine, yours, words)
                if not words:
                    under_way[asset] += yours - mine
                elif found.key not in done:
                    findings.append(found)
                    in_findings[asset] += yours - mine
    return Compared(tuple(findings), under_way, in_findings, len({*ours, *theirs}))


def balance(asset: str, ours: Decimal, theirs: Decimal, compared: Iterable[Compared]) -> tuple[Decimal, Finding | None]:
    """
    Return what no movement explains of the difference between two balances, and the finding that makes it.

    The finding holds what the custodian has against what it should have, with all that is explained.
    """
    with money.exact():
        expected = ours
        for part in compared:
            expected += part.under_way.get(asset, money.ZERO) + part.in_findings.get(asset, money.ZERO)
        rest = theirs - expected
    if not rest:
        return rest, None
    way = "more" if rest > 0 else "less"
    words = f"{money.text(abs(rest))} {asset} {way} at the custodian than the ledger has, which no movement explains"
    return rest, Finding("balance", "", asset, expected, theirs, words)


def _difference(
    our: Movement | None, their: Movement | None, *, now: datetime, patience: timedelta, asked_by_us: bool
) -> str:
    """Return in words what is wrong between two sides' words on a movement, "" where nothing is."""
    if our and their and our.deltas != their.deltas:
        return f"our books have {_text(our)}, the custodian {_text(their)}"
    if our and our.counts and not (their and their.counts):
        if our.since and our.since > now:  # booked after the instant that the other side speaks of
            return ""
        return f"{_text(our)} {our.standing} here, and {their.standing if their else 'unknown'} at the custodian"
    if their and their.counts and not (our and our.counts):
        return _only_there(our, their, late=bool(their.since and now - their.since > patience), asked_by_us=asked_by_us)
    return ""


def _only_there(our: Movement | None, their: Movement, *, late: bool, asked_by_us: bool) -> str:
    """Return in words what is wrong with a movement that counts there and not here, "" while it is on its way."""
    if our is None and asked_by_us:
        return f"{_text(their)} {their.standing} at the custodian, which nobody here asked for"
    if late or (our and our.final):
        return f"{_text(their)} {their.standing} at the custodian, and {our.standing if our else 'not booked'} here"
    return ""


def _amounts(our: Movement | None, their: Movement | None) -> list[tuple[str, Decimal, Decimal]]:
    """Return, per asset, what a movement has changed in each balance."""
    sums: defaultdict[str, list[Decimal]] = defaultdict(lambda: [money.ZERO, money.ZERO])
    for side, movement in enumerate((our, their)):
        for asset, delta in movement.deltas if movement else ():
            sums[asset][side] += delta if movement and movement.counts else money.ZERO
    return [(asset, mine, yours) for asset, (mine, yours) in sums.items()]


def _text(movement: Movement) -> str:
    return " against ".join(f"{money.text(abs(delta))} {asset}" for asset, delta in movement.deltas)
