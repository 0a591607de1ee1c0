"""
Deposit addresses from an extended public key: whoever holds the key's private side can spend, and we can only watch.

Sources: BIP-32 (public derivation), BIP-84, BIP-173 and BIP-350 (bitcoin's segwit addresses), EIP-55 (ethereum's).
"""

import hmac
from dataclasses import dataclass, replace
from hashlib import sha256

from Crypto.Hash import RIPEMD160, keccak  # nosec B413  not the dead PyCrypto but pycryptodome, which took over its name
from Crypto.PublicKey import ECC  # nosec B413  not the dead PyCrypto but pycryptodome, which took over its name

CHAINS = ("bitcoin", "ethereum")
HARDENED = 2**31

_CURVE = "secp256k1"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_PREFIX = [ord(c) >> 5 for c in "bc"] + [0] + [ord(c) & 31 for c in "bc"]
_BECH32M = 0x2BC830A3  # BIP-350: of every version but the first
_BASE58_LENGTH = 25  # of a version, a hash and a checksum
_MISTYPED = "it is mistyped or cut short: its checksum does not fit"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# SLIP-132: the version says for which addresses a wallet made the key.
_USABLE = {"0488b21e": CHAINS, "04b24746": ("bitcoin",)}  # xpub, zpub
_OTHERS = {"049d7cb2": "ypub", "0295b43f": "Ypub", "02aa7ed3": "Zpub", "043587cf": "tpub", "044a5262": "upub",
           "045f1cf6": "vpub", "024289ef": "Upub", "02575483": "Vpub"}  # fmt: skip
_PRIVATE = ("0488ade4", "049d7878", "04b2430c", "0295b005", "02aa7a99", "04358394", "044a4e28", "045f18bc")
_LENGTH = 78


class UnableToDerive(ValueError):
    """No address can be derived from this; the message says why."""


@dataclass(frozen=True, slots=True)
class _Key:
    version: bytes
    depth: int
    parent: bytes
    index: int
    chain_code: bytes
    point: ECC.EccPoint


def derive(xpub: str, chain: str, index: int) -> str:
    """
    Return the deposit address at an index below an account's extended public key: that of its child 0/index.

    Parameters
    ----------
    xpub : str
        The account's key: xpub for either chain, zpub for bitcoin. For bitcoin that is m/84'/0'/account', for ethereum
        m/44'/60'/account'.
    chain : str
        One of CHAINS. Tokens on ethereum use its addresses.
    index : int
        In [0, 2^31).

    Returns
    -------
    address : str, bech32 (bc1q...) for bitcoin, with the EIP-55 checksum for ethereum.

    Raises
    ------
    UnableToDerive
        If the chain is unknown, the key is private, damaged, or made for other addresses, or the index is out of range.
    """
    if chain not in CHAINS:
        raise UnableToDerive(f"no addresses are derived on {chain!r}; only on {', '.join(CHAINS)}")
    account = _read(xpub)
    if chain not in _USABLE[account.version.hex()]:
        raise UnableToDerive(f"a zpub is made for bitcoin's addresses; {chain} needs the xpub of its own account")
    point = _child(_child(account, 0), index).point
    if chain == "bitcoin":
        return _segwit(RIPEMD160.new(sha256(_sec(point)).digest()).digest())
    both = int(point.x).to_bytes(32, "big") + int(point.y).to_bytes(32, "big")
    return checksummed("0x" + keccak.new(digest_bits=256, data=both).hexdigest()[-40:])


def child(xpub: str, index: int) -> str:
    """Return the extended public key of a child of an extended public key; UnableToDerive as `derive` says."""
    return _written(_child(_read(xpub), index))


def checksummed(address: str) -> str:
    """
    Return an ethereum address in the mixed case of EIP-55, whatever case it came in.

    Raises
    ------
    UnableToDerive
        If it is not 0x and 40 hexadecimal digits.
    """
    digits = address[2:].lower()
    if address[:2] != "0x" or len(digits) != 40 or not set(digits) <= set("0123456789abcdef"):
        raise UnableToDerive(f"{address!r} is not an ethereum address: 0x and 40 hexadecimal digits")
    digest = keccak.new(digest_bits=256, data=digits.encode()).hexdigest()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(digits, digest, strict=False))


def kept(address: str) -> str:
    """Return how an address is written where it is kept: a segwit one, which has two spellings, in small letters."""
    return address.lower() if address.startswith("BC1") else address


def problem(address: str, chain: str) -> str:
    """
    Return what is wrong with an address on a chain; "" where nothing is, or the chain is none whose addresses we know.

    Bitcoin: segwit of any version (BIP-173, BIP-350), and base58 of versions 0 and 5, on the main network. Ethereum:
    with the checksum of EIP-55; without one a slip would not be seen.
    """
    if chain == "bitcoin":
        return _segwit_problem(address) if address[:3].lower() == "bc1" else _base58_problem(address)
    if chain != "ethereum":
        return ""
    try:
        right = checksummed(address)
    except UnableToDerive as error:
        return str(error)
    return "" if address == right else "its checksum does not fit: copy it with its capitals, as the wallet shows it"


def _segwit_problem(address: str) -> str:
    text = address.lower()
    values = [_BECH32.find(letter) for letter in text[3:]]
    if address not in (text, address.upper()) or -1 in values or not 14 <= len(text) <= 90:
        return "no address on bitcoin is written like that: bc1, and letters and digits without 1, b, i and o"
    version, program = values[0], values[1:-6]
    if _polymod([*_BECH32_PREFIX, *values]) != (_BECH32M if version else 1):
        return _MISTYPED
    size, left = divmod(5 * len(program), 8)
    whole = left < 5 and not (program[-1] if program else 0) & ((1 << left) - 1)
    sizes = range(2, 41) if version else (20, 32)
    return "" if version <= 16 and whole and size in sizes else "its length fits no address on bitcoin"


def _base58_problem(address: str) -> str:
    if not address[:1] or address[0] not in "13" or not set(address) <= set(_BASE58):
        return "an address on bitcoin begins with bc1, 1 or 3"
    number = 0
    for letter in address:
        number = number * 58 + _BASE58.index(letter)
    if number.bit_length() > 8 * _BASE58_LENGTH:
        return _MISTYPED
    raw = number.to_bytes(_BASE58_LENGTH, "big")
    zeros = len(raw) - len(raw.lstrip(b"\0")), len(address) - len(address.lstrip("1"))
    fits = raw[0] == {"1": 0, "3": 5}[address[0]] and zeros[0] == zeros[1] and _checksum(raw[:-4]) == raw[-4:]
    return "" if fits else _MISTYPED


def _child(parent: _Key, index: int) -> _Key:
    """BIP-32's CKDpub: the child's point is the parent's and as many generators as the left half of a hash says."""
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < HARDENED:
        raise UnableToDerive(f"{index!r} is not an index that a public key can derive: a whole number below 2^31")
    if parent.depth == 255:
        raise UnableToDerive("a key at depth 255 has no children")
    data = _sec(parent.point) + index.to_bytes(4, "big")
    digest = hmac.digest(parent.chain_code, data, "sha512")
    tweak = int.from_bytes(digest[:32], "big")
    if tweak >= _ORDER:
        raise UnableToDerive(f"there is no key at index {index}; use the next one")  # one in 2^127
    point = ECC.construct(curve=_CURVE, d=tweak).pointQ + parent.point if tweak else parent.point
    if point.is_point_at_infinity():
        raise UnableToDerive(f"there is no key at index {index}; use the next one")
    mark = RIPEMD160.new(sha256(_sec(parent.point)).digest()).digest()[:4]
    return replace(parent, depth=parent.depth + 1, parent=mark, index=index, chain_code=digest[32:], point=point)


def _read(xpub: str) -> _Key:
    raw = _unbase58(xpub)
    if len(raw) != _LENGTH:
        raise UnableToDerive(f"an extended public key has {_LENGTH} bytes, this has {len(raw)}")
    version, depth, parent, number, chain_code, sec = raw[:4], raw[4], raw[5:9], raw[9:13], raw[13:45], raw[45:]
    if version.hex() in _PRIVATE:
        raise UnableToDerive("this is a private key: it must never be shown to anybody; move what it holds")
    if version.hex() not in _USABLE:
        name = _OTHERS.get(version.hex(), f"of version {version.hex()}")
        raise UnableToDerive(f"a key {name} is for other addresses or another network; give an xpub or a zpub")
    if depth == 0 and (any(parent) or any(number)):
        raise UnableToDerive("a key at depth 0 can not have a parent")
    if sec[0] not in (2, 3):
        raise UnableToDerive("the key holds no compressed public point")
    try:
        point = ECC.import_key(sec, curve_name=_CURVE).pointQ
    except ValueError:
        raise UnableToDerive("the key's point does not lie on the curve") from None
    return _Key(version, depth, parent, int.from_bytes(number, "big"), chain_code, point)


def _written(key: _Key) -> str:
    head = key.version + bytes([key.depth]) + key.parent + key.index.to_bytes(4, "big")
    return _base58(head + key.chain_code + _sec(key.point))


def _sec(point: ECC.EccPoint) -> bytes:
    """Return a point as SEC 1 compresses it: the parity of y, and x."""
    return bytes([2 + int(point.y) % 2]) + int(point.x).to_bytes(32, "big")


def _checksum(payload: bytes) -> bytes:
    return sha256(sha256(payload).digest()).digest()[:4]


def _base58(payload: bytes) -> str:
    number, digits = int.from_bytes(payload + _checksum(payload), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return digits  # the version's first byte is never 0, so no leading zeros are lost


def _unbase58(text: str) -> bytes:
    if not isinstance(text, str) or not text or not set(text) <= set(_BASE58):
        raise UnableToDerive("an extended public key is written in letters and digits, without 0, O, I and l")
    number = 0
    for letter in text:
        number = number * 58 + _BASE58.index(letter)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) < 4 or _checksum(raw[:-4]) != raw[-4:]:
        raise UnableToDerive("the key is mistyped or cut short: its checksum does not fit")
    return raw[:-4]


def _segwit(program: bytes) -> str:
    """Return the bech32 address of a version 0 witness program on bitcoin's main network (BIP-173)."""
    bits = "".join(f"{byte:08b}" for byte in program)
    data = [0] + [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]  # 20 bytes are 32 groups of five bits
    check = _polymod(_BECH32_PREFIX + data + [0] * 6) ^ 1
    data += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return "bc1" + "".join(_BECH32[value] for value in data)


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    return check
