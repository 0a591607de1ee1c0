"""Approvals: another person, the exact payload, in time, once."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import access, approvals
from lending.models import Approval, AuditRecord, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
DAY = dt.timedelta(days=1)
PAYLOAD = {"asset": "BTC", "haircut": "0.1"}


def request(**changes: object) -> Approval:
    given = {"maker": make.staff("olga", Role.OPERATIONS), "now": NOW, **changes}
    return approvals.request("haircut", PAYLOAD, **given)  # type: ignore[arg-type]


def test_a_request_is_approved_by_another_and_used_once_for_exactly_its_payload() -> None:
    rhea = make.staff("rhea", Role.RISK)
    approval = approvals.decide(request(), checker=rhea, approve=True, now=NOW, reason="fine")
    with pytest.raises(approvals.UnableToApprove, match="this is not what was approved"):
        approvals.execute(approval, {**PAYLOAD, "haircut": "0.2"}, now=NOW)
    # The order of the keys is not content.
    done = approvals.execute(approval, dict(reversed(PAYLOAD.items())), now=NOW)
    assert (done.state, done.checker, done.executed_at) == ("executed", rhea, NOW)
    with pytest.raises(approvals.UnableToApprove, match="is executed, not approved"):
        approvals.execute(approval, PAYLOAD, now=NOW)


def test_who_may_not_decide() -> None:
    client = make.ClientFactory()
    own = request(maker=make.staff("rhea", Role.RISK))
    with pytest.raises(approvals.UnableToApprove, match="Rhea made this request and can not decide it"):
        approvals.decide(own, checker=make.staff("rhea", Role.RISK), approve=True, now=NOW)
    robin = make.staff("robin", Role.RELATIONSHIP_MANAGER, Role.RISK)
    with pytest.raises(access.UnableToAccess, match=r"manages Client .* and can not approve"):
        approvals.decide(request(client=client), checker=robin, approve=True, now=NOW)
    for taken in (request(), request(client=client)):
        with pytest.raises(access.UnableToAccess, match="does not hold the role"):
            approvals.decide(taken, checker=make.staff("dana", Role.DESK_HEAD), approve=True, now=NOW)


def test_a_request_and_an_approval_expire() -> None:
    rhea = make.staff("rhea", Role.RISK)
    with pytest.raises(approvals.UnableToApprove, match="this request expired at 2021-05-20 08:00 UTC"):
        approvals.decide(request(), checker=rhea, approve=True, now=NOW + DAY)
    approved = approvals.decide(request(), checker=rhea, approve=True, now=NOW)
    with pytest.raises(approvals.UnableToApprove, match="this approval expired at 2021-05-20 08:00 UTC"):
        approvals.execute(approved, PAYLOAD, now=NOW + DAY)
    assert approvals.expire_due(now=NOW + DAY) == 2
    with pytest.raises(approvals.UnableToApprove, match="is expired already"):
        approvals.decide(approved, checker=rhea, approve=True, now=NOW)


def test_a_rejected_request_is_not_used() -> None:
    rejected = approvals.decide(request(), checker=make.staff("rhea", Role.RISK), approve=False, now=NOW)
    with pytest.raises(approvals.UnableToApprove, match="is rejected, not approved"):
        approvals.execute(rejected, PAYLOAD, now=NOW)


def test_the_database_refuses_the_maker_as_checker_and_a_decision_by_nobody() -> None:
    approval = request()
    for change, name in (
        ({"checker": approval.maker}, "approval_maker_is_not_checker"),
        ({"state": "approved"}, "approval_decided_by_a_checker"),
    ):
        with pytest.raises(DatabaseError, match=name), transaction.atomic():
            Approval.objects.filter(pk=approval.pk).update(**change)


def test_decimals_are_not_payload() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        approvals.request("haircut", {"haircut": Decimal("0.1")}, maker=make.staff("olga"), now=NOW)


def test_the_trail_names_who_decided_about_what() -> None:
    rhea = make.staff("rhea", Role.RISK)
    approval = approvals.decide(request(), checker=rhea, approve=True, now=NOW, reason="fine")
    approvals.execute(approval, PAYLOAD, now=NOW)
    trail = AuditRecord.objects.filter(object_id=str(approval.public_id)).order_by("pk")
    assert [(row.actor, row.after["state"], row.reason) for row in trail] == [
        (rhea, "approved", "fine"),
        (rhea, "executed", "fine"),
    ]
    assert trail[0].after["payload"] == PAYLOAD
