"""
Signatures of webhooks: HMAC-SHA256 over id, timestamp and body, so that none of them can be changed or sent again.

Source: Standard Webhooks (https://www.standardwebhooks.com), symmetric signatures "v1".
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence

PREFIX = "whsec_"
VERSION = "v1"
TOLERANCE_S = 300
_SHORTEST, _LONGEST = 24, 64


class UnableToVerify(ValueError):
    """A message can not be trusted, or a secret is none; the message says why."""


def secret_of(text: str) -> bytes:
    """
    Return the key that a written secret stands for.

    Raises
    ------
    UnableToVerify
        If it is not whsec_ and the base64 of 24 to 64 bytes.
    """
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except NotBase64:
        key = b""
    if not text.startswith(PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise UnableToVerify(f"a secret is {PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} bytes")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: `v1,` and base64. `timestamp` is in seconds since 1970."""
    return f"{VERSION},{b64encode(_digest(key, message_id, str(timestamp), body)).decode()}"


def verify(
    keys: Sequence[bytes], *, message_id: str, timestamp: str, signatures: str, body: bytes, now_s: float
) -> None:
    """
    Check that a message was signed by one of some keys, and no longer ago or ahead than five minutes.

    Parameters
    ----------
    keys : bytes
        More than one while a secret is being replaced.
    signatures : str
        As sent: one or more of `version,base64`, with spaces between; versions that are not known are passed over.
    now_s : float
        Wall time, seconds since 1970.

    Raises
    ------
    UnableToVerify
        If a part is missing, it is too old or from the future, or no signature fits.
    """
    if not message_id or not timestamp or not signatures:
        raise UnableToVerify("webhook-id, webhook-timestamp and webhook-signature are needed")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise UnableToVerify("webhook-timestamp must be whole seconds since 1970")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise UnableToVerify(f"the message is more than {TOLERANCE_S} seconds old, or from the future")
    given = [part.partition(",") for part in signatures.split(" ")]
    for key in keys:
        wanted = b64encode(_digest(key, message_id, timestamp, body))
        if any(version == VERSION and hmac.compare_digest(wanted, said.encode()) for version, _, said in given):
            return
    raise UnableToVerify("no signature fits the message")


def _digest(key: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
    return hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
