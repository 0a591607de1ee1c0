"""All invariants of the platform: each app states its own, this module asks them all."""

from importlib import import_module, util
from types import ModuleType

from lending.engine.violations import Violation

APPS = ("lending", "risk", "otc")

# Held by the property tests rather than by rows: nothing in a database could show that they broke.
PROPERTIES = {
    "I18": "a better price never worsens the margin state",
    "I19": "replaying any message log twice gives the same state",
    "I20": "no row is visible to another client",
}


def check() -> list[Violation]:
    """Return every broken invariant of every app."""
    return [violation for module in _modules() for violation in module.check()]


def report(found: list[Violation]) -> str | list[dict[str, object]]:
    """Return what a command prints: "ok", or the broken invariants with their rows."""
    return [violation.as_dict() for violation in found] or "ok"


def _modules() -> list[ModuleType]:
    names = [f"{app}.invariants" for app in APPS]
    return [import_module(name) for name in names if util.find_spec(name)]
