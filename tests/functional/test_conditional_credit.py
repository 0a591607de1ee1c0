"""A transfer counts for a call before it is final, by a policy of two persons, and falls away when it is gone."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser

from deploy.demo import outside
from lending import approvals
from lending.models import Approval, Asset, AssetNetwork, ClientUser, Deposit, Loan, Notice
from risk import conditional_credits, confirming, credit_policies, invariants, letters
from risk.models import CallEvent, CallState, ConditionalCredit, CreditPolicy, SaleCause
from tests.cast import NOW, Cast
from tests.factories.lending import AssetNetworkFactory, LadderTermsFactory
from tests.factories.risk import Desk, wrongful
from tests.functional.test_a_cure_in_its_final_confirmation import hear, reads, send

D = Decimal
CAP = "100000"


@pytest.fixture
def desk(db: None) -> Iterator[Desk]:
    """A desk whose custodian counts a bitcoin transfer with its third block, one each ten minutes."""
    with outside.in_process():
        desk = Desk()
        desk.heard = False
        AssetNetworkFactory(asset__code="BTC")
        AssetNetwork.objects.update(confirmations=3)
        yield desk


def policy(
    desk: Desk, *, share: str = "0.9", cap: str = CAP, wait_s: int = 3600, first: int = 1, why: str = "blocks are slow"
) -> CreditPolicy:
    asked = credit_policies.ask(
        asset=Asset.objects.get(code="BTC"), share=D(share), min_confirmations=first, cap_usd=D(cap), wait_s=wait_s,
        reason=why, start_at=desk.now, maker=desk.risk, now=desk.now,
    )  # fmt: skip
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    return CreditPolicy.objects.get()


def minutes(desk: Desk, count: int) -> None:
    for _ in range(count):
        hear(desk)
        conditional_credits.work_due(now=desk.now)
        desk.step(seconds=60)


def called(desk: Desk, quantity: str, *, before: int = 12, **terms: int) -> Loan:
    """A call of 13 minutes, and bitcoin sent for it minutes before its end: one of three blocks by then."""
    ladder = LadderTermsFactory(cure_period_s=780, accelerated_cure_period_s=600, clear_hold_s=300, **terms)
    loan = desk.loan("20000", terms=ladder, BTC="1")
    desk.step(BTC="28000")
    while desk.now < desk.call(loan).cure_due_at - timedelta(minutes=before):
        minutes(desk, 1)
    send(desk, loan, quantity)
    while desk.now < desk.call(loan).cure_due_at + timedelta(minutes=2):
        minutes(desk, 1)
    return loan


def test_a_sale_waits_for_what_counts_before_it_is_final(desk: Desk) -> None:
    policy(desk)
    loan = called(desk, "0.15")
    row = ConditionalCredit.objects.get()
    assert (row.quantity, row.ended_at) == (D("0.135"), None)
    assert desk.call(loan).state == CallState.NOTIFIED
    assert not SaleCause.objects.exists()
    assert CallEvent.objects.get(kind="sale_held").facts["amounts"] == "0.135 BTC"
    # What the client is told of the sale is what the sale does: the policy's hour is not the ladder's wait.
    wait = timedelta(seconds=desk.call(loan).margin_account.terms.final_wait_s)
    told = Notice.objects.get(kind="conditional_credit").body
    assert f"waits for it once for each margin call, for {letters.duration(int(wait.total_seconds()))} at most" in told
    end_at = CallEvent.objects.get(kind="sale_held").happened_at + wait
    call = desk.call(loan)
    latest = letters.instant(end_at, call.client)
    assert confirming.limit(call, now=desk.now).startswith(f"until {latest} at the latest")
    assert confirming.limit(call, now=end_at).startswith("no more")
    assert desk.pledged(loan, "BTC") == 1  # no balance of it, and nothing can be released on it
    assert "Your transfer is being confirmed" in reads(desk, loan)
    part = f"/portal/calls/{desk.call(loan).public_id}/transfers/"
    browser = Browser()
    browser.force_login(ClientUser.objects.get(client=loan.client).user)
    with time_machine.travel(desk.now, tick=False):
        for headers in ({}, {"HX-Request": "true"}):
            page = browser.get(part, headers=headers).content.decode()
            assert "Counted before it is final" in page
            assert "counts of" in page
    console = Browser()
    console.force_login(desk.risk)
    with time_machine.travel(desk.now, tick=False):
        shown = console.get(f"/console/calls/{desk.call(loan).public_id}/").content.decode()
    assert "of the call would be cured, with what is paid already" in shown
    # 0.135 of the 0.19 that cure it.
    covered = conditional_credits.standing(desk.call(loan), now=desk.now)
    assert covered is not None
    assert D("0.70") < covered.covered < D("0.72")
    minutes(desk, 18)
    row.refresh_from_db()
    assert row.ended_how == "final"
    assert desk.call(loan).state == CallState.CURED_BY_MARKET
    assert desk.pledged(loan, "BTC") == D("1.15")
    assert desk.orders(loan) == []
    assert wrongful() == []
    assert invariants.check() == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("dropped", "its network has dropped it"),
        ("fell_back", "its network has dropped it"),
        ("late", "it was not final in time"),
        ("refused", "was not accepted"),
    ],
)
def test_it_falls_away_at_once_and_the_call_goes_on(desk: Desk, how: str, words: str) -> None:
    policy(desk, wait_s=600 if how == "late" else 3600)
    loan = called(desk, "0.2")
    assert desk.call(loan).state == CallState.NOTIFIED
    if how == "dropped":
        outside.bank().simulate_reorg("tx", at=desk.now)
    elif how in ("refused", "fell_back"):
        Deposit.objects.update(**({"screened": False} if how == "refused" else {"confirmations": 0}))
        desk.step()  # not even a worker has to come for it
        assert desk.call(loan).state == CallState.LIQUIDATING
        conditional_credits.work_due(now=desk.now)
    minutes(desk, 10 if how == "late" else 1)
    assert ConditionalCredit.objects.get().ended_how == ("dropped" if how == "fell_back" else how)
    assert desk.call(loan).state == CallState.LIQUIDATING
    told = Notice.objects.get(kind="conditional_credit_ended")
    assert words in told.body
    assert "Your margin call stands as it was" in told.body
    assert CallEvent.objects.get(kind="conditional_credit_ended").facts["reason"].startswith("0.18 BTC on its way")
    with time_machine.travel(desk.now, tick=False):
        assert conditional_credits.standing(desk.call(loan), now=desk.now) is None
    assert invariants.check() == []


def test_a_reason_is_kept_whole_or_refused(desk: Desk) -> None:
    with pytest.raises(credit_policies.UnableToSetPolicy, match="has 241 characters, and 240 are kept"):
        policy(desk, why="x" * 241)
    row = policy(desk, why="x" * 240)
    assert row.reason == "x" * 240
    with pytest.raises(credit_policies.UnableToSetPolicy, match="has 241 characters, and 240 are kept"):
        credit_policies.ask_end(row, reason="x" * 241, maker=desk.risk, now=desk.now)


@pytest.mark.parametrize("case", ["too_early", "capped", "ended"])
def test_nothing_counts_without_a_policy_beyond_its_cap_or_before_its_confirmation(desk: Desk, case: str) -> None:
    if case == "ended":
        asked = credit_policies.ask_end(policy(desk), reason="blocks are quick", maker=desk.risk, now=desk.now)
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    else:
        policy(desk, cap="500" if case == "capped" else CAP, first=2 if case == "too_early" else 1)
    loan = called(desk, "0.3")
    assert desk.call(loan).state == CallState.LIQUIDATING
    counted = list(ConditionalCredit.objects.values_list("quantity", flat=True))
    # 500 USD at 28,000: the call is told of it, and a sale does not wait for so little.
    assert counted == ([D("0.01785714")] if case == "capped" else [])


# --- the door -------------------------------------------------------------------------------------------------------


def ask(cast: Cast, who: str, **sent: str) -> Any:
    browser = Browser()
    browser.force_login(getattr(cast, who))
    said = {
        "act": "policy", "asset": "BTC", "share": "80", "min_confirmations": "2", "cap_usd": "250,000", "minutes": "60",
        "reason": "slow blocks",
    }  # fmt: skip
    return browser.post("/admin/conditional-credit/", said | sent, follow=True)


def decide(who: Any) -> str:
    browser = Browser()
    browser.force_login(who)
    row = Approval.objects.latest("pk")
    return browser.post(f"/admin/lending/approval/{row.pk}/approve/", follow=True).content.decode()


def test_two_persons_put_a_policy_in_force_and_end_it(cast: Cast) -> None:
    AssetNetworkFactory(asset__code="BTC")  # final with three
    with time_machine.travel(NOW, tick=False):
        for sent, words in (
            ({"asset": "DOGE"}, "not one of the available choices"),
            ({"share": ""}, "required"),
            ({"share": "0"}, "more than nothing and at most all"),
            ({"share": "101"}, "more than nothing and at most all"),
            ({"share": "most"}, "Enter a number"),
            ({"min_confirmations": "0"}, "from 1 to 2 can be asked for"),
            ({"min_confirmations": "3"}, "from 1 to 2 can be asked for"),
            ({"cap_usd": "0"}, "without a cap nothing counts"),
            ({"minutes": "0"}, "a minute at least and six hours at most"),
            ({"minutes": "361"}, "a minute at least and six hours at most"),
            ({"reason": " "}, "required"),
            ({"start_at": "2021-05-19T11:59"}, "can not begin in the past"),
        ):
            answer = ask(cast, "rhea", **sent)
            assert (answer.status_code, words in answer.content.decode()) == (422, True), sent
        assert ask(cast, "robin").status_code == 403
        assert "it waits on the page Approvals" in ask(cast, "rhea").content.decode()
        assert "Refused" in decide(cast.rhea)
        assert "Approved by you" in decide(cast.rolf)
        row = CreditPolicy.objects.get()
        assert (row.share, row.min_confirmations, row.cap_usd, row.wait_s) == (D("0.8"), 2, 250_000, 3600)
        assert (row.maker, row.checker) == (cast.rhea, cast.rolf)
        again = ask(cast, "rhea")
        assert (again.status_code, "has no end yet: end that first" in again.content.decode()) == (422, True)
        ended = {"act": "end", "policy": str(row.pk)}
        assert "it waits on the page Approvals" in ask(cast, "rolf", **ended).content.decode()
        assert "waits for a second person already" in ask(cast, "rhea", **ended).content.decode()
        assert "Approved by you" in decide(cast.dirk)
        row.refresh_from_db()
        assert (row.end_at, row.end_maker, row.end_checker) == (NOW, cast.rolf, cast.dirk)
        assert credit_policies.in_force(now=NOW) == {}
        for wrong in ({"end_at": NOW + timedelta(days=1)}, {"end_maker": cast.rhea}):
            with pytest.raises(DatabaseError, match="ended once"), transaction.atomic():
                CreditPolicy.objects.filter(pk=row.pk).update(**wrong)
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM risk_creditpolicy")
        with pytest.raises(DatabaseError, match="maker_is_not_checker"), transaction.atomic():
            CreditPolicy.objects.create(
                asset=row.asset, share=D(1), min_confirmations=1, cap_usd=D(1), wait_s=60, reason="alone",
                start_at=NOW, maker=cast.rhea, checker=cast.rhea,
            )  # fmt: skip
