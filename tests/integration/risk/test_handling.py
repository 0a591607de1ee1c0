"""Who of the desk works on a call or an incident: one person at a time, and every step stays on the trail."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, connections, transaction

from lending.access import UnableToAccess
from lending.models import AuditRecord, Event
from risk import handling, incidents, margin_calls
from risk.models import CallState, Incident, IncidentEvent, MarginCall
from tests import stories
from tests.cast import NOW, Cast, assemble


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    return stories.called(cast)


def trail(action: str) -> list[tuple[str, dict[str, str]]]:
    return [(str(row.actor), row.after) for row in AuditRecord.objects.filter(action=action).order_by("pk")]


def test_a_call_is_claimed_once(call: MarginCall, cast: Cast) -> None:
    taken = handling.claim(call, user=cast.rhea, now=NOW)
    assert (taken.claimed_by, taken.claimed_at) == (cast.rhea, NOW)
    handling.claim(call, user=cast.rhea, now=NOW)
    with pytest.raises(handling.UnableToClaim, match="Rhea has taken this call"):
        handling.claim(call, user=cast.rolf, now=NOW)
    assert trail("call.claimed") == [("Rhea", {})]
    assert call.events.filter(kind="claimed").count() == 1


def test_two_at_once_one_wins_in_words(real_db: str) -> None:
    cast = assemble()
    call = stories.called(cast)
    answers = at_once(*(lambda who=who: handling.claim(call, user=who, now=NOW) for who in (cast.rhea, cast.rolf)))
    won = [answer for answer in answers if isinstance(answer, MarginCall)]
    lost = [str(answer) for answer in answers if isinstance(answer, handling.UnableToClaim)]
    assert len(won) == len(lost) == 1
    assert lost == [f"{won[0].claimed_by} has taken this call; take it over if they can not go on"]
    assert MarginCall.objects.get(pk=call.pk).claimed_by == won[0].claimed_by


def test_taking_over_says_from_whom(call: MarginCall, cast: Cast) -> None:
    handling.claim(call, user=cast.rhea, now=NOW)
    taken = handling.take_over(call, user=cast.rolf, held_by=str(cast.rhea.public_id), now=NOW)
    assert taken.claimed_by == cast.rolf
    assert trail("call.taken_over") == [("Rolf", {"from": "Rhea"})]
    said = Event.objects.get(stream="console", kind="call_taken_over")
    assert said.payload["summary"] == "Rolf takes over from Rhea"


def test_nobody_is_robbed_by_an_old_page(call: MarginCall, cast: Cast) -> None:
    with pytest.raises(handling.UnableToClaim, match="nobody holds"):
        handling.take_over(call, user=cast.rolf, held_by=str(cast.rhea.public_id), now=NOW)
    handling.claim(call, user=cast.rhea, now=NOW)
    with pytest.raises(handling.UnableToClaim, match="Rhea has taken this call since"):
        handling.take_over(call, user=cast.rolf, held_by=str(cast.rolf.public_id), now=NOW)


def test_a_call_goes_back_into_the_queue(call: MarginCall, cast: Cast) -> None:
    handling.claim(call, user=cast.rhea, now=NOW)
    with pytest.raises(handling.UnableToClaim, match="you do not hold"):
        handling.hand_back(call, user=cast.rolf, now=NOW)
    free = handling.hand_back(call, user=cast.rhea, now=NOW)
    assert (free.claimed_by, free.claimed_at) == (None, None)
    assert handling.claim(call, user=cast.rolf, now=NOW).claimed_by == cast.rolf


def test_a_closed_call_is_not_claimed(call: MarginCall, cast: Cast) -> None:
    with transaction.atomic():
        margin_calls.close(margin_calls.locked(call.pk), CallState.CURED, "paid", now=NOW)
    with pytest.raises(handling.UnableToClaim, match="the call is closed: cured"):
        handling.claim(call, user=cast.rhea, now=NOW)


def test_notes_are_the_desks_own(call: MarginCall, cast: Cast) -> None:
    handling.note(call, "  Treasurer is on a plane until 15:00.  ", user=cast.rhea, now=NOW)
    kept = call.events.get(kind="noted")
    assert (kept.actor, kept.facts) == (cast.rhea, {"note": "Treasurer is on a plane until 15:00."})
    assert trail("call.noted") == [("Rhea", {"note": "Treasurer is on a plane until 15:00."})]
    heard = set(Event.objects.filter(kind="call_noted").values_list("stream", flat=True))
    assert heard == {"console"}


@pytest.mark.parametrize(("text", "words"), [("  ", "nothing written"), ("x" * 1001, "1001 characters")])
def test_a_note_says_something_of_bounded_length(call: MarginCall, cast: Cast, text: str, words: str) -> None:
    with pytest.raises(handling.UnableToNote, match=words):
        handling.note(call, text, user=cast.rhea, now=NOW)


def test_what_the_client_said_on_the_phone(call: MarginCall, cast: Cast) -> None:
    due = call.cure_due_at
    done = handling.acknowledge(call, user=cast.rhea, spoke_with="Jane Doe", now=NOW)
    assert (done.state, done.acknowledged_by, done.cure_due_at) == (CallState.ACKNOWLEDGED, cast.rhea, due)
    assert call.events.get(kind="spoken").facts == {"spoke_with": "Jane Doe"}
    with pytest.raises(handling.UnableToNote):
        handling.acknowledge(call, user=cast.rhea, spoke_with="", now=NOW)


@pytest.mark.parametrize("who", ["alice", "robin", "dana", "olga"])
def test_only_risk_handles_calls(call: MarginCall, cast: Cast, who: str) -> None:
    user = getattr(cast, who)
    for verb in (
        lambda: handling.claim(call, user=user, now=NOW),
        lambda: handling.take_over(call, user=user, held_by="", now=NOW),
        lambda: handling.note(call, "mine", user=user, now=NOW),
        lambda: handling.acknowledge(call, user=user, spoke_with="me", now=NOW),
    ):
        with pytest.raises(UnableToAccess):
            verb()
    assert not AuditRecord.objects.filter(action__startswith="call.").exists()


def an_incident(kind: str = "impossible_fill", *, now: datetime = NOW) -> Incident:
    return incidents.open_once(kind, "LINK was not delivered", now=now)


def test_an_incident_is_looked_into_by_one_noted_and_resolved(cast: Cast) -> None:
    row = an_incident()
    incidents.acknowledge(row, user=cast.rhea, now=NOW)
    with pytest.raises(incidents.UnableToHandle, match="Rhea looks into it already"):
        incidents.acknowledge(row, user=cast.rolf, now=NOW)
    incidents.note(row, "Dealer sends it again.", user=cast.rolf, now=NOW)
    closed = incidents.resolve(row, "Arrived at 12:04.", user=cast.rhea, now=NOW)
    assert (closed.closed_at, closed.resolved_by) == (NOW, cast.rhea)
    steps = list(row.events.order_by("pk").values_list("kind", "actor__name", "note"))
    assert steps == [
        ("acknowledged", "Rhea", ""),
        ("noted", "Rolf", "Dealer sends it again."),
        ("resolved", "Rhea", "Arrived at 12:04."),
    ]
    assert trail("incident.resolved") == [("Rhea", {"note": "Arrived at 12:04."})]
    with pytest.raises(incidents.UnableToHandle, match="closed already"):
        incidents.resolve(row, "again", user=cast.rhea, now=NOW)
    assert an_incident(now=NOW + timedelta(seconds=15)).pk != row.pk


@pytest.mark.parametrize("kind", ["sale_refused", "settlement_failed", "unbooked_fill", "reset_overdue"])
def test_what_still_stands_is_not_resolved_by_hand(cast: Cast, kind: str) -> None:
    row = an_incident(kind)
    with pytest.raises(incidents.UnableToHandle, match="closes by itself"):
        incidents.resolve(row, "seen", user=cast.rhea, now=NOW)
    with pytest.raises(incidents.UnableToHandle, match="say what"):
        incidents.resolve(row, " ", user=cast.rhea, now=NOW)


def test_what_people_did_is_evidence(cast: Cast) -> None:
    incidents.note(an_incident(), "one", user=cast.rhea, now=NOW)
    for change in (lambda rows: rows.update(note="two"), lambda rows: rows.delete()):
        with pytest.raises(DatabaseError), transaction.atomic():
            change(IncidentEvent.objects.all())


def at_once(*verbs: Callable[[], object]) -> list[object]:
    """Run verbs at the same time, each on a connection of its own, and return results or what they raised."""
    barrier, answers = threading.Barrier(len(verbs)), []

    def run(verb: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            answers.append(verb())
        except handling.UnableToClaim as refusal:
            answers.append(refusal)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers
