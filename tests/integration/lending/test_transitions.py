"""The declared steps of a loan stand in the database as they stand in the code."""

import pytest

from lending.models import LOAN_TRANSITIONS, LoanTransition


@pytest.mark.django_db
def test_the_database_knows_the_declared_transitions() -> None:
    stored = list(LoanTransition.objects.values_list("from_state", "to_state"))
    assert sorted(stored) == sorted((before.value, after.value) for before, after in LOAN_TRANSITIONS)
