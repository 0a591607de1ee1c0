"""Webhook signatures: the published vector, and everything that must not pass."""

import pytest

from lending.engine import signatures
from lending.engine.signatures import UnableToVerify

# The example of the Standard Webhooks libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
ID, AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KEY = signatures.secret_of(SECRET)


def check(**changes: object) -> None:
    told = {"message_id": ID, "timestamp": str(AT), "signatures": SIGNED, "body": BODY, "now_s": AT + 10.0, **changes}
    signatures.verify([KEY], **told)  # type: ignore[arg-type]


def test_the_published_vector_holds() -> None:
    assert signatures.sign(KEY, ID, AT, BODY) == SIGNED
    check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": BODY + b" "}, "no signature fits"),
        ({"message_id": "msg_other"}, "no signature fits"),
        ({"timestamp": str(AT + 1)}, "no signature fits"),
        ({"signatures": SIGNED.replace("v1", "v2")}, "no signature fits"),
        ({"signatures": "v1"}, "no signature fits"),
        ({"signatures": "v1,ünicode"}, "no signature fits"),
        ({"signatures": ""}, "are needed"),
        ({"message_id": ""}, "are needed"),
        ({"timestamp": "yesterday"}, "whole seconds"),
        ({"timestamp": "²"}, "whole seconds"),
        ({"now_s": AT + 301.0}, "more than 300 seconds old"),
        ({"now_s": AT - 301.0}, "from the future"),
    ],
)
def test_what_was_changed_or_kept_for_later_does_not_pass(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UnableToVerify, match=message):
        check(**changes)


def test_a_secret_can_be_replaced_while_both_are_in_use() -> None:
    newer = signatures.secret_of("whsec_" + "QUFB" * 10)
    told = {"message_id": ID, "timestamp": str(AT), "body": BODY, "now_s": float(AT)}
    both = f"{signatures.sign(newer, ID, AT, BODY)} {SIGNED}"
    signatures.verify([newer], signatures=both, **told)  # type: ignore[arg-type]
    signatures.verify([newer, KEY], signatures=SIGNED, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64", "whsec_QUFB"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(UnableToVerify, match="a secret is whsec_ and the base64 of 24 to 64 bytes"):
        signatures.secret_of(text)
