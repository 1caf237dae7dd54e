"""Whose token is exchanged: the texts and their order are those that were recorded of ACS."""

from typing import Any

import pytest

from mintmark.errors import InvalidRequest
from mintmark.teams import TeamsExchange, check_exchange

APP, USER = "aaaaaaaa-0000-4000-8000-00000000000A", "bbbbbbbb-0000-4000-8000-00000000000B"
OTHER = "cccccccc-0000-4000-8000-00000000000c"
CLAIMS = {"appid": APP.lower(), "oid": USER.lower()}
APP_MISSING = ("AppId: The AppId field is required.", "AppId")
USER_MISSING = ("UserId: The UserId field is required.", "UserId")
APP_MALFORMED = ("Provided AppId has invalid format.", "appId")
USER_MALFORMED = ("Provided UserId has invalid format.", "userId")
APP_OTHER = ("AAD application is not the expected one.", "appId")
USER_OTHER = ("Provided AAD token issued for unexpected user.", "userId")


@pytest.mark.parametrize("claims", [CLAIMS, {"azp": APP, "oid": USER}, {"appid": APP.upper(), "oid": USER.upper()}])
@pytest.mark.parametrize("change", [str.lower, str.upper, str])
def test_application_and_user_of_the_token_fit_in_any_case(claims: dict[str, Any], change: Any) -> None:
    check_exchange(TeamsExchange("", change(APP), change(USER)), claims)


@pytest.mark.parametrize(
    ("app_id", "user_id", "refusal"),
    [
        ("", USER, APP_MISSING),
        ("", "", APP_MISSING),
        (APP, "", USER_MISSING),
        ("x", "", USER_MISSING),
        ("x", USER, APP_MALFORMED),
        ("x", "x", APP_MALFORMED),
        (APP, "x", USER_MALFORMED),
        (OTHER, "x", USER_MALFORMED),
        (APP + "\n", USER, APP_MALFORMED),
        (" " + APP, USER, APP_MALFORMED),
        ("{" + APP + "}", USER, APP_MALFORMED),
        (APP.replace("-", ""), USER, APP_MALFORMED),
        (APP.replace("0", "\u0660"), USER, APP_MALFORMED),
        (OTHER, USER, APP_OTHER),
        (OTHER, OTHER, APP_OTHER),
        (USER, APP, APP_OTHER),
        (APP, OTHER, USER_OTHER),
    ],
)
def test_what_does_not_fit_is_named_the_application_first(app_id: str, user_id: str, refusal: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_exchange(TeamsExchange("", app_id, user_id), CLAIMS)

    assert refusal == (refused.value.message, refused.value.target)


@pytest.mark.parametrize("name", ["appid", "oid"])
@pytest.mark.parametrize("value", [None, 1, [], "none", ""])
def test_a_token_that_does_not_say_it_fits_nobody(name: str, value: object) -> None:
    for claims in ({**CLAIMS, name: value}, {key: said for key, said in CLAIMS.items() if key != name}):
        with pytest.raises(InvalidRequest):
            check_exchange(TeamsExchange("", APP, USER), claims)
