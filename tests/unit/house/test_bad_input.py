"""Nothing that takes input is left out of the list of bad input; that of forms is looked at where they are walked."""

from django.core.management import get_commands

from tests import bad_input

LISTED = {
    bad_input.IMPORTS: (
        "A day of the parallel run, CSV",
        "Bank statements, camt.053 and MT940: the file",
        "Bank statements: what is not ours, or not so",
        "Clients, CSV: a row",
        "Clients, CSV: the file",
        "Fixings of benchmarks, CSV",
        "Live loans, three CSV files: a file",
        "Live loans, three CSV files: a row",
        "Recordings of prices, REPLAY_DIR",
        "Sanctions lists: EU, CSV",
        "Sanctions lists: EU, XML",
        "Sanctions lists: OFAC, CSV (sdn.csv, alt.csv, add.csv)",
        "Sanctions lists: OFAC, XML (sdn.xml)",
        "Sanctions lists: the files",
        "Sanctions lists: what is sent in",
    ),
    bad_input.DOORS: ("Every address", "Webhooks of the custodian"),
    bad_input.COMMANDS: (
        "bank_statement", "grant", "import_clients", "import_sanctions", "parallel_run", "replay", "run", "set_up",
    ),
}  # fmt: skip
# They take nothing, or numbers and names that the parser of arguments refuses by itself; other processes start them.
UNLISTED = {
    "bench", "borrowers", "check_invariants", "custodian", "dealers", "feed", "ledger_hash", "migrate", "prepare",
    "prove", "prove_kills", "set_off", "smoke",
}  # fmt: skip


def test_the_list_has_what_takes_input_and_nothing_else() -> None:
    for group, titles in LISTED.items():
        bad_input.complete(group, titles)


def test_every_command_is_listed_or_takes_nothing_to_be_wrong() -> None:
    ours = {name for name, app in get_commands().items() if app.split(".")[-1] in {"lending", "risk", "otc", "deploy"}}
    assert ours == {*LISTED[bad_input.COMMANDS], *UNLISTED}
