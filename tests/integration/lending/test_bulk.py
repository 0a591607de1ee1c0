"""Rows that are changed together."""

import datetime as dt

import pytest
from django.db import DataError

from lending import bulk, notices
from lending.models import Client, NoticeDelivery
from tests.factories import lending as make

pytestmark = pytest.mark.django_db


def test_rows_get_their_own_values_in_one_statement(django_assert_num_queries) -> None:
    clients = [make.ClientFactory(jurisdiction="CH") for _ in range(3)]
    for number, client in enumerate(clients):
        client.name, client.jurisdiction = f"named {number}", "GB"
    with django_assert_num_queries(1):
        bulk.update(clients, ["name"])
    found = Client.objects.order_by("pk").values_list("name", "jurisdiction")
    assert list(found) == [(f"named {number}", "CH") for number in range(3)]
    bulk.update(clients)
    assert set(found.values_list("jurisdiction", flat=True)) == {"GB"}


def test_instants_facts_and_nothing_at_all_are_kept_as_they_are() -> None:
    for key in ("first", "second"):
        letter = notices.Letter(client=make.ClientFactory(), kind="word", subject="A word", body="Hear, hear", key=key)
        notices.enqueue([letter], now=make.NOW)
    deliveries = list(NoticeDelivery.objects.order_by("pk"))
    deliveries[0].delivered_at, deliveries[0].evidence = make.NOW + dt.timedelta(microseconds=1), {"a": ["b", None]}
    bulk.update(deliveries, ["delivered_at", "evidence"])
    assert list(NoticeDelivery.objects.order_by("pk").values_list("delivered_at", "evidence")) == [
        (make.NOW + dt.timedelta(microseconds=1), {"a": ["b", None]}),
        (None, {}),
    ]


def test_what_does_not_fit_or_is_not_there_is_refused(django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        bulk.update([], ["name"])
    client = make.ClientFactory()
    with pytest.raises(bulk.UnableToUpdate, match="1 of 2 rows of lending_client are not there"):
        bulk.update([client, Client(pk=client.pk + 1, name="Nobody")], ["name"])
    client.jurisdiction = "far too long for a country"
    with pytest.raises(DataError):
        bulk.update([client], ["jurisdiction"])
