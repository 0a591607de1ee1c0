"""Countries by their ISO 3166 code, and by the names under which sanctions lists write them."""

import re
import unicodedata
from collections.abc import Mapping

_CODES = """
AD Andorra; AE United Arab Emirates; AF Afghanistan; AG Antigua and Barbuda; AI Anguilla; AL Albania; AM Armenia;
AO Angola; AQ Antarctica; AR Argentina; AS American Samoa; AT Austria; AU Australia; AW Aruba; AX Åland Islands;
AZ Azerbaijan; BA Bosnia and Herzegovina; BB Barbados; BD Bangladesh; BE Belgium; BF Burkina Faso; BG Bulgaria;
BH Bahrain; BI Burundi; BJ Benin; BL Saint Barthélemy; BM Bermuda; BN Brunei; BO Bolivia; BQ Caribbean Netherlands;
BR Brazil; BS Bahamas; BT Bhutan; BV Bouvet Island; BW Botswana; BY Belarus; BZ Belize; CA Canada; CC Cocos Islands;
CD Democratic Republic of the Congo; CF Central African Republic; CG Republic of the Congo; CH Switzerland;
CI Côte d'Ivoire; CK Cook Islands; CL Chile; CM Cameroon; CN China; CO Colombia; CR Costa Rica; CU Cuba;
CV Cabo Verde; CW Curaçao; CX Christmas Island; CY Cyprus; CZ Czechia; DE Germany; DJ Djibouti; DK Denmark;
DM Dominica; DO Dominican Republic; DZ Algeria; EC Ecuador; EE Estonia; EG Egypt; EH Western Sahara; ER Eritrea;
ES Spain; ET Ethiopia; FI Finland; FJ Fiji; FK Falkland Islands; FM Micronesia; FO Faroe Islands; FR France; GA Gabon;
GB United Kingdom; GD Grenada; GE Georgia; GF French Guiana; GG Guernsey; GH Ghana; GI Gibraltar; GL Greenland;
GM Gambia; GN Guinea; GP Guadeloupe; GQ Equatorial Guinea; GR Greece; GS South Georgia; GT Guatemala; GU Guam;
GW Guinea-Bissau; GY Guyana; HK Hong Kong; HM Heard Island and McDonald Islands; HN Honduras; HR Croatia; HT Haiti;
HU Hungary; ID Indonesia; IE Ireland; IL Israel; IM Isle of Man; IN India; IO British Indian Ocean Territory; IQ Iraq;
IR Iran; IS Iceland; IT Italy; JE Jersey; JM Jamaica; JO Jordan; JP Japan; KE Kenya; KG Kyrgyzstan; KH Cambodia;
KI Kiribati; KM Comoros; KN Saint Kitts and Nevis; KP North Korea; KR South Korea; KW Kuwait; KY Cayman Islands;
KZ Kazakhstan; LA Laos; LB Lebanon; LC Saint Lucia; LI Liechtenstein; LK Sri Lanka; LR Liberia; LS Lesotho;
LT Lithuania; LU Luxembourg; LV Latvia; LY Libya; MA Morocco; MC Monaco; MD Moldova; ME Montenegro; MF Saint Martin;
MG Madagascar; MH Marshall Islands; MK North Macedonia; ML Mali; MM Myanmar; MN Mongolia; MO Macau;
MP Northern Mariana Islands; MQ Martinique; MR Mauritania; MS Montserrat; MT Malta; MU Mauritius; MV Maldives;
MW Malawi; MX Mexico; MY Malaysia; MZ Mozambique; NA Namibia; NC New Caledonia; NE Niger; NF Norfolk Island;
NG Nigeria; NI Nicaragua; NL Netherlands; NO Norway; NP Nepal; NR Nauru; NU Niue; NZ New Zealand; OM Oman; PA Panama;
PE Peru; PF French Polynesia; PG Papua New Guinea; PH Philippines; PK Pakistan; PL Poland;
PM Saint Pierre and Miquelon; PN Pitcairn Islands; PR Puerto Rico; PS Palestine; PT Portugal; PW Palau; PY Paraguay;
QA Qatar; RE Réunion; RO Romania; RS Serbia; RU Russia; RW Rwanda; SA Saudi Arabia; SB Solomon Islands; SC Seychelles;
SD Sudan; SE Sweden; SG Singapore; SH Saint Helena; SI Slovenia; SJ Svalbard and Jan Mayen; SK Slovakia;
SL Sierra Leone; SM San Marino; SN Senegal; SO Somalia; SR Suriname; SS South Sudan; ST Sao Tome and Principe;
SV El Salvador; SX Sint Maarten; SY Syria; SZ Eswatini; TC Turks and Caicos Islands; TD Chad;
TF French Southern Territories; TG Togo; TH Thailand; TJ Tajikistan; TK Tokelau; TL Timor-Leste; TM Turkmenistan;
TN Tunisia; TO Tonga; TR Turkey; TT Trinidad and Tobago; TV Tuvalu; TW Taiwan; TZ Tanzania; UA Ukraine; UG Uganda;
UM US Minor Outlying Islands; US United States; UY Uruguay; UZ Uzbekistan; VA Vatican City;
VC Saint Vincent and the Grenadines; VE Venezuela; VG British Virgin Islands; VI US Virgin Islands; VN Vietnam;
VU Vanuatu; WF Wallis and Futuna; WS Samoa; XK Kosovo; YE Yemen; YT Mayotte; ZA South Africa; ZM Zambia; ZW Zimbabwe
"""

# Other names of the same, as OFAC and the EU write them.
_ALSO = """
BA Bosnia; BN Brunei Darussalam; BQ Bonaire; CD Congo, Democratic Republic of the; CD DR Congo; CG Congo; CG Congo,
Republic of the; CI Cote d Ivoire; CI Ivory Coast; CN People's Republic of China; CV Cape Verde; CZ Czech Republic;
FK Falkland Islands (Malvinas); FM Micronesia, Federated States of; GB Great Britain; GB England; GB Scotland; GB
Wales; GB Northern Ireland; HK Hong Kong SAR; IR Iran (Islamic Republic of); IR Islamic Republic of Iran; KP Korea,
North; KP Democratic People's Republic of Korea; KR Korea, South; KR Republic of Korea; LA Lao People's Democratic
Republic; LY Libyan Arab Jamahiriya; MD Moldova, Republic of; MK Macedonia; MK Republic of North Macedonia; MM
Burma; MM Burma (Myanmar); MO Macao; PS West Bank; PS Gaza; PS Palestinian; PS Palestinian Territories; PS Occupied
Palestinian Territory; RU Russian Federation; RU Soviet Union; SY Syrian Arab Republic; SZ Swaziland; TL East Timor;
TR Türkiye; TR Turkiye; TW Taiwan, Province of China; TZ Tanzania, United Republic of; UA Region: Crimea; UA Crimea;
US United States of America; US USA; VA Holy See; VE Venezuela (Bolivarian Republic of); VG Virgin Islands, British;
VI Virgin Islands, U.S.; VN Viet Nam
"""


def _plain(name: str) -> str:
    """Return a name without accents, articles and punctuation."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    words = re.findall(r"[a-z]+", bare.casefold())
    return " ".join(word for word in words if word not in ("the", "of", "and"))


def _pairs(table: str) -> list[tuple[str, str]]:
    """Return (code, name) of each entry of a table."""
    found = []
    for entry in " ".join(table.split()).split("; "):
        code, _, name = entry.partition(" ")
        found.append((code, name))
    return found


NAMES: Mapping[str, str] = dict(_pairs(_CODES))
_BY_NAME: Mapping[str, str] = {_plain(name): code for code, name in (*_pairs(_CODES), *_pairs(_ALSO))}


def code_of(name: str) -> str | None:
    """Return the ISO code of a country by its code or by one of its names in English; None for what is none."""
    text = name.strip()
    if len(text) == 2 and text.upper() in NAMES:
        return text.upper()
    return _BY_NAME.get(_plain(text))
