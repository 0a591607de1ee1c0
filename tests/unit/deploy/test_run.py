"""What a run reads from its user, and whom the killing script kills."""

from collections import Counter
from pathlib import Path

import pytest

from deploy.run import kills, services, web
from deploy.run.options import Options, UnableToReadOptions, UnableToRun
from tests import bad_input


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RESET", "PORT", "SCENARIO", "START", "SPEED", "DATA_DIR", "PLIMSOLL_SCENARIO", "REPLAY_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_nothing_said_means_may_2021_on_a_free_port(bare):
    options = Options.of_environment()
    assert (options.scenario, options.port, options.reset, options.speed) == ("may-2021", None, False, None)
    assert options.data.name == ".data"
    assert options.start == "2021-05-19T11:00"


def test_a_recording_starts_where_it_starts(bare):
    bare.setenv("REPLAY_DIR", "/recordings")
    assert Options.of_environment().start == ""


def test_what_is_said_is_taken(bare, tmp_path):
    said = {"RESET": "1", "PORT": "8123", "SCENARIO": "calm", "SPEED": "2.5", "DATA_DIR": str(tmp_path), "START": "x"}
    for name, value in said.items():
        bare.setenv(name, value)
    options = Options.of_environment()
    assert options == Options(Path(tmp_path), reset=True, port=8123, scenario="calm", start="x", speed=2.5)
    assert options.environment() == {"PLIMSOLL_SCENARIO": "calm", "PLIMSOLL_SPEED": "2.5"}


@pytest.mark.parametrize(("text", "reset"), [("", False), ("0", False), ("no", False), ("1", True), ("yes", True)])
def test_reset_is_asked_for_in_words(bare, text, reset):
    bare.setenv("RESET", text)
    assert Options.of_environment().reset is reset


def test_nonsense_is_refused_in_words(bare):
    read = {}
    for said in ("SPEED=fast", "SPEED=0", "SPEED=-1", "SPEED=nan", "SPEED=inf", "PORT=web", "PORT=0", "PORT=70000"):
        name, _, text = said.partition("=")
        with bare.context() as patch:
            patch.setenv(name, text)
            with pytest.raises(UnableToReadOptions) as refusal:
                Options.of_environment()
        read[said] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "run", read)


def test_a_port_is_ours_from_the_choice_on(bare):
    with services.listen() as first, services.listen() as second:
        ports = first.getsockname()[1], second.getsockname()[1]
        assert len(set(ports)) == 2
        with pytest.raises(UnableToRun, match=f"port {ports[0]} is taken"):
            services.listen(ports[0])
    with services.listen(ports[0]) as again:
        assert again.getsockname()[1] == ports[0]


@pytest.mark.parametrize("said", [None, "", "0", "no"])
def test_nobody_may_say_which_address_a_visitor_has(bare, said):
    """Otherwise a new X-Forwarded-For for every guess would evade the lock-out."""
    bare.delenv("TRUST_PROXY", raising=False)
    if said is not None:
        bare.setenv("TRUST_PROXY", said)
    bare.setenv("FORWARDED_ALLOW_IPS", "*")
    assert web.proxy() == {"proxy_headers": False}


@pytest.mark.parametrize(("named", "trusted"), [(None, "127.0.0.1"), ("10.0.0.7,10.0.0.8", "10.0.0.7,10.0.0.8")])
def test_a_trusted_proxy_may_and_is_named(bare, named, trusted):
    bare.setenv("TRUST_PROXY", "1")
    bare.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if named:
        bare.setenv("FORWARDED_ALLOW_IPS", named)
    assert web.proxy() == {"proxy_headers": True, "forwarded_allow_ips": trusted}


def test_every_class_of_process_is_killed_at_least_once():
    victims = Counter(kills.plan(7, 20))
    assert victims.total() == 20
    assert set(victims) == {service.name for service in services.services(0)} | {
        "supervisor",
        "postgres",
        "valkey",
        "keeper",
    }


def test_the_seed_decides_who_dies_when():
    assert kills.plan(7, 20) == kills.plan(7, 20)
    assert kills.plan(7, 20) != kills.plan(8, 20)
