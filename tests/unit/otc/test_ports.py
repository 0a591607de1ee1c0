"""Only dealers that the core may rely on are dealt with."""

from decimal import Decimal

import pytest

from otc import ports
from tests.factories.dealers import FlatMarket, ScriptedDealer, simulated


def test_a_dealer_without_client_made_ids_is_refused():
    with (
        pytest.raises(ports.UnableToTrust, match="phone"),
        ports.using({"phone": ScriptedDealer("phone", client_made_ids=False)}),
    ):
        pass


def test_a_replay_brings_its_own_dealers(settings):
    settings.OTC_DEALERS = []
    ports._from_settings.cache_clear()
    with ports.using({"harbour": simulated(FlatMarket({"BTC": Decimal(1)}))}):
        assert list(ports.dealers()) == ["harbour"]
    assert ports.dealers() == {}
    ports._from_settings.cache_clear()


def test_settings_name_the_dealers():
    ports._from_settings.cache_clear()
    assert list(ports.dealers()) == ["harbour", "meridian", "northgate"]
    ports._from_settings.cache_clear()
