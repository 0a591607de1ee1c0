"""The Celery application: hints travel here, the truth stays in rows."""

import os
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

# Workers accept JSON alone, so running as root, as in a container, does not let a message run code.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("plimsoll")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
