"""A marking cycle asks the database as often for a crowd as for a few, and does to each account what it does to one."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

import pytest
from django.db import transaction

from lending import notices
from lending.models import Event, Notice, NoticeDelivery
from risk import cycle, margin_calls
from risk.models import CallEvent, CollateralCure, DecisionLog, Incident, MarginCall, MarginStatus
from tests.cast import Cast
from tests.factories import crowd
from tests.factories.risk import Desk
from tests.queries import counted

pytestmark = pytest.mark.django_db
FEW, SOME, MANY = 1, 20, 60
MOST = 50  # statements of a round: 8 of the feed and this small desk, some 27 of one that changes nothing
CLOCKS = {"cure_period_s": 1200, "accelerated_cure_period_s": 600, "clear_hold_s": 120}


@dataclass(frozen=True)
class Round:
    """One round at a price, and what it must do to every account: nothing, or one thing."""

    price: str
    does: str = ""
    seconds: int = 15
    silent: bool = False


# Every account owes 20,000 to 20,049 USD on 0.85 BTC, so each price moves all of them over the same levels.
THE_LADDER = [
    Round("40000"),
    Round("35500", "warned"),
    Round("33000", "issued"),
    Round("31000", "accelerated"),
    Round("33000", "restored"),
    Round("38000"),
    Round("38000", seconds=60),
    Round("38000", "cured", seconds=60),
    Round("33000", "reopened"),
    Round("33000", "unknown", seconds=75, silent=True),
    Round("33000", "known"),
]
BELOW_THE_MINIMUM = [
    Round("40000"),
    Round("33000", "no_call"),
    Round("33000"),
    Round("33000", "no_call", seconds=60),
]


@pytest.fixture
def gathered(desk: Desk, cast: Cast):
    """Gather a crowd of so many accounts of two clients, of whom one has two users."""

    def gather(count: int, **terms: object) -> None:
        clients = [cast.harbourside, cast.quayside]
        crowd.indebted(clients, cast.robin, count=count, spread=50, now=desk.now, **CLOCKS, **terms)

    return gather


@pytest.fixture
def played(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Play rounds with a crowd of so many accounts: the statements of each, every one of which did what it must."""

    def play(rounds: list[Round], count: int) -> list[int]:
        cycle.forget()
        taken = []
        for step in rounds:
            desk.silent = {"BTC"} if step.silent else set()
            before = done()
            with counted(monkeypatch) as statements:
                desk.round(seconds=step.seconds, BTC=step.price)
            assert done() - before == Counter({step.does: count} if step.does else {}), step
            taken.append(statements.count)
            notices.send_due(now=desk.now)
            margin_calls.assess_due(now=desk.now)
        return taken

    return play


def done() -> Counter[str]:
    """Return how often each thing that a round may do has been done."""
    found = Counter(CallEvent.objects.exclude(kind="notified").values_list("kind", flat=True))
    found["warned"] = Notice.objects.filter(kind="margin_warning").count()
    found["unknown"] = Incident.objects.filter(kind="unknown_state").count()
    found["known"] = Incident.objects.filter(kind="unknown_state", closed_at__isnull=False).count()
    found["no_call"] = sum(DecisionLog.objects.values_list("count", flat=True))
    return found


@pytest.mark.parametrize(
    ("rounds", "terms"), [(THE_LADDER, {}), (BELOW_THE_MINIMUM, {"minimum_transfer": Decimal(1_000_000)})]
)
def test_a_round_takes_as_many_statements_for_a_crowd_as_for_a_few(gathered, played, desk, rounds, terms) -> None:
    begun, taken = desk.now, []
    for count in (FEW, MANY):
        with transaction.atomic():
            desk.now = begun
            gathered(count, **terms)
            taken.append(played(rounds, count))
            transaction.set_rollback(True)
    assert taken[0] == taken[1]
    assert max(taken[0]) <= MOST


def test_each_account_is_left_as_when_it_was_decided_alone(gathered, played, desk, monkeypatch) -> None:
    gathered(SOME)
    begun, left = desk.now, []
    for chunk in (1, 7, 500):
        monkeypatch.setattr(cycle, "CHUNK", chunk)
        with transaction.atomic():
            desk.now, desk.beat = begun, Decimal(0)
            played(THE_LADDER, SOME)
            left.append(everything())
            transaction.set_rollback(True)
    assert left[0] == left[1] == left[2]


def everything() -> dict[str, list[tuple[object, ...]]]:
    """Return what rounds leave behind, with no keys but those of accounts and clients; of a call in its order."""
    call = [field.name for field in MarginCall._meta.concrete_fields if field.name not in ("id", "snapshot", "notice")]
    rows = {
        "calls": MarginCall.objects.values_list(*call, "notice__key", "snapshot__as_of").order_by("public_id"),
        "cures": CollateralCure.objects.values_list("call__public_id", "asset", "quantity", "price").order_by("call"),
        "steps": CallEvent.objects.values_list("call__public_id", "kind", "facts", "happened_at", "client"),
        "notices": Notice.objects.values_list(
            "key", "public_id", "client", "margin_account", "kind", "subject", "body"
        ),
        "sent": NoticeDelivery.objects.values_list("notice__key", "channel", "address", "delivered_at"),
        "events": Event.objects.values_list("payload", "stream", "kind", "client", "happened_at"),
        "incidents": Incident.objects.values_list("key", "summary", "facts", "client", "opened_at", "closed_at"),
        "statuses": MarginStatus.objects.values_list(
            "margin_account", "state", "ltv", "episode", "since", "breach_since", "clear_since", "call_closed_at"
        ),
    }
    # A call's own rows stay in the order in which they were written: sorting is stable.
    found = {name: sorted(query.order_by("pk"), key=lambda row: str(row[0])) for name, query in rows.items()}
    for row in found["steps"]:
        row[2].pop("snapshot", None)
    return found


def test_every_call_of_a_crowd_has_all_that_a_call_has(gathered, played, desk, cast: Cast) -> None:
    gathered(MANY)
    played(THE_LADDER[:2], MANY)
    report = desk.round(BTC="33000")
    assert [call.margin_account_id for call in report.calls] == sorted(call.margin_account_id for call in report.calls)
    calls = list(MarginCall.objects.select_related("notice", "snapshot", "cure_asset", "client").order_by("pk"))
    assert calls == report.calls
    assert len(calls) == MANY
    assert Event.objects.filter(kind="call_issued").count() == 2 * MANY
    users = {cast.harbourside.pk: {cast.alice.email, cast.bob.email}, cast.quayside.pk: {cast.charlie.email}}
    for call in calls:
        cure, step = call.collateral_cures.get(), call.events.get()
        assert (step.kind, step.happened_at) == ("issued", desk.now)
        assert Decimal(step.facts.pop("ltv")).quantize(call.ltv) == call.ltv
        assert Decimal(step.facts.pop("cash_cure")) == call.cash_cure
        assert step.facts == {
            "level": "call",
            "state": "call",
            "quality": "good",
            "bounded": False,
            "snapshot": str(call.snapshot.public_id),
            "cure_asset": "USD",
            "collateral_cures": {"BTC": f"{cure.quantity:.8f}"},
            "cure_period_s": 1200,
        }
        assert call.notice.key == f"call:{call.public_id}:1"
        assert f"pay {call.cash_cure.normalize():,f} USD" in call.notice.body
        assert f"add {cure.quantity.normalize():,f} BTC" in call.notice.body
        told = set(call.notice.deliveries.values_list("channel", "address"))
        assert told == {("portal", "portal"), *(("email", address) for address in users[call.client_id])}
        announced = Event.objects.filter(payload__call=str(call.public_id)).order_by("pk")
        streams = [event.stream for event in announced]
        assert streams == ["console", f"client:{call.client.public_id.hex}"]
