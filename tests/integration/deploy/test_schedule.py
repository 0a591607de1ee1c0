"""Beat asks for tasks that exist, and no hint outlives its use."""

from django.conf import settings

from deploy.celery import app


def test_every_entry_names_a_task_that_the_workers_know():
    app.loader.import_default_modules()
    wanted = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert wanted <= set(app.tasks)


def test_every_entry_expires():
    assert all(entry["options"]["expires"] > 0 for entry in settings.CELERY_BEAT_SCHEDULE.values())


def test_nothing_is_run_eagerly():
    assert not app.conf.task_always_eager
