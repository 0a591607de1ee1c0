"""
Clients, and the people behind them, held against the sanctions lists that stand.

A client is screened anew whenever a list, the rule, or what is known of it has changed. A match stays open until a
person decides; a decision holds while both sides say who they said they were.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from lending import audit, events, sanctions
from lending.engine import likeness, names
from lending.engine.listed import AIRCRAFT, VESSEL, digest
from lending.models import (
    Client,
    ClientUser,
    KycCase,
    RelatedParty,
    SanctionsEntry,
    SanctionsName,
    SanctionsVersion,
    Screening,
    ScreeningMatch,
    ScreeningRule,
)

COMPARING = 2  # raised with every change of how names are compared: all clients are screened anew then
AT_ONCE = 500  # clients of one transaction
_ONE_AT_A_TIME = 7_200_003  # advisory, of the database
_State = ScreeningMatch.State


class UnableToDeal(PermissionDenied):
    """A client's business waits for compliance; the message says so in words for the desk."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody to look for: who of the client it is, the name, whether a person, birth and countries where known."""

    key: str
    name: str
    is_person: bool
    born: date | None = None
    countries: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return it in JSON values."""
        born = self.born.isoformat() if self.born else None
        return {
            "who": self.key,
            "name": self.name,
            "person": self.is_person,
            "born": born,
            "countries": [*self.countries],
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a client stands: clear, open, blocked, due (to be screened anew) or never (screened yet)."""

    state: str
    words: str

    @property
    def clear(self) -> bool:
        """Return whether the client was found on no list, as it and the lists are now."""
        return self.state == "clear"

    @property
    def waits(self) -> bool:
        """Return whether a match waits for compliance, or was confirmed by it."""
        return self.state in {"open", "blocked"}


@dataclass(frozen=True, slots=True)
class _Names:
    """All names that are looked at, as one index, with the entry of each."""

    index: likeness.Index
    entries: Sequence[SanctionsEntry]
    weak: Sequence[bool]


_kept: dict[str, _Names] = {}


def standing(client: Client) -> Standing:
    """Return where a client stands, with words for the desk; who is matched with whom is for compliance alone."""
    row = with_last(Client.objects.filter(pk=client.pk)).get()
    known = last_known(row)
    if not known.clear:
        return known
    last = Screening.objects.get(client=client, ended_at=None)
    as_it_is = _against(_rule(), sanctions.current_versions()), digest(_facts(subjects([row])[row.pk]))
    if (last.against, last.facts_digest) != as_it_is:
        return Standing("due", "the lists or the client's facts have changed: it is screened anew within moments")
    return known


def with_last(clients: QuerySet[Client]) -> QuerySet[Client]:
    """Return clients with what their last screening found, for `last_known`: no query more than they take."""
    counting = ScreeningMatch.objects.filter(client=OuterRef("pk"), ended_at=None)
    last = Screening.objects.filter(client=OuterRef("pk"), ended_at=None)
    return clients.annotate(
        stopped=Exists(counting.filter(state=_State.TRUE_MATCH)),
        held=Exists(counting.filter(state=_State.OPEN)),
        screened_at=Subquery(last.values("screened_at")[:1]),
    )


def last_known(row: Any) -> Standing:
    """Return where a client `with_last` stood when it was last screened: never due."""
    if row.stopped:
        return Standing("blocked", "compliance has confirmed a match with a sanctions list: nothing new, nothing out")
    if row.held:
        return Standing("open", "a possible match with a sanctions list waits for compliance to decide")
    if row.screened_at is None:
        return Standing("never", "never screened against a sanctions list")
    return Standing("clear", f"screened {row.screened_at:%d %b %Y %H:%M} UTC: no open match")


# The best score of each client's people against each entry that reaches the threshold, and why.
_Found = dict[tuple[Client, Subject, SanctionsEntry], tuple[int, dict[str, Any]]]


def check_new_business(client: Client) -> None:
    """
    Check that something new may be agreed with a client.

    Raises
    ------
    UnableToDeal
        If a match with a sanctions list is confirmed.
    """
    if _counting(client).filter(state=_State.TRUE_MATCH).exists():
        raise UnableToDeal(
            f"business with {client} is stopped by compliance, which has confirmed a match with a sanctions list; "
            "payments and collateral are still taken in"
        )


def check_money_out(client: Client) -> None:
    """
    Check that money or coins may go out to a client.

    Raises
    ------
    UnableToDeal
        If a match with a sanctions list is confirmed, or one waits for compliance.
    """
    check_new_business(client)
    if _counting(client).filter(state=_State.OPEN).exists():
        raise UnableToDeal(
            f"nothing goes out to {client} while a possible match with a sanctions list waits for compliance"
        )


def held_clients() -> QuerySet[ScreeningMatch, int]:
    """Return the keys of the clients to whom nothing goes out."""
    held = ScreeningMatch.objects.filter(ended_at=None, state__in=(_State.OPEN, _State.TRUE_MATCH))
    return held.values_list("client_id", flat=True)


def subjects(clients: Iterable[Client]) -> dict[int, list[Subject]]:
    """
    Return whom to look for behind each of some clients, in two queries however many there are.

    The client itself, the owners, directors and signers of its case (as the newest one in use knows them), and those
    who sign in for it, unless they are one of these: of them the case knows more.
    """
    found, known = {}, defaultdict(set)
    for client in clients:
        alone = client.kind == Client.Kind.INDIVIDUAL
        found[client.pk] = [Subject("client", client.name, alone, None, (client.jurisdiction,))]
        if alone:
            known[client.pk].add(names.latin(client.name))
    in_use = (KycCase.State.OPEN, KycCase.State.APPROVED)
    people = RelatedParty.objects.filter(client__in=found, case__state__in=in_use).order_by("case__opened_at", "pk")
    for party in {(row.client_id, row.person): row for row in people}.values():
        countries = (party.country,) if party.country else ()
        itself = found[party.client_id][0]
        if itself.is_person and names.latin(party.name) == names.latin(itself.name):
            # A person who signs for themself is one, of whom the case knows more.
            at = tuple(dict.fromkeys((*itself.countries, *countries)))
            found[party.client_id][0] = replace(itself, born=party.birth_date, countries=at)
            continue
        found[party.client_id].append(Subject(f"party {party.person}", party.name, True, party.birth_date, countries))
        known[party.client_id].add(names.latin(party.name))
    for row in ClientUser.objects.filter(client__in=found).select_related("user").order_by("pk"):
        if names.latin(row.user.name) not in known[row.client_id]:
            found[row.client_id].append(Subject(f"user {row.user.public_id}", row.user.name, is_person=True))
    return found


def screen_due(*, now: datetime) -> int:
    """Screen the clients for whom a list, the rule or what is known of them has changed, and return how many."""
    versions = sanctions.current_versions()
    if not versions:
        return 0
    with connection.cursor() as cursor:
        # Two at once would compare the same names; the second leaves them to the first.
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ONE_AT_A_TIME])
        if not cursor.fetchone()[0]:
            return 0
    try:
        return _screen_all(versions, now)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ONE_AT_A_TIME])


def _screen_all(versions: Sequence[SanctionsVersion], now: datetime) -> int:
    rule = _rule()
    against = _against(rule, versions)
    clients = {client.pk: client for client in Client.objects.order_by("pk")}
    wanted = subjects(clients.values())
    last = {
        client: (before, facts)
        for client, before, facts in Screening.objects.filter(ended_at=None).values_list(
            "client_id", "against", "facts_digest"
        )
    }
    due = [key for key, who in wanted.items() if last.get(key) != (against, digest(_facts(who)))]
    for start in range(0, len(due), AT_ONCE):
        some = {clients[key]: wanted[key] for key in due[start : start + AT_ONCE]}
        # Compared before anything is locked: whoever is called or pays meanwhile does not wait for it.
        found = _matches(some, rule, _names(versions))
        _write_down(some, found, rule, versions, against, now)
    return len(due)


@transaction.atomic
def _write_down(
    wanted: Mapping[Client, Sequence[Subject]],
    found: _Found,
    rule: ScreeningRule,
    versions: Sequence[SanctionsVersion],
    against: str,
    now: datetime,
) -> None:
    """
    Write down that some clients were screened, and what was found.

    The facts that were compared are written with it: a client whose name has changed meanwhile is due again.
    """
    # Not so that a row which names the client would have to wait: a call, a payment, a letter.
    held = Client.objects.select_for_update(no_key=True)
    list(held.filter(pk__in=[client.pk for client in wanted]).order_by("pk"))
    Screening.objects.filter(client__in=wanted, ended_at=None).update(ended_at=now)
    said = [f"{version.watchlist.code} {version.number}" for version in versions]
    looks = {
        row.client_id: row
        for row in Screening.objects.bulk_create(
            Screening(
                client=client,
                rule=rule,
                against=against,
                versions=said,
                facts=_facts(who),
                facts_digest=digest(_facts(who)),
                screened_at=now,
            )
            for client, who in wanted.items()
        )
    }
    rows = ScreeningMatch.objects.filter(client__in=wanted, ended_at=None)
    rows = rows.select_related("entry__closed_by__upload")
    standing = {(row.client_id, row.subject, row.entry.watchlist_id, row.entry.ref): row for row in rows}
    for (client, subject, entry), (score, why) in found.items():
        key = (client.pk, subject.key, entry.watchlist_id, entry.ref)
        before, who = standing.pop(key, None), digest(subject.facts())
        if before is not None:
            same = (before.subject_digest, before.entry.identity) == (who, entry.identity)
            if same or before.state == _State.TRUE_MATCH:
                continue  # decided matches stay decided; a confirmed one until two persons clear it
            ScreeningMatch.objects.filter(pk=before.pk).update(ended_at=now)
        row = ScreeningMatch.objects.create(
            client=client,
            screening=looks[client.pk],
            subject=subject.key,
            subject_name=subject.name,
            subject_digest=who,
            entry=entry,
            score=score,
            why=why,
            found_at=now,
        )
        facts = {"match": str(row.public_id), "score": score, "list": entry.watchlist.code}
        audit.write("sanctions_match_found", actor=None, obj=row, after=facts, now=now)
        events.emit("compliance", "match_found", facts, client_id=client.pk, now=now)
    _lapse(standing.values(), now)


def _lapse(rows: Iterable[ScreeningMatch], now: datetime) -> None:
    """
    End open matches whose entry was taken off its list; another cause is for a person to judge.

    So is one that a file took off which looked like the wrong one, and which somebody sent in as meant.
    """
    for row in rows:
        listed = SanctionsEntry.objects.filter(watchlist=row.entry.watchlist_id, ref=row.entry.ref, closed_by=None)
        gone = row.entry.closed_by
        if row.state == _State.OPEN and gone and not gone.upload.confirmed and not listed.exists():
            ScreeningMatch.objects.filter(pk=row.pk, state=_State.OPEN).update(state=_State.LAPSED, ended_at=now)
            audit.write("sanctions_match_lapsed", actor=None, obj=row, reason="taken off the list", now=now)


def _matches(wanted: Mapping[Client, Sequence[Subject]], rule: ScreeningRule, listed: _Names) -> _Found:
    """Return the best score of each client's people against each entry that reaches the threshold, and why."""
    who = [(client, subject, names.of(subject.name)) for client, some in wanted.items() for subject in some]
    found: _Found = {}
    for (client, subject, name), places in zip(who, listed.index.candidates([row[2] for row in who]), strict=True):
        for place in map(int, places):
            entry, weak = listed.entries[place], listed.weak[place]
            like = listed.index.compare(name, place, is_person=subject.is_person)
            score, why = _rated(subject, entry, like, rule, weak=weak)
            why["alias"] = listed.index.names[place].written
            key = (client, subject, entry)
            if score >= rule.threshold and score > found.get(key, (0, {}))[0]:
                found[key] = (score, why)
    return found


def _rated(
    subject: Subject, entry: SanctionsEntry, like: likeness.Likeness, rule: ScreeningRule, *, weak: bool
) -> tuple[int, dict[str, Any]]:
    """Return a score with what made it: the name, then birth and country where both sides say one."""
    counted = {"weak name": -rule.weak_name} if weak else {}
    spans = [(first, last) for _text, first, last in entry.births if first]
    birth = country = "unknown"
    if subject.born and spans:
        agrees = any(first <= subject.born.isoformat() <= last for first, last in spans)
        birth = "agrees" if agrees else "differs"
        counted["birth"] = rule.birth_agrees if agrees else -rule.birth_differs
    if subject.countries and entry.countries:
        agrees = bool(set(subject.countries) & set(entry.countries))
        country = "agrees" if agrees else "differs"
        counted["country"] = rule.country_agrees if agrees else -rule.country_differs
    score = max(0, min(100, round(like.score) + sum(counted.values())))
    return score, {**like.facts(), "weak": weak, "birth": birth, "country": country, "counted": counted}


def _names(versions: Sequence[SanctionsVersion]) -> _Names:
    """Return all names of the lists that stand but those of ships and aircraft, kept until a list changes."""
    # Not by the versions' numbers: a database that was restored, or another one, gives the same number again.
    key = ",".join(str(version.upload.public_id) for version in versions)
    if key not in _kept:
        rows = SanctionsName.objects.filter(
            entry__closed_by=None, entry__watchlist__in=[v.watchlist_id for v in versions]
        )
        rows = rows.exclude(entry__kind__in=(VESSEL, AIRCRAFT)).select_related("entry__watchlist").order_by("pk")
        all_rows = list(rows)
        index = likeness.Index.of([names.of(row.name) for row in all_rows])
        _kept.clear()
        _kept[key] = _Names(index, [row.entry for row in all_rows], [row.weak for row in all_rows])
    return _kept[key]


def _counting(client: Client) -> QuerySet[ScreeningMatch]:
    return ScreeningMatch.objects.filter(client=client, ended_at=None)


def _rule() -> ScreeningRule:
    return ScreeningRule.objects.latest("pk")


def _against(rule: ScreeningRule, versions: Sequence[SanctionsVersion]) -> str:
    return digest([COMPARING, rule.pk, [version.pk for version in versions]])


def _facts(who: Sequence[Subject]) -> list[dict[str, Any]]:
    return [subject.facts() for subject in who]
