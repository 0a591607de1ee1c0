"""Addresses from extended public keys: published vectors, and what is refused."""

import csv
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lending.engine import addresses
from tests.recordings import recording

# BIP-84's own example account, and BIP-32's first test vector at m/0'.
ZPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
XPUB = "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def raw(key: str) -> bytes:
    """Return the 78 bytes of a key."""
    number = 0
    for letter in key:
        number = number * 58 + ALPHABET.index(letter)
    return number.to_bytes(82, "big")[:-4]


def written(payload: bytes) -> str:
    """Return a key with a checksum that fits, whatever it holds."""
    check = hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload + check, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return text


def as_xpub(zpub: str) -> str:
    return written(bytes.fromhex("0488b21e") + raw(zpub)[4:])


@pytest.mark.recordings
def test_bip_32_vectors():
    """Every public step of the vectors; what is marked with ' needs the private key."""
    with (recording("oracles") / "address" / "bip32_vectors.csv").open() as file:
        keys = {(row["seed_hex"], row["path"]): row["xpub"] for row in csv.DictReader(file)}
    steps = 0
    for (seed, path), expected in keys.items():
        parent, _, step = path.rpartition("/")
        if step.isdigit():
            assert addresses.child(keys[seed, parent], int(step)) == expected
            steps += 1
    assert steps == 6


@pytest.mark.recordings
def test_bip_84_vectors():
    with (recording("oracles") / "address" / "bip84_vectors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        *_, change, index = row["path"].split("/")
        key = row["account_zpub"]
        if change == "0":
            assert addresses.derive(xpub=key, chain="bitcoin", index=int(index)) == row["address"]
            assert addresses.derive(as_xpub(key), "bitcoin", int(index)) == row["address"]
        else:  # change is not for deposits: it differs, as it must
            assert addresses.derive(key, "bitcoin", int(index)) != row["address"]


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        # BIP-173, BIP-350, and the examples of base58 on bitcoin's wiki
        ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"),
        ("bitcoin", "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y"),
        ("bitcoin", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
        ("bitcoin", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("bitcoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"),
        # EIP-55
        ("ethereum", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
        ("ethereum", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"),
        ("wire", "GB29 NWBK"),  # nothing is known of it
    ],
)
def test_addresses_of_the_standards(chain: str, address: str):
    assert addresses.problem(address, chain) == ""
    if chain != "wire":
        for place in range(4, len(address)):
            other = "2" if address[place] != "2" else "3"
            assert addresses.problem(address[:place] + other + address[place + 1 :], chain), place


@pytest.mark.parametrize(
    ("chain", "address", "says"),
    [
        ("bitcoin", "", "begins with bc1, 1 or 3"),
        ("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "begins with bc1, 1 or 3"),
        ("bitcoin", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "begins with bc1, 1 or 3"),
        ("bitcoin", "bc1", "no address on bitcoin is written like that"),
        ("bitcoin", "bc1qW508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "no address on bitcoin is written like that"),
        ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3tb", "no address on bitcoin is written like that"),
        # of BIP-350's invalid ones: the checksum of another version, and lengths that no address has
        ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "checksum does not fit"),
        (
            "bitcoin",
            "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
            "no address on bitcoin is written",
        ),
        ("bitcoin", "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", "its length fits no address"),
        ("bitcoin", "bc1pw5dgrnzv", "no address on bitcoin is written like that"),
        ("bitcoin", "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "its length fits no address"),
        ("bitcoin", "bc1gmk9yu", "no address on bitcoin is written like that"),
        ("bitcoin", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN", "checksum does not fit"),
        ("bitcoin", "11BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "checksum does not fit"),
        ("bitcoin", "3" * 60, "checksum does not fit"),
        ("ethereum", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "copy it with its capitals"),
        ("ethereum", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x and 40 hexadecimal digits"),
        ("ethereum", "0x-of-harbourside", "0x and 40 hexadecimal digits"),
    ],
)
def test_what_is_no_address_is_said(chain: str, address: str, says: str):
    assert says in addresses.problem(address, chain)


def test_bip_84_example():
    assert addresses.derive(ZPUB, "bitcoin", 0) == "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"
    assert addresses.derive(ZPUB, "bitcoin", 1) == "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"


@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_eip_55_vectors(address):
    assert addresses.checksummed(address.lower()) == address
    assert addresses.checksummed("0x" + address[2:].upper()) == address


def test_an_ethereum_address_of_a_known_key():
    """
    The phrase "test test test test test test test test test test test junk" is every developer's first wallet.

    Its account m/44'/60'/0' and the first two addresses are those that its tools print.
    """
    account = (
        "xpub6Ce9NcJvTk36xtLSrJLZqE7wtgA5deCeYs7rSQtreh4cj6ByPtrg9sD7"
        "V2FNFLPnf8heNP3FGkeV9qwfzvZNSd54JoNXVsXFYSYwHsnJxqP"
    )
    found = [addresses.derive(account, "ethereum", index) for index in (0, 1)]
    assert found == ["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]


@given(st.integers(0, addresses.HARDENED - 1), st.integers(0, addresses.HARDENED - 1))
def test_each_index_has_one_address_of_its_own(first, second):
    for chain, shape in (("bitcoin", "bc1q"), ("ethereum", "0x")):
        found = addresses.derive(XPUB, chain, first)
        assert found.startswith(shape)
        assert (addresses.derive(XPUB, chain, second) == found) == (first == second)


KEY = raw(XPUB)


@pytest.mark.parametrize(
    ("xpub", "chain", "index", "message"),
    [
        (XPUB, "solana", 0, "no addresses are derived on 'solana'; only on bitcoin, ethereum"),
        (ZPUB, "ethereum", 0, "a zpub is made for bitcoin's addresses; ethereum needs the xpub of its own account"),
        (XPUB, "bitcoin", -1, "-1 is not an index that a public key can derive"),
        (XPUB, "bitcoin", 2**31, "2147483648 is not an index"),
        (XPUB, "bitcoin", "0", "'0' is not an index"),
        (XPUB, "bitcoin", True, "True is not an index"),
        ("", "bitcoin", 0, "written in letters and digits"),
        (None, "bitcoin", 0, "written in letters and digits"),
        (XPUB[:-1] + "l", "bitcoin", 0, "written in letters and digits, without 0, O, I and l"),
        (XPUB + " ", "bitcoin", 0, "written in letters and digits"),
        (XPUB[:-1] + "x", "bitcoin", 0, "mistyped or cut short: its checksum does not fit"),
        (XPUB[:50], "bitcoin", 0, "mistyped or cut short"),
        (written(KEY[:-1]), "bitcoin", 0, "an extended public key has 78 bytes, this has 77"),
        (written(bytes.fromhex("0488ade4") + KEY[4:]), "bitcoin", 0, "this is a private key: it must never be shown"),
        (written(bytes.fromhex("04b2430c") + KEY[4:]), "bitcoin", 0, "this is a private key"),
        (written(bytes.fromhex("043587cf") + KEY[4:]), "bitcoin", 0, "a key tpub is for other addresses or another"),
        (written(bytes.fromhex("01020304") + KEY[4:]), "bitcoin", 0, "a key of version 01020304 is for other"),
        (written(KEY[:4] + b"\0" + KEY[5:]), "bitcoin", 0, "a key at depth 0 can not have a parent"),
        (written(KEY[:4] + b"\xff" + KEY[5:]), "bitcoin", 0, "a key at depth 255 has no children"),
        (written(KEY[:45] + b"\4" + KEY[46:]), "bitcoin", 0, "the key holds no compressed public point"),
        (written(KEY[:46] + bytes(31) + b"\5"), "bitcoin", 0, "the key's point does not lie on the curve"),
        (written(KEY[:46] + b"\xff" * 32), "bitcoin", 0, "the key's point does not lie on the curve"),
    ],
)
def test_what_no_address_is_derived_from(xpub, chain, index, message):
    with pytest.raises(addresses.UnableToDerive, match=message):
        addresses.derive(xpub, chain, index)


@pytest.mark.parametrize(
    "address", ["", "0x", "52908400098527886E0F7030069857D2E4169EE7", "0x" + "g" * 40, "0x" + "1" * 41]
)
def test_what_is_no_ethereum_address(address):
    with pytest.raises(addresses.UnableToDerive, match="is not an ethereum address: 0x and 40 hexadecimal digits"):
        addresses.checksummed(address)
