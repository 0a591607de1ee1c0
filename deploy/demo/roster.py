"""The demo desk's clients: invented people and firms, where they are, and what kind of borrower each is."""

from dataclasses import dataclass
from typing import Literal

from lending.models import Client

Trade = Literal["individual", "family office", "fund", "miner", "market maker", "treasury"]

_ZONES = {
    "AE": "Asia/Dubai",
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "CH": "Europe/Zurich",
    "DE": "Europe/Berlin",
    "FR": "Europe/Paris",
    "GB": "Europe/London",
    "HK": "Asia/Hong_Kong",
    "IE": "Europe/Dublin",
    "IS": "Atlantic/Reykjavik",
    "JP": "Asia/Tokyo",
    "KZ": "Asia/Almaty",
    "LU": "Europe/Luxembourg",
    "NL": "Europe/Amsterdam",
    "NO": "Europe/Oslo",
    "PT": "Europe/Lisbon",
    "SG": "Asia/Singapore",
    "US": "America/New_York",
    "ZA": "Africa/Johannesburg",
}

_REGIONS = {
    Client.Geography.EUROPE: ("CH", "DE", "FR", "IE", "IS", "LU", "NL", "NO", "PT"),
    Client.Geography.UNITED_KINGDOM: ("GB",),
    Client.Geography.NORTH_AMERICA: ("CA", "US"),
    Client.Geography.LATIN_AMERICA: ("BR",),
    Client.Geography.MIDDLE_EAST: ("AE",),
    Client.Geography.AFRICA: ("ZA",),
    Client.Geography.ASIA: ("HK", "JP", "KZ", "SG"),
    Client.Geography.OCEANIA: ("AU",),
}
GEOGRAPHIES = {country: region for region, countries in _REGIONS.items() for country in countries}


@dataclass(frozen=True)
class Entrant:
    """One client as the desk took it on, with the person who signs for it."""

    name: str
    trade: Trade
    country: str
    contact: str

    @property
    def zone(self) -> str:
        """Return the IANA name of the client's time zone."""
        return _ZONES[self.country]

    @property
    def kind(self) -> Client.Kind:
        """Return whether the client is a person or an entity."""
        return Client.Kind.INDIVIDUAL if self.trade == "individual" else Client.Kind.ENTITY


ROSTER: tuple[Entrant, ...] = (
    Entrant("Aldgate Family Office", "family office", "GB", "Alice Thornbury"),
    Entrant("Quayside Holdings", "treasury", "GB", "Charlie Okonkwo"),
    Entrant("Larkspur Digital Assets Fund", "fund", "US", "Marcus Feld"),
    Entrant("Fjordkraft Hashing", "miner", "NO", "Ingrid Solheim"),
    Entrant("Ines Calheiros", "individual", "PT", "Ines Calheiros"),
    Entrant("Tidewater Markets", "market maker", "SG", "Wei Jun Tan"),
    Entrant("Bramble Capital Partners", "fund", "GB", "Oliver Haddon"),
    Entrant("Dr Matthias Kehl", "individual", "CH", "Matthias Kehl"),
    Entrant("Zugersee Vermoegen", "family office", "CH", "Regula Amstad"),
    Entrant("Prairie Wind Compute", "miner", "US", "Dale Hutchins"),
    Entrant("Harrow & Isla Trading", "market maker", "GB", "Fiona Craig"),
    Entrant("Chidi Balogun", "individual", "ZA", "Chidi Balogun"),
    Entrant("Northlight Quantitative", "fund", "US", "Priya Raman"),
    Entrant("Galley Treasury Services", "treasury", "IE", "Aoife Brannigan"),
    Entrant("Marchetti Family Office", "family office", "LU", "Paola Marchetti"),
    Entrant("Steppe Power Mining", "miner", "KZ", "Dana Iskakova"),
    Entrant("Yuki Tanabe", "individual", "JP", "Yuki Tanabe"),
    Entrant("Kestrel Arbitrage", "market maker", "HK", "Raymond Lo"),
    Entrant("Ember Ventures", "fund", "NL", "Sanne de Wit"),
    Entrant("Sophie Lacombe", "individual", "FR", "Sophie Lacombe"),
    Entrant("Calder Valley Trust", "family office", "GB", "Hugh Pemberton"),
    Entrant("Reykjanes Datacentres", "miner", "IS", "Einar Jonasson"),
    Entrant("Dunmore Macro Fund", "fund", "IE", "Conor Dillane"),
    Entrant("Solstice Liquidity", "market maker", "AE", "Layla Haddad"),
    Entrant("Beatriz Nogueira", "individual", "BR", "Beatriz Nogueira"),
    Entrant("Juniper Payments Treasury", "treasury", "CA", "Amelie Gagnon"),
    Entrant("Peregrine Multi-Strategy", "fund", "US", "Jonah Weiss"),
    Entrant("Tom Ashworth", "individual", "GB", "Tom Ashworth"),
    Entrant("Seefeld Beteiligungen", "family office", "DE", "Katrin Vogel"),
    Entrant("Copperbelt Hash", "miner", "ZA", "Thabo Nkosi"),
    Entrant("Lantern Street Capital", "fund", "HK", "Grace Yip"),
    Entrant("Emil Brandvold", "individual", "NO", "Emil Brandvold"),
    Entrant("Meltemi Trading", "market maker", "CH", "Nikos Andreadis"),
    Entrant("Rosewater Estate Office", "family office", "AE", "Omar Farouk"),
    Entrant("Great Basin Digital", "miner", "US", "Carla Mendez"),
    Entrant("Hannah Lindgren", "individual", "DE", "Hannah Lindgren"),
    Entrant("Fenwick Relative Value", "fund", "GB", "Imogen Fell"),
    Entrant("Bluegum Treasury", "treasury", "AU", "Liam Prowse"),
    Entrant("Arjun Mehta", "individual", "SG", "Arjun Mehta"),
    Entrant("Ponente Market Making", "market maker", "PT", "Rui Salgado"),
    Entrant("Hoffnung & Soehne", "family office", "DE", "Jonas Hoffnung"),
    Entrant("St Lawrence Mining", "miner", "CA", "Luc Bergeron"),
    Entrant("Cobalt Row Fund", "fund", "LU", "Elena Petrescu"),
    Entrant("Naledi Mokoena", "individual", "ZA", "Naledi Mokoena"),
    Entrant("Windrush Volatility", "fund", "US", "Caleb Marsh"),
    Entrant("Kowloon Bridge Trading", "market maker", "HK", "Vivian Cheung"),
    Entrant("Oakhollow Family Office", "family office", "US", "Ruth Delaney"),
    Entrant("Pieter van Aalst", "individual", "NL", "Pieter van Aalst"),
    Entrant("Cascade Immersion Mining", "miner", "US", "Trent Vogler"),
    Entrant("Amber Gate Ventures", "fund", "SG", "Hui Min Koh"),
    Entrant("Claire Whitcombe", "individual", "GB", "Claire Whitcombe"),
    Entrant("Sable Point Treasury", "treasury", "US", "Dominic Reyes"),
    Entrant("Vega Cross-Exchange", "market maker", "AE", "Samir Khoury"),
    Entrant("Lac Leman Patrimoine", "family office", "CH", "Etienne Favre"),
    Entrant("Mateus Oliveira", "individual", "BR", "Mateus Oliveira"),
    Entrant("Thornfield Credit Fund", "fund", "GB", "Rupert Gale"),
    Entrant("Hekla Energy Compute", "miner", "IS", "Sigrun Palsdottir"),
    Entrant("Kaito Mori", "individual", "JP", "Kaito Mori"),
    Entrant("Halcyon Basis Fund", "fund", "IE", "Niamh Corrigan"),
    Entrant("Southern Cross Holdings", "treasury", "AU", "Georgia Blunt"),
)


def entrant(number: int) -> Entrant:
    """Return the client of a number: those of the roster first; a larger desk meets their sister firms."""
    first = ROSTER[number % len(ROSTER)]
    again = number // len(ROSTER) + 1
    return first if again == 1 else Entrant(f"{first.name} {again}", first.trade, first.country, first.contact)
