import base64
import json
import re
from typing import Any, ClassVar

import pytest

from builders import NOON, an_identity
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import InvalidToken
from mintmark.tokens import Claims, access_token_claims, check_times

SECONDS = NOON // 1000


def claims(**changes: Any) -> bytes:
    arguments = {
        "resource": DEVELOPMENT_RESOURCE,
        "identity": an_identity(),
        "scopes": ("chat", "voip.join"),
        "issuer": "https://localhost:12443",
        "access_key": "p3",
        "issued_at_seconds": SECONDS,
        "expires_at_seconds": SECONDS + 3600,
        "token_id": bytes(range(16)),
        **changes,
    }
    return access_token_claims(**arguments)


def test_the_claims_of_acs_come_first_and_in_its_order_then_ours() -> None:
    expected = [
        *("skypeid", "scp", "csi", "exp", "rgn", "acsScope", "resourceId", "resourceLocation", "iat"),
        *("iss", "sub", "aud", "jti", "nbf", "gen", "akg"),
    ]
    of_teams_users = ["tid", "aad_iat", "aad_uti", "aad_appid"]

    assert expected == list(json.loads(claims()))
    assert expected == [name for name in Claims.__struct_fields__ if name not in of_teams_users]


def test_the_claims_say_what_acs_says() -> None:
    said = json.loads(claims())
    identity_id = an_identity().id

    assert identity_id.removeprefix("8:") == said["skypeid"]
    assert 1792 == said["scp"]
    assert "chat,voip.join" == said["acsScope"]
    assert (str(SECONDS), SECONDS, SECONDS, SECONDS + 3600) == (said["csi"], said["iat"], said["nbf"], said["exp"])
    assert (identity_id, DEVELOPMENT_RESOURCE.id) == (said["sub"], said["aud"])
    assert ("https://localhost:12443", 0, "p3") == (said["iss"], said["gen"], said["akg"])


def test_no_access_key_no_claim() -> None:
    assert "akg" not in json.loads(claims(access_key=None))


def test_clients_that_read_with_plain_base64_and_a_pattern_can() -> None:
    """Python decodes with plain base64 and ASCII, Java finds the expiry by a pattern (contract section 4)."""
    encoded = base64.urlsafe_b64encode(claims()).rstrip(b"=").decode()

    assert not set(encoded) & {"-", "_"}
    assert claims().isascii()
    assert re.search(rb'"exp":\d+[,}]', claims())


class TestTimes:
    CLAIMS: ClassVar[dict[str, object]] = {"nbf": SECONDS, "exp": SECONDS + 3600}

    @pytest.mark.parametrize("now", [NOON, NOON + 1, NOON + 3_599_999])
    def test_a_token_holds_within_its_time(self, now: int) -> None:
        check_times(self.CLAIMS, now)

    @pytest.mark.parametrize(
        ("now", "words"), [(NOON - 1, "not valid yet"), (NOON + 3_600_000, "has expired"), (NOON * 2, "has expired")]
    )
    def test_and_not_a_millisecond_outside(self, now: int, words: str) -> None:
        with pytest.raises(InvalidToken, match=words):
            check_times(self.CLAIMS, now)

    @pytest.mark.parametrize("claims", [{}, {"nbf": SECONDS}, {"exp": "1", "nbf": 0}, {"exp": 2.5, "nbf": 0}])
    def test_a_token_without_times_does_not_hold(self, claims: dict[str, object]) -> None:
        with pytest.raises(InvalidToken):
            check_times(claims, NOON)
