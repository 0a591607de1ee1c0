"""One marking cycle of a shard group: screen the book in floats, decide every candidate exactly, write crossers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from lending import events, notices
from lending.models import Event, MarginAccount
from risk import book as books
from risk import cures, exposures, incidents, leases, letters, liquidations, margin_calls, prices, restraints, waivers
from risk.book import Book
from risk.engine.kernel import UNKNOWN_RUNG
from risk.engine.ladder import clears_by_market, reopens
from risk.exposures import AccountFacts, Judgement
from risk.incidents import Undone
from risk.margin_calls import Breach
from risk.models import CallState, MarginCall, MarginState, MarginStatus, PriceSnapshot, SaleCause, Waiver
from risk.prices import Marks

# Accounts decided, and locked, in one transaction.
CHUNK = 500
_BREACHED = (MarginState.CALL, MarginState.ACCELERATED, MarginState.LIQUIDATE)
_IN_SALE = (CallState.EXPIRED, CallState.LIQUIDATING)

_WRITE = """
    UPDATE risk_marginstatus s
       SET state = v.state, ltv = v.ltv, episode = v.episode, since = v.since, breach_count = v.breach_count,
           breach_since = v.breach_since, clear_since = v.clear_since, call_closed_at = v.call_closed_at,
           snapshot_id = %(snapshot)s, fence = %(fence)s
      FROM unnest(%(account)s::bigint[], %(state)s::text[], %(ltv)s::numeric[], %(episode)s::int[],
                  %(since)s::timestamptz[], %(breach_count)s::int[], %(breach_since)s::timestamptz[],
                  %(clear_since)s::timestamptz[], %(call_closed_at)s::timestamptz[])
           AS v(account, state, ltv, episode, since, breach_count, breach_since, clear_since, call_closed_at)
     WHERE s.margin_account_id = v.account AND s.fence <= %(fence)s
"""
_FIELDS = ("state", "ltv", "episode", "since", "breach_count", "breach_since", "clear_since", "call_closed_at")


@dataclass(slots=True)
class CycleReport:
    """What one cycle saw and did."""

    group: int
    now: datetime
    accounts: int = 0
    judged: int = 0
    candidates: int = 0
    changed: int = 0
    calls: list[MarginCall] = field(default_factory=list)
    closed: int = 0
    unknown: int = 0
    repeated: bool = False


@dataclass(slots=True)
class _Case:
    """One candidate under its lock: what is known, and what the step decides; `was` is the state that it has left."""

    facts: AccountFacts
    status: MarginStatus
    call: MarginCall | None
    sold: bool
    judged: Judgement
    waiver: Waiver | None = None
    sold_for: Mapping[int | None, datetime] = field(default_factory=dict)
    was: str = ""
    breach: Breach | None = None
    no_call: Undone | None = None
    held_back: bool = False
    closes: bool = False

    @property
    def running(self) -> bool:
        """Return whether a call is open and its collateral not yet in sale."""
        return self.call is not None and self.call.state in margin_calls.RUNNING

    @property
    def in_sale(self) -> bool:
        """Return whether the account's call has expired or is being liquidated."""
        return self.call is not None and self.call.state in _IN_SALE

    @property
    def below_clear(self) -> bool:
        """Return whether the LTV is at or below the level that clears a call."""
        return not self.judged.exposed.exceeds(self.facts.terms.clear_ltv)

    @property
    def watched(self) -> bool:
        """Return whether a clock, or better marks, may move the account though no price does."""
        waits = self.judged.state == MarginState.LIQUIDATE and not self.in_sale
        undecided = self.judged.rung == UNKNOWN_RUNG and self.judged.state != MarginState.UNKNOWN
        return waits or undecided or self.held_back or (self.running and self.below_clear)


# A worker marks the same groups round after round; what it knows of them stays in memory between rounds.
_warm: dict[tuple[str, int], tuple[int, Book]] = {}


def run(group: int, *, now: datetime, fence: int | None = None) -> CycleReport:
    """
    Mark the accounts of a shard group at an instant: states, calls, clears. A repeated instant does nothing.

    Without a fencing token the caller must be the only marker of the group, as replay is.

    Raises
    ------
    risk.leases.UnableToFence
        If another process has taken the group over.
    """
    report = CycleReport(group, now)
    token = leases.begin_round(group, now=now, fence=fence)
    if token is None:
        report.repeated = True
        return report
    marks = prices.publish(now=now)
    key = (str(connection.settings_dict["NAME"]), group)
    try:
        book = _book(key, token, now=now)
        todo = books.candidates(book, marks, now=now)
        report.accounts, report.judged, report.candidates = book.accounts, book.judged, len(todo)
        for start in range(0, len(todo), CHUNK):
            _decide(book, todo[start : start + CHUNK], marks, report, fence=token)
    except BaseException:
        # What memory says may not be what was committed.
        _warm.pop(key, None)
        raise
    return report


def forget() -> None:
    """Drop every warm book of this process; the next round loads from the tables."""
    _warm.clear()


def shards_of(group: int) -> list[int]:
    """Return the shards that a group marks."""
    return list(range(group, MarginAccount.SHARDS, settings.MARK_GROUPS))


def _book(key: tuple[str, int], token: int, *, now: datetime) -> Book:
    known = _warm.get(key)
    if known is not None and known[0] == token:
        book = books.refresh(known[1], now=now)
    else:
        book = books.load(shards_of(key[1]), now=now)
    _warm[key] = (token, book)
    return book


@transaction.atomic
def _decide(book: Book, keys: list[int], marks: Marks, report: CycleReport, *, fence: int) -> None:
    """Decide some candidates under their locks and write what changed."""
    cases = list(_cases(keys, marks, now=report.now))
    changed: list[MarginStatus] = []
    for case in cases:
        before = _values(case.status)
        _step(case, report)
        if _values(case.status) != before:
            case.status.ltv = margin_calls.stored_ltv(case.judged)
            changed.append(case.status)
    _carry_out(cases, now=report.now)
    breaches = [case.breach for case in cases if case.breach is not None]
    if changed or breaches:
        snapshot = prices.snapshot(marks, now=report.now)
        report.calls += margin_calls.issue(breaches, marks, snapshot, now=report.now)
        _write(changed, snapshot, fence=fence)
        report.changed += len(changed)
    books.note(book, {case.facts.account.pk: (case.judged.rung, case.watched) for case in cases})


def _cases(keys: list[int], marks: Marks, *, now: datetime) -> Iterator[_Case]:
    """Yield the candidates, locked, with status, latest call and whether that episode has a cause of sale."""
    facts = exposures.load_locked(keys, now=now)
    statuses = MarginStatus.objects.in_bulk(keys)
    missing = [MarginStatus(margin_account_id=key, since=now) for key in facts if key not in statuses]
    if missing:
        MarginStatus.objects.bulk_create(missing, ignore_conflicts=True)
        statuses |= {status.margin_account_id: status for status in missing}
    latest = MarginCall.objects.filter(margin_account__in=keys).order_by("margin_account", "-episode")
    latest = latest.distinct("margin_account").select_related("margin_account__terms", "client", "notice", "cure_asset")
    calls = {call.margin_account_id: call for call in latest}
    causes = SaleCause.objects.filter(margin_account__in=keys).exclude(outcome=SaleCause.LEVEL_LEFT)
    known = list(causes.values_list("margin_account", "episode", "loan", "declared_at", "closed_at"))
    sold = {(account, episode) for account, episode, _loan, _declared_at, _closed_at in known}
    for_default: dict[int, dict[int | None, datetime]] = {
        account: {loan: since} for account, _episode, loan, since, closed_at in known if loan and closed_at is None
    }
    waived = waivers.active(keys, now=now)
    for key, stands in facts.items():
        call = calls.get(key)
        has_cause = call is not None and (key, call.episode) in sold
        judged = exposures.judge(stands, marks)
        yield _Case(stands, statuses[key], call, has_cause, judged, waived.get(key), for_default.get(key, {}))


def _step(case: _Case, report: CycleReport) -> None:
    """Move one account's status to where it stands, and note what must be done about it."""
    status, judged, now = case.status, case.judged, report.now
    if status.state != judged.state:
        case.was, status.state, status.since = status.state, judged.state, now
    if judged.state == MarginState.UNKNOWN:
        report.unknown += 1
        _reset(status)
        return
    if judged.state in _BREACHED and not case.running and not case.in_sale:
        _breach(case, now=now)
    if judged.state == MarginState.LIQUIDATE and judged.good:
        if status.breach_since is None:
            status.breach_since, status.breach_count = now, 1
        elif not liquidations.held(status, now=now):
            status.breach_count += 1
    else:
        status.breach_since, status.breach_count = None, 0
    if case.running and judged.good and case.below_clear:
        status.clear_since = status.clear_since or now
        if clears_by_market(below_since=status.clear_since, now=now, hold_s=case.facts.terms.clear_hold_s):
            case.closes, status.clear_since, status.call_closed_at = True, None, now
            report.closed += 1
    else:
        status.clear_since = None


def _carry_out(cases: Sequence[_Case], *, now: datetime) -> None:
    """Do what was decided short of new calls, kind by kind: the statements are as many for one account as for all."""
    _tell_of_states([case for case in cases if case.was], now=now)
    incidents.log_many([case.no_call for case in cases if case.no_call is not None], now=now)
    decided = [(case, case.call) for case in cases if case.running and case.call is not None]
    known = [(call, case) for case, call in decided if case.judged.state != MarginState.UNKNOWN]
    margin_calls.set_levels([(call, case.facts, case.judged) for call, case in known], now=now)
    margin_calls.close_by_market([(call, case.facts) for call, case in known if case.closes], now=now)


def _tell_of_states(cases: Sequence[_Case], *, now: datetime) -> None:
    """Tell who must know of the states that some accounts have entered."""
    if not cases:
        return
    unknown = [case for case in cases if case.judged.state == MarginState.UNKNOWN]
    findings = [
        incidents.Finding(
            case.facts.account,
            f"{case.facts.account}: no usable mark can say where it stands",
            {"was": case.was, "quality": case.judged.quality.value},
        )
        for case in unknown
    ]
    incidents.open_for(incidents.UNKNOWN_STATE, findings, now=now)
    Event.objects.bulk_create(
        events.new(
            incidents.CONSOLE,
            "state_changed",
            {"account": str(finding.margin_account.public_id), "summary": finding.summary},
            client_id=finding.margin_account.client_id,
            now=now,
        )
        for finding in findings
    )
    known_again = [case.facts.account for case in cases if case.was == MarginState.UNKNOWN]
    incidents.close_for(incidents.UNKNOWN_STATE, known_again, now=now)
    warned = [case for case in cases if (case.was, case.judged.state) == (MarginState.HEALTHY, MarginState.WARNING)]
    notices.enqueue([letters.warning(case.facts, now=now) for case in warned], now=now)


def _breach(case: _Case, *, now: datetime) -> None:
    """Note the breach of an account without a running call: a reopened episode, or a new one; or why none is called."""
    facts, status, call = case.facts, case.status, case.call
    if call is not None and call.state == CallState.LIQUIDATED and not any(p.quantity for p in facts.position.pledges):
        reason = "nothing is left to sell; what is owed is worked out with the client"
        case.no_call = Undone(facts.account, status.episode, "no_call", reason)
        return
    if reason := _held_back(case, now=now):
        case.held_back = True
        case.no_call = Undone(facts.account, status.episode, "no_call", reason, since=status.since)
        return
    window_s = facts.terms.reopen_window_s
    cleared = call is not None and call.state == CallState.CURED_BY_MARKET and not case.sold
    if call is not None and cleared and reopens(closed_at=call.closed_at, now=now, window_s=window_s):
        case.breach = Breach(facts, case.judged, call.episode, reopens=call)
        return
    status.episode = max(status.episode, call.episode if call is not None else 0) + 1
    case.breach = Breach(facts, case.judged, status.episode)


def _held_back(case: _Case, *, now: datetime) -> str:
    """
    Return why a breach is not called yet: all that is owed is in default and sold for; a waiver, which ends at a higher
    level; or a small sum, which counts at the first.
    """
    state, terms = case.judged.state, case.facts.terms
    if reason := restraints.by_default(case.facts, case.judged, case.sold_for, now=now):
        return reason
    if case.waiver is not None and waivers.covers(case.waiver, state):
        return f"the call is waived until {case.waiver.until:%Y-%m-%d %H:%M} UTC"
    if state == MarginState.CALL and cures.missing_usd(case.facts, case.judged) < terms.minimum_transfer:
        return "what is missing is less than the minimum transfer amount"
    return ""


def _reset(status: MarginStatus) -> None:
    """Stop the clocks that run on GOOD marks only."""
    status.breach_since, status.breach_count, status.clear_since = None, 0, None


def _values(status: MarginStatus) -> tuple[object, ...]:
    return tuple(getattr(status, name) for name in _FIELDS if name != "ltv")


def _write(statuses: list[MarginStatus], snapshot: PriceSnapshot, *, fence: int) -> None:
    """Write changed rows in one statement that a younger fencing token refuses."""
    columns: dict[str, Any] = {name: [getattr(status, name) for status in statuses] for name in _FIELDS}
    columns["state"] = [str(state) for state in columns["state"]]
    parameters: dict[str, Any] = {
        **columns,
        "account": [status.margin_account_id for status in statuses],
        "snapshot": snapshot.pk,
        "fence": fence,
    }
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, parameters)
        if cursor.rowcount != len(statuses):
            raise leases.UnableToFence(f"{len(statuses) - cursor.rowcount} rows carry a token younger than {fence}")
