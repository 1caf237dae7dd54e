"""The exchange of Teams users' tokens: read, ask, answer."""

from mintmark.service import Caller, Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.wire import ApiVersion, read_exchange, write_token


async def exchange(service: Service, caller: Caller, _version: ApiVersion, call: Call, body: bytes) -> Answer:
    """`POST /teamsUser/:exchangeAccessToken`: a token for a Teams user, for the user's Entra token."""
    asked = read_exchange(body, call.headers.get(b"content-type", b""))
    return Answer(200, write_token(await service.exchange_teams_token(caller, asked)))
