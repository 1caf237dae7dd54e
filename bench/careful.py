"""An identity server as a careful developer writes it: FastAPI, asyncpg on PostgreSQL, RS256 with the key loaded once.

No ORM stands between, connections are pooled, and whoever is answered is on disk: PostgreSQL has its defaults. It asks
for no signature on the request, which favours it. uvicorn serves it, on uvloop; `DATA` in the environment names the
folder that holds the signing key as `key.pem`, `POSTGRES_SOCKETS` the one where PostgreSQL listens.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import asyncpg
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

signing_key = cast("RSAPrivateKey", load_pem_private_key((Path(os.environ["DATA"]) / "key.pem").read_bytes(), None))

INSERT = "INSERT INTO identities (id, created_at) VALUES ($1, $2)"
TOUCH = "UPDATE identities SET last_issued_at = $2 WHERE id = $1"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(host=os.environ["POSTGRES_SOCKETS"], user="postgres") as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CreateRequest(Wire):
    create_token_with_scopes: list[str] = []
    expires_in_minutes: int = Field(default=1440, ge=60, le=1440)


class IssueRequest(Wire):
    scopes: list[str] = Field(min_length=1)
    expires_in_minutes: int = Field(default=1440, ge=60, le=1440)


class IdentityOut(Wire):
    id: str


class AccessToken(Wire):
    token: str
    expires_on: datetime


class CreateResponse(Wire):
    identity: IdentityOut
    access_token: AccessToken


def sign(user: str, scopes: list[str], now: datetime, minutes: int) -> AccessToken:
    expires_on = now + timedelta(minutes=minutes)
    claims = {"sub": user, "scope": " ".join(scopes), "iat": now, "exp": expires_on}
    token = jwt.encode(claims, signing_key, algorithm="RS256", headers={"kid": "careful"})
    return AccessToken(token=token, expires_on=expires_on)


@app.post("/identities", status_code=201)
async def create_identity(asked: CreateRequest) -> CreateResponse:
    now, user = datetime.now(UTC), f"8:acs:{uuid.uuid4()}"
    access_token = sign(user, asked.create_token_with_scopes, now, asked.expires_in_minutes)
    await app.state.pool.execute(INSERT, user, now)
    return CreateResponse(identity=IdentityOut(id=user), access_token=access_token)


@app.post("/identities/{user}/:issueAccessToken")
async def issue_access_token(user: str, asked: IssueRequest) -> AccessToken:
    now = datetime.now(UTC)
    if await app.state.pool.execute(TOUCH, user, now) == "UPDATE 0":
        raise HTTPException(404)
    return sign(user, asked.scopes, now, asked.expires_in_minutes)
