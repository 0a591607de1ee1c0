"""Every page of every door, on a desk in the middle of the crash, asks the database at most twelve times."""

from typing import Any

import pytest

from deploy.benches import pages

LIMIT = 12


@pytest.fixture(scope="module")
def walked(django_db_setup: None, django_db_blocker: Any) -> dict[tuple[str, str], pages.Taken]:
    with django_db_blocker.unblock():
        return dict(pages.walked(100, rounds=1, seed=7))


def test_every_door_was_walked(walked):
    assert {who for who, _ in walked} == {"alice", "rhea", "robin", "dana"}
    assert len(walked) > 150


def test_no_page_asks_more(walked):
    assert {page: taken.queries for page, taken in walked.items() if taken.queries > LIMIT} == {}
