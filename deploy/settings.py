"""
The one settings module: every value that differs between machines comes from the environment.

A command run without DATABASE_URL gets its servers, and the addresses below, from `deploy.embedded`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF

from deploy import two_persons
from deploy.schedule import beat

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / ".data")))

# --- who may talk to us ---------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")  # Django refuses to sign anything while this is empty
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Over plain http on a developer's own machine secure cookies would keep everybody signed out.
BEHIND_TLS = env.bool("BEHIND_TLS", default=True)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("TRUST_PROXY", default=False) else None
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- what runs ------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "deploy",  # first: its runserver-free commands win over those of the same name below
    "otc",
    "risk",
    "lending",
    "unfold.apps.BasicAppConfig",  # before the admin whose pages it dresses
    "deploy.apps.PlimsollAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "csp",
    "axes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "lending.legible.LegibleMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "deploy.urls"
ASGI_APPLICATION = "deploy.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "lending.portal.context.platform",
                "deploy.demo.context.demo",
            ],
        },
    }
]

AUTH_USER_MODEL = "lending.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Five wrong passwords for one e-mail from one address, then a quarter of an hour of silence. Counting the e-mail alone
# would let anybody lock the risk desk out of a crash.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_USERNAME_FORM_FIELD = "username"  # what the sign-in form and authenticate() call it, whatever the user model does
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "lending.portal.sign_in.locked_out"
AXES_VERBOSE = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "COERCE_DECIMAL_TO_STRING": True,
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "deploy.formats"  # Django's own for English would win over DATE_FORMAT here

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=None)  # only where a web server in front serves a collected copy
# Browser code comes from package-lock.json by `npm ci`; only the built files of each package are served.
NODE_MODULES = BASE_DIR / "node_modules"
STATICFILES_DIRS = [
    (f"vendor/{name}", NODE_MODULES / folder / built)
    for name, folder, built in (
        ("htmx.org", "htmx.org", "dist"),
        ("lightweight-charts", "lightweight-charts", "dist"),
        ("uplot", "uplot", "dist"),
        ("plex", "@fontsource-variable/ibm-plex-sans", "files"),
        ("source-serif", "@fontsource-variable/source-serif-4", "files"),
    )
    if (NODE_MODULES / folder / built).is_dir()
]
WHITENOISE_USE_FINDERS = True  # a checkout serves its pages without a collectstatic step

# --- where rows live ------------------------------------------------------------------------------------------------


def _database(url_name: str, *, pool_max: int) -> dict[str, Any]:
    """Read one database address; a `?host=/run/dir` socket becomes HOST, where every Django tool looks for it."""
    config: dict[str, Any] = dict(env.db_url(url_name, default="postgresql://app@/plimsoll"))
    options = dict(config.get("OPTIONS", {}))
    config["HOST"] = options.pop("host", config["HOST"])
    options.setdefault("prepare_threshold", 5)  # only lending.ledger asks for a prepared statement
    options.setdefault("options", f"-c lock_timeout={env.int('DB_LOCK_TIMEOUT_MS', default=5000)}")
    options.setdefault("application_name", env.str("PLIMSOLL_PROCESS", default="plimsoll"))
    if pool_max:
        options["pool"] = {"min_size": 0, "max_size": pool_max, "timeout": env.int("DB_POOL_TIMEOUT_S", default=10)}
    return {
        **config,
        "ENGINE": "django.db.backends.postgresql",
        "OPTIONS": options,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
    }


# `app` runs the platform and may not change the past; `owner` migrates and makes and drops databases.
DB_ROLE = env.str("PLIMSOLL_DB_ROLE", default="app")
_URL_NAME = "OWNER_DATABASE_URL" if DB_ROLE == "owner" and "OWNER_DATABASE_URL" in env else "DATABASE_URL"
OWNER_DATABASE_URL = env.str("OWNER_DATABASE_URL", default=env.str("DATABASE_URL", default=""))
DATABASES = {"default": _database(_URL_NAME, pool_max=env.int("DB_POOL_MAX", default=0))}

CACHE_URL = env.str("CACHE_URL", default="")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL}
    if CACHE_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# --- hints ----------------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = env.str("BROKER_URL", default="redis://localhost:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "general"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ACKS_LATE = False  # rows are the queue of record: a lost hint is found again by the next beat
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    # Who sends a hint does not wait for a broker that is away: without these, a price feed would stand still for 6 s.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# --- the platform's own ---------------------------------------------------------------------------------------------

PLIMSOLL_SEED = env.int("PLIMSOLL_SEED", default=7)
PLIMSOLL_SPEED = env.float("PLIMSOLL_SPEED", default=60.0)
# Nobody reads a call that has a minute: the demo's crash is slower, unless somebody chose a speed.
PLIMSOLL_CRASH_SPEED = env.float("PLIMSOLL_CRASH_SPEED", default=env.float("PLIMSOLL_SPEED", default=10.0))
# On for what `make run` starts and nothing else: pages say what is simulated, and staff may play with the simulation.
PLIMSOLL_DEMO = env.bool("PLIMSOLL_DEMO", default=False)
PLIMSOLL_DEMO_LOANS = env.int("PLIMSOLL_DEMO_LOANS", default=0)  # drawn loans; 0 opens with the showcase
PLIMSOLL_SCENARIO = env.str("PLIMSOLL_SCENARIO", default="may-2021")
# Recorded prices, kept outside the project: where PLIMSOLL_DATA_DIR says, or beside the checkout; None when absent.
_RECORDINGS = Path(env.str("PLIMSOLL_DATA_DIR", default=str(BASE_DIR.parent / "shared" / "data")))
PLIMSOLL_DATA_DIR = _RECORDINGS if _RECORDINGS.is_dir() else None
REPLAY_DIR = env.str("REPLAY_DIR", default="")
RISK_SCENARIO = PLIMSOLL_SCENARIO
RISK_SILENT_VENUES = DATA_DIR / "run" / "silent_venues"  # codes of the venues whose lines a drill has cut
MARK_GROUPS = 1
CELERY_BEAT_SCHEDULE = beat(MARK_GROUPS)

LENDING_HOUSE_STRIPES = env.int("LENDING_HOUSE_STRIPES", default=4)  # rows per account of the desk's own
LENDING_VALUER = "risk.valuations.marks_at"
LENDING_CUSTODIAN = env.str("LENDING_CUSTODIAN", default="lending.adapters.custodian_http.HttpCustodian")
LENDING_CUSTODIAN_URL = env.str("LENDING_CUSTODIAN_URL", default="http://127.0.0.1:8902")
# With LENDING_CUSTODIAN=lending.adapters.copper.build: the portfolio at Copper and the key of its service account.
LENDING_COPPER = {
    "url": env.str("COPPER_URL", default="https://api.copper.co"),
    "key": env.str("COPPER_KEY", default=""),
    "secret": env.str("COPPER_SECRET", default=""),
    "portfolio": env.str("COPPER_PORTFOLIO", default=""),
}
# Secrets of the custodian's webhooks, the newest first; without one no webhook is taken. Where the simulated custodian
# sends its own to is its business alone.
LENDING_CUSTODIAN_SECRETS = env.list("LENDING_CUSTODIAN_SECRETS", default=[])
LENDING_CUSTODIAN_HOOKS = env.str("LENDING_CUSTODIAN_HOOKS", default="")
LENDING_INVARIANTS = "deploy.invariants.check"  # asked before a month is closed
LENDING_LADDER_CHECK = "risk.ladders.check"  # asked before a margin account stands on another ladder
LENDING_UNDER_CALL = "risk.margin_calls.under_call"  # asked before a prepayment is charged
LENDING_OUTBOX_HANDLERS = {
    "amendment.told": "lending.amendment_letters.send",
    "custody.address": "lending.custody.open_addresses",
    "custody.watch": "lending.custody.watch_address",
    "person.invitation": "lending.people.send_invitation",
}
LENDING_APPROVAL_EXECUTORS, LENDING_APPROVAL_WORDS = two_persons.EXECUTORS, two_persons.WORDS
LENDING_APPROVAL_CHECKERS, LENDING_SIGNED_ACTS = two_persons.CHECKERS, two_persons.SIGNED_ACTS
LENDING_DOCUMENT_MAX_BYTES = env.int("LENDING_DOCUMENT_MAX_BYTES", default=10 * 2**20)
OTC_DEALERS_URL = env.str("OTC_DEALERS_URL", default="http://127.0.0.1:8901")
OTC_DEALERS = [
    {"name": name, "adapter": "otc.adapters.dealers_http.HttpDealer"} for name in ("harbour", "meridian", "northgate")
]

# What higher apps add to the pages of lower ones, by place: functions (request, subject, *, now) -> safe HTML.
PANELS: dict[str, tuple[str, ...]] = {
    "portal.home": ("risk.portal.panels.home",),
    "portal.loan": ("risk.portal.panels.loan",),
    "portal.loan.pledged": ("risk.portal.panels.pledged",),
    "admin.home": (
        "lending.admin.screening.panel",
        "lending.admin.home.unruled",
        "risk.admin.home.calls",
        "lending.admin.breaks.home",
        "lending.admin.home.pipeline",
        "lending.admin.bank.old_lines",
        "lending.admin.parallel.home",
        "risk.admin.home.calls_of_others",
        "risk.admin.home.closest",
        "lending.admin.home.clients",
        "lending.admin.home.ahead",
    ),
    "admin.approval": (
        "lending.admin.corrections.foreseen",
        "lending.admin.takeovers.about",
        "lending.admin.ladders.about",
        "risk.panels.approval",
        "lending.admin.pipeline.case_part",
    ),
    "admin.loan": (
        "risk.panels.staff_loan",
        "lending.admin.amendments.part",
        "risk.admin.funding.button",
        "risk.admin.drawing.part",
        "lending.admin.recalls.part",
        "lending.admin.workouts.part",
        "lending.admin.perfections.part",
        "lending.admin.benchmarks.part",
        "risk.admin.default_sales.part",
        "risk.admin.releases.part",
        "risk.admin.freezes.form",
    ),
    "amendment.ladder": ("risk.panels.other_ladder",),
    "admin.loan.story": (
        "risk.admin.story.calls_and_orders",
        "otc.admin.story.fills",
    ),
}

# What the admin's menu holds, by what a person does, and what the frame says of this installation.
PLIMSOLL_ENVIRONMENT = env.str("PLIMSOLL_ENVIRONMENT", default="Demo desk" if PLIMSOLL_DEMO else "")
UNFOLD = {
    "SITE_TITLE": "Plimsoll",
    "SITE_HEADER": "Plimsoll",
    "SHOW_HISTORY": False,  # what was done stands in the audit trail
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "deploy.menu.environment",
    "SIDEBAR": {"navigation": "deploy.menu.groups"},
}

# The most that all assets together put out for quote in a minute of platform time: selling more at once moves them all.
OTC_THROTTLE_USD_PER_MINUTE = env.int("OTC_THROTTLE_USD_PER_MINUTE", default=50_000_000)

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mail"
DEFAULT_FROM_EMAIL = "margin@plimsoll.example"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname:<7} {name}: {message}", "style": "{"}},
    "filters": {"no_crash": {"()": "deploy.quiet.WithoutStackOfRefusals"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["no_crash"]}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {name: {"level": "WARNING"} for name in ("axes", "celery", "httpx", "kombu")},
}
