"""The exchange of a Teams user's Entra token for an access token: what is asked, and what must fit. Pure.

Texts and order are those recorded of ACS (contract section 5.2).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from mintmark.bearer import TrustedIssuer
from mintmark.errors import InvalidRequest
from mintmark.model import GUID

# What MSAL is asked for: learn.microsoft.com, "Set up and obtain access tokens for Teams users".
TEAMS_AUDIENCES = ("https://auth.msft.communication.azure.com", "https://auth.msft.communication.azure.com/")

# A token of an application has none of them (learn.microsoft.com, the same page): only a user's is exchanged.
TEAMS_PERMISSIONS = ("Teams.ManageCalls", "Teams.ManageChats")


class TeamsIssuer(TrustedIssuer, frozen=True, forbid_unknown_fields=True):
    """An issuer whose tokens of Teams users are exchanged; see `TrustedIssuer`."""

    audiences: tuple[str, ...] = TEAMS_AUDIENCES
    scopes: tuple[str, ...] = TEAMS_PERMISSIONS


class TeamsExchange(Struct, frozen=True):
    """What is exchanged.

    Attributes:
        token: the user's Entra token.
        app_id: the Entra application that it was issued to.
        user_id: the user's object id.
    """

    token: str
    app_id: str
    user_id: str


def check_exchange(asked: TeamsExchange, claims: Mapping[str, Any]) -> None:
    """Refuses an exchange whose application or user is not the one that the token, checked already, was issued for.

    Raises:
        InvalidRequest: a value is missing, malformed or another.
    """
    for value, name in ((asked.app_id, "AppId"), (asked.user_id, "UserId")):
        if not value:
            raise InvalidRequest(f"{name}: The {name} field is required.", name)
    for value, name, target in ((asked.app_id, "AppId", "appId"), (asked.user_id, "UserId", "userId")):
        if not GUID.fullmatch(value.lower()):
            raise InvalidRequest(f"Provided {name} has invalid format.", target)
    if asked.app_id.lower() != str(claims.get("appid", claims.get("azp"))).lower():
        raise InvalidRequest("AAD application is not the expected one.", "appId")
    if asked.user_id.lower() != str(claims.get("oid")).lower():
        raise InvalidRequest("Provided AAD token issued for unexpected user.", "userId")
