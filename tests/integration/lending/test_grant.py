"""Roles are given to people of the desk, once, with a trace; bad input is refused in words."""

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from lending import access, people
from lending.models import AuditRecord, Role, RoleGrant, User
from tests import bad_input
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def grant(email: str, role: Role = Role.RISK, granted_by: User | None = None) -> tuple[User, bool]:
    return people.grant(email, role, name="Rhea", password="a long enough one", granted_by=granted_by, now=NOW)


def test_a_new_person_can_sign_in_with_the_role() -> None:
    user, made = grant("Rhea@Desk.example")
    assert made
    assert user.check_password("a long enough one")
    assert access.roles_of(user) == {Role.RISK}
    assert AuditRecord.objects.get(action="role_granted").after == {"role": "risk"}


def test_a_role_is_given_once() -> None:
    user, _ = grant("rhea@desk.example")
    assert grant("rhea@desk.example") == (user, False)
    assert RoleGrant.objects.count() == 1


@pytest.mark.parametrize(
    ("email", "role", "said"),
    [("rhea", Role.RISK, "not an e-mail address"), ("rhea@desk.example", Role.BORROWER_ADMIN, "role at a client")],
)
def test_bad_input(email: str, role: Role, said: str) -> None:
    with pytest.raises(people.UnableToGrant, match=said):
        grant(email, role)


def test_nobody_grants_to_themselves() -> None:
    user, _ = grant("rhea@desk.example")
    with pytest.raises(people.UnableToGrant, match="themselves"):
        grant("rhea@desk.example", Role.RISK_HEAD, granted_by=user)


def test_a_borrower_does_not_work_for_the_desk() -> None:
    user = make.borrower("alice", make.ClientFactory())
    with pytest.raises(people.UnableToGrant, match="acts for a client"):
        grant(user.email)


def test_the_command_shows_a_password_once(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("grant", "olga@desk.example", "operations")
    assert "password, shown once" in capsys.readouterr().out
    call_command("grant", "olga@desk.example", "operations")
    assert "password" not in capsys.readouterr().out
    make.borrower("alice", make.ClientFactory())
    read = {}
    for case, arguments in {
        "no e-mail address": ("olga", "operations"),
        "a role that is none": ("olga@desk.example", "king"),
        "somebody of a client": ("alice@client.example", "operations"),
        "nobody": (),
    }.items():
        with pytest.raises(CommandError) as refusal:
            call_command("grant", *arguments)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "grant", read)
