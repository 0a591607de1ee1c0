"""The set pieces of the showcase through an hour and a half of the crash: every way a margin call can end happens."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum
from django.test import Client as Browser

from deploy import replay
from deploy.demo import books, desk
from deploy.run import smoke
from lending import ids
from lending.engine.chart import AccountKind
from lending.models import Posting, User
from risk import scenarios
from risk.models import CallState, MarginCall, SaleCause

SEED = 7
START, END = datetime(2021, 5, 19, 12, 30, tzinfo=UTC), datetime(2021, 5, 19, 13, 52, tzinfo=UTC)


@pytest.fixture(scope="module")
def seen(django_db_setup: None, django_db_blocker: Any) -> dict[str, Any]:
    scenario = scenarios.load("may-2021", seed=SEED)
    span = scenario.between(START, END)
    book = books.showcase(desk.first_prices(scenario), seed=SEED, loans=len(books.SET_PIECES))
    with django_db_blocker.unblock(), replay.world(scenario, seed=SEED):
        played = replay.play(scenario, seed=SEED, book=book, span=span)
        calls = defaultdict(list)
        for call in MarginCall.objects.select_related("margin_account").order_by("episode"):
            calls[call.margin_account.public_id].append(call)
        causes = {
            (cause.margin_account.public_id, cause.kind): cause.outcome
            for cause in SaleCause.objects.select_related("margin_account").order_by("declared_at")
        }
        lost = Posting.objects.filter(account__kind=AccountKind.CREDIT_LOSS).aggregate(total=Sum("amount"))["total"]
        kinds = {call.pk: set(call.events.values_list("kind", flat=True)) for call in MarginCall.objects.all()}
        pages = _pages()  # while their database is there
        return {
            "calls": calls, "causes": causes, "kinds": kinds, "lost": lost, "report": replay.report(span, played),
            "pages": pages,
        }  # fmt: skip


def _pages() -> dict[str, list[str]]:
    """Return what the doors show of it: the page of each call by its state, and the desk's P&L before and after."""
    browser = Browser()
    browser.force_login(User.objects.get(email="rhea@plimsoll.example"))
    found = defaultdict(list)
    for call in MarginCall.objects.all():
        found[call.state].append(browser.get(f"/console/calls/{call.public_id}/").content.decode())
    found["queue"].append(browser.get("/console/rows/").content.decode())
    browser.force_login(User.objects.get(email="dana@plimsoll.example"))
    for day in ("2021-05-18", "2021-05-19"):
        found["pnl"].append(browser.get("/admin/pnl/", {"day": day}).content.decode())
    return found


def _accounts(answer: str, *mix: str) -> list[Any]:
    return [
        ids.derived("margin_account", ids.derived("loan", "set piece", SEED, number))
        for number, piece in enumerate(books.SET_PIECES)
        if piece.answer == answer and (not mix or piece.mix == mix)
    ]


def test_some_cure_in_cash(seen):
    for account in _accounts("cash"):
        first = seen["calls"][account][0]
        assert first.state == CallState.CURED
        assert first.cash_cured >= first.cash_cure


def test_some_cure_in_collateral(seen):
    for account in _accounts("collateral"):
        first = seen["calls"][account][0]
        assert (first.state, first.cash_cured) == (CallState.CURED, Decimal(0))
        assert first.cured_fraction >= 1


def test_the_market_clears_some(seen):
    for account in [*_accounts("ignore", "BTC"), *_accounts("acknowledge", "BTC")]:
        assert [call.state for call in seen["calls"][account]] == [CallState.CURED_BY_MARKET]
        assert (account, SaleCause.Kind.EXPIRED_CALL) not in seen["causes"]


def test_some_only_acknowledge_and_are_sold_out_of_when_time_is_over(seen):
    (account,) = _accounts("acknowledge", "BTC", "LINK")
    (call,) = seen["calls"][account]
    assert call.state == CallState.LIQUIDATED
    assert {"acknowledged", "expired", "liquidating"} <= seen["kinds"][call.pk]


def test_some_let_the_deadline_pass(seen):
    for account in _accounts("ignore", "BTC", "LINK"):
        assert seen["causes"][account, SaleCause.Kind.EXPIRED_CALL] == "target_restored"
        assert "acknowledged" not in seen["kinds"][seen["calls"][account][0].pk]


def test_some_pay_too_late(seen):
    (account,) = _accounts("late")
    assert (account, SaleCause.Kind.EXPIRED_CALL) in seen["causes"]


def test_some_pay_too_little(seen):
    account = _accounts("partial", "BTC", "LINK")[0]
    assert 0 < seen["calls"][account][0].cured_fraction < 1


def test_some_are_sold_at_the_liquidation_level(seen):
    account = _accounts("ignore", "LINK")[0]
    assert seen["causes"][account, SaleCause.Kind.LIQUIDATION_LEVEL] == "target_restored"


def test_some_dispute_what_a_call_rests_on(seen):
    (account,) = _accounts("dispute")
    call = seen["calls"][account][0]
    assert {"acknowledged", "disputed"} <= seen["kinds"][call.pk]
    assert account not in {sold for sold, _ in seen["causes"]}


def test_a_visitors_calls_are_left_to_the_visitor(seen):
    calls = [call for account in _accounts("visitor") for call in seen["calls"][account]]
    assert any(call.state == CallState.NOTIFIED for call in calls)
    assert not any("acknowledged" in seen["kinds"][call.pk] or call.cured_fraction for call in calls)


def test_too_much_of_a_thin_market_ends_in_a_shortfall_that_the_profit_and_loss_explains(seen):
    endings = {
        seen["causes"].get((account, SaleCause.Kind.LIQUIDATION_LEVEL)) for account in _accounts("ignore", "LINK")
    }
    assert "shortfall" in endings
    assert seen["lost"] > 0
    report = seen["report"]
    # The lines are in USD; of the two loans one is in USDC, whose mark is not quite 1.
    assert abs(Decimal(report["pnl_lines"]["credit_loss"]) + seen["lost"]) < seen["lost"] / 1000
    assert report["pnl_residual"] == "0.00"
    assert report["invariants"] == "ok"
    assert report["wrongful_sales"] == 0


def test_a_first_start_is_judged_by_what_these_pages_show(seen):
    pages = seen["pages"]
    known = {str(call.public_id) for calls in seen["calls"].values() for call in calls}
    assert set(smoke.calls(pages["queue"][0])) <= known
    assert all(map(smoke.cured, pages[CallState.CURED]))
    assert all(map(smoke.liquidated, pages[CallState.LIQUIDATED]))
    assert not any(map(smoke.cured, pages[CallState.LIQUIDATED] + pages[CallState.CURED_BY_MARKET]))
    assert not any(map(smoke.liquidated, pages[CallState.CURED]))
    assert list(map(smoke.sold, pages["pnl"])) == [False, True]
