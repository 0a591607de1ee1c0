"""A test's database: whose it is, that nothing stays in it, and that the template is not built twice."""

import psycopg
import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from deploy import databases


@pytest.mark.django_db
def test_tests_run_as_app_which_is_no_superuser():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, usesuper, usecreatedb FROM pg_user WHERE usename = current_user")
        assert cursor.fetchone() == ("app", False, False)


@pytest.mark.django_db
def test_owner_is_no_superuser_either():
    with psycopg.connect(settings.OWNER_DATABASE_URL) as owner:
        row = owner.execute("SELECT usesuper, usecreatedb FROM pg_user WHERE usename = current_user").fetchone()
    assert row == (False, True)


@pytest.mark.parametrize("run", [1, 2])
def test_a_committed_row_is_gone_in_the_next_database(real_db, run):
    assert connection.settings_dict["NAME"] == real_db
    assert not Session.objects.exists()
    Session.objects.create(session_key=f"run-{run}", session_data="", expire_date=timezone.now())


def test_a_template_is_built_once(real_db):
    assert databases.template() == databases.template()


def test_only_scratch_databases_are_dropped():
    with pytest.raises(ValueError, match="not made for one use"):
        databases.drop("plimsoll")
