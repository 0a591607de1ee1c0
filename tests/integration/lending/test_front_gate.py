"""Who is not onboarded, or not eligible, is not quoted, not accepted, not approved and not funded; and is told why."""

from datetime import date, timedelta

import pytest

from deploy.demo import onboarded
from lending import access, approvals, documents, eligibility, loans, offers, onboarding
from lending.dated_rules import UnableToRule
from lending.models import Approval, Client, EligibilityRule, KycCase, Loan, User
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import draw_permit

TODAY = NOW.date()


def suspended(cast: Cast) -> None:
    """Take the approved case of Harbourside out of force."""
    KycCase.objects.filter(client=cast.harbourside).update(state="superseded")


def test_each_step_of_a_loan_stops_when_the_case_is_gone(cast: Cast) -> None:
    says = "Harbourside Trading is not onboarded; still missing: the case handed over to compliance .step Approval."
    one, two, three = (stories.offered(cast) for _ in range(3))
    for loan in (two, three):
        offers.accept(loan, by=cast.alice, now=NOW)
    offers.approve(three, by=cast.rhea, now=NOW)
    offers.collateral_pending(three, actor=cast.olga, now=NOW)
    three.refresh_from_db()
    suspended(cast)
    with pytest.raises(offers.UnableToQuote, match=says):
        stories.offered(cast)
    with pytest.raises(loans.UnableToMove, match=says):
        offers.accept(one, by=cast.alice, now=NOW)
    with pytest.raises(loans.UnableToMove, match=says):
        offers.approve(two, by=cast.rhea, now=NOW)
    with pytest.raises(loans.UnableToMove, match=says):
        loans.fund(three, permit=draw_permit(three, now=NOW), actor=cast.olga, now=NOW)
    assert set(Loan.objects.values_list("state", flat=True)) == {"quoted", "accepted", "collateral_pending"}


def test_an_overdue_review_an_ended_agreement_and_a_closed_client_stop_loans(cast: Cast) -> None:
    product, client = stories.offered(cast).product, cast.harbourside
    due = KycCase.objects.get(client=client).review_date
    assert due
    on_the_day = NOW + (due - TODAY)
    assert onboarding.refusal(client, product, now=on_the_day) == ""
    assert "a review: it was due on" in onboarding.refusal(client, product, now=on_the_day + timedelta(days=1))
    version = client.agreements.get().version
    type(version).objects.filter(pk=version.pk).update(end_date=TODAY + timedelta(days=2))
    words = onboarding.refusal(client, product, now=NOW + timedelta(days=2))
    assert "the master agreement in a version in force (step Agreement)" in words
    Client.objects.filter(pk=client.pk).update(stage=Client.Stage.CLOSED)
    assert "it is closed" in onboarding.refusal(client, product, now=NOW)


def test_a_paper_that_is_no_longer_good_stops_loans_until_a_newer_one_is_there(cast: Cast) -> None:
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    drydock = Client.objects.create(
        name="Drydock", kind="entity", jurisdiction="GB", relationship_manager=cast.robin, created_at=NOW
    )
    newcomer = onboarded.Newcomer(client=drydock, signers=[("Dora", "dora@drydock.example")])
    onboarded.complete([newcomer], checker=cast.cora, now=NOW)
    loan = stories.offered(cast, drydock)
    resolution = drydock.documents.get(kind="board-resolution")
    documents.withdraw(resolution, by=cast.robin, now=NOW)
    assert "Board resolution on borrowing: not there (step Documents)" in onboarding.refusal(
        drydock, loan.product, now=NOW
    )
    drydock.documents.create(
        kind="board-resolution", file=resolution.file, name="new.pdf", uploaded_by=cast.robin, uploaded_at=NOW
    )
    assert onboarding.refusal(drydock, loan.product, now=NOW) == ""
    passport = drydock.documents.get(kind="identity")
    assert passport.expires_date
    late = NOW + (passport.expires_date - TODAY) + timedelta(days=1)
    assert "Dora: expired on" in onboarding.refusal(drydock, loan.product, now=late)


def asked(maker: User, **changes: object) -> Approval:
    rule: dict[str, object] = {
        "jurisdiction": "GB", "classification": "professional", "product": None, "allowed": False,
        "reason": "the regulator has stopped it", "start_date": TODAY + timedelta(days=5), **changes,
    }  # fmt: skip
    return eligibility.ask(**rule, maker=maker, now=NOW)  # type: ignore[arg-type]


def test_a_rule_refuses_with_its_reason_from_its_day_on_until_two_persons_end_it(cast: Cast) -> None:
    loan = stories.offered(cast)
    product, client = loan.product, cast.harbourside
    request = asked(cast.cora, product=product)
    for checker in (cast.cora, cast.rhea, cast.robin):
        with pytest.raises((access.UnableToAccess, approvals.UnableToApprove)):
            approvals.decide(request, checker=checker, approve=True, now=NOW)
    approvals.decide(request, checker=cast.dirk, approve=True, now=NOW)
    rule = EligibilityRule.objects.get(allowed=False)
    assert (rule.maker, rule.checker) == (cast.cora, cast.dirk)
    starts = NOW + timedelta(days=5)
    assert onboarding.refusal(client, product, now=starts - timedelta(days=1)) == ""
    words = onboarding.refusal(client, product, now=starts)
    assert words == ("Harbourside Trading is not eligible for Term loan in USD: the regulator has stopped it")
    end = eligibility.RULES.ask_end(rule, on=TODAY + timedelta(days=9), reason="Lifted.", maker=cast.cora, now=starts)
    with pytest.raises(UnableToRule, match="waits for a second person already"):
        eligibility.RULES.ask_end(rule, on=TODAY + timedelta(days=9), reason="Lifted.", maker=cast.cora, now=starts)
    approvals.decide(end, checker=cast.dirk, approve=True, now=starts)
    assert onboarding.refusal(client, product, now=NOW + timedelta(days=9)) == ""
    rule.refresh_from_db()
    with pytest.raises(UnableToRule, match="it ends on 28 May 2021 already"):
        eligibility.RULES.ask_end(rule, on=TODAY + timedelta(days=12), reason="x", maker=cast.cora, now=starts)


def test_what_no_rule_allows_is_refused_and_every_refusal_is_told(cast: Cast) -> None:
    product = stories.offered(cast).product
    client = Client(name="Someone", jurisdiction="US", classification="retail")
    rules = [
        EligibilityRule(jurisdiction="US", allowed=False, reason="no licence"),
        EligibilityRule(classification="retail", allowed=False, reason="no consumers"),
        EligibilityRule(jurisdiction="GB", allowed=False, reason="not meant"),
        EligibilityRule(allowed=True, reason="all"),
    ]
    assert eligibility.refusal(rules, client, product) == "no licence; no consumers"
    assert eligibility.refusal(rules[2:], client, product) == ""
    says = "no rule in force allows Term loan in USD for retail clients in US"
    assert eligibility.refusal(rules[2:3], client, product).startswith(says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reason": " "}, "what it rests on"),
        ({"start_date": TODAY - timedelta(days=1)}, "in the past"),
        ({"jurisdiction": "", "classification": "", "allowed": True}, "a rule says so already"),
    ],
)
def test_rules_that_can_not_be_asked_for(cast: Cast, changes: dict[str, object], says: str) -> None:
    with pytest.raises(UnableToRule, match=says):
        asked(cast.cora, **changes)


@pytest.mark.parametrize(
    ("on", "reason", "says"),
    [(TODAY, "x", "after today"), (date(2022, 1, 1), " ", "say why"), (date(2014, 1, 1), "x", "after today")],
)
def test_ends_that_can_not_be_asked_for(cast: Cast, on: date, reason: str, says: str) -> None:
    rule = EligibilityRule.objects.get()
    with pytest.raises(UnableToRule, match=says):
        eligibility.RULES.ask_end(rule, on=on, reason=reason, maker=cast.cora, now=NOW)
    with pytest.raises(access.UnableToAccess):
        eligibility.RULES.ask_end(rule, on=date(2022, 1, 1), reason="x", maker=cast.robin, now=NOW)
