"""
The list of bad input: what is tried at every form, import, door and command, and the words that are read then.

It stands in docs/bad-input.md, and is what the tests expect: they try the cases and hold what they read against it.

    .venv/bin/python -m tests.bad_input    tries every case again and writes the list anew
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

LIST = Path(__file__).parents[1] / "docs" / "bad-input.md"
_ANEW = "PLIMSOLL_BAD_INPUT"  # names the folder to write to where the list is written anew
_HEAD = """# Bad input

What was tried at every form, import, door and command, and what is read then. The tests try all of it and fail where
this list says something else; `.venv/bin/python -m tests.bad_input` writes it anew. “taken” stands where nothing is
wrong with it, and … for what differs from run to run.
"""

IMPORTS, DOORS, COMMANDS, FORMS = "Imports", "Doors for programs", "Commands", "Forms"
# The tests that try it; each file holds what it reads against the list.
FILES: dict[str, tuple[str, ...]] = {
    IMPORTS: (
        "tests/functional/test_clients_from_csv.py",
        "tests/functional/test_parallel_run.py",
        "tests/integration/lending/test_bank.py",
        "tests/integration/lending/test_resets.py",
        "tests/integration/lending/test_sanctions.py",
        "tests/integration/lending/test_takeovers_refused.py",
        "tests/unit/lending/list_files/test_lists.py",
        "tests/unit/lending/test_bank_files.py",
        "tests/unit/risk/scenarios/test_recorded.py",
    ),
    DOORS: (
        "tests/functional/test_illegible.py",
        "tests/functional/test_custodian_misbehaves.py::test_what_is_not_the_custodians_word_is_refused_in_words",
    ),
    COMMANDS: (
        "tests/integration/deploy/test_set_up.py",
        "tests/integration/lending/test_grant.py",
        "tests/unit/deploy/test_run.py",
        "tests/unit/risk/scenarios/test_may_2021.py",
    ),
    FORMS: (
        "tests/functional/test_every_page.py",
        "tests/functional/test_close_page.py",
        "tests/functional/test_onboarding.py",
        "tests/functional/test_parallel_run.py",
        "tests/integration/otc/test_repairs.py",
    ),
}
_PASSING = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "…"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "…"),
    (re.compile(r"(?<![\w.…`/])/(?:[^\s:/'`]+/)+"), ""),  # where a file lies
)

Found = Mapping[str, Sequence[str]]


def stands(group: str, title: str, found: Found) -> None:
    """Hold what was read in every case of a subject against the list; fail where the list says something else."""
    assert all(words and all(words) for words in found.values()), f"{title}: a case without a word"
    _stand(group, title, _table(found))


def complete(group: str, names: Iterable[str]) -> None:
    """Hold the subjects of a group against the list; fail for one that it lacks, or that is no more."""
    if _ANEW not in os.environ:
        assert sorted(set(names)) == [title for part, title in _read() if part == group], how()


def plain(words: str) -> str:
    """Return words without what differs from run to run."""
    for pattern, instead in _PASSING:
        words = pattern.sub(instead, words)
    return " ".join(words.split())


def _stand(group: str, title: str, table: str) -> None:
    if folder := os.environ.get(_ANEW):
        count = len(list(Path(folder).iterdir()))
        (Path(folder) / f"{count:04}").write_text(f"{group}\n{title}\n{table}")
        return
    assert table.splitlines() == _read().get((group, title), "").splitlines(), f"{group}, {title}: {how()}"


def how() -> str:
    return f"if this is what must be read, write {LIST.name} anew: .venv/bin/python -m tests.bad_input"


def _table(found: Found) -> str:
    """Return a table of what was read; cases that come to the same words share a row."""
    cases: dict[str, list[str]] = {}
    for case, words in found.items():
        cases.setdefault(" · ".join(dict.fromkeys(map(plain, words))), []).append(case)
    rows = [f"| {_cell('; '.join(same))} | {_cell(words)} |" for words, same in cases.items()]
    return "\n".join(("| tried | read |", "| --- | --- |", *rows, ""))


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _read() -> dict[tuple[str, str], str]:
    """Return the tables of the list, by group and title."""
    found: dict[tuple[str, str], str] = {}
    for group in re.split(r"^## ", LIST.read_text(), flags=re.MULTILINE)[1:]:
        name, *subjects = re.split(r"^### ", group, flags=re.MULTILINE)
        for subject in subjects:
            title, _, table = subject.partition("\n")
            found[name.strip(), title.strip()] = f"{table.strip()}\n"
    return found


def _write() -> int:
    """Try every case and write the list; return the exit code of what tried them."""
    with tempfile.TemporaryDirectory() as folder:
        files = dict.fromkeys(file for files in FILES.values() for file in files)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        code = subprocess.run(command, env={**os.environ, _ANEW: folder}, check=False).returncode
        groups: dict[str, list[str]] = {group: [] for group in FILES}
        for path in sorted(Path(folder).iterdir()):
            group, title, table = path.read_text().split("\n", 2)
            groups[group].append(f"### {title}\n\n{table}")
    if code == 0:
        parts = ["\n".join((f"## {group}\n", *sorted(tables))) for group, tables in groups.items()]
        LIST.write_text("\n".join((_HEAD, *parts)))
    return code


if __name__ == "__main__":
    sys.exit(_write())
