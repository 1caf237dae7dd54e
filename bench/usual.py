"""An identity server as a developer plainly writes it: FastAPI, SQLAlchemy, PyJWT with RS256, SQLite, with defaults.

It asks for no signature on the request, which favours it. uvicorn serves it; `DATA` in the environment names the data
folder, which holds the signing key as `key.pem`.
"""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

DATA = Path(os.environ["DATA"])
signing_key = cast("RSAPrivateKey", load_pem_private_key((DATA / "key.pem").read_bytes(), None))
engine = create_engine(f"sqlite:///{DATA}/usual.db")
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Identity(Base):
    __tablename__ = "identities"
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


with engine.begin() as connection:  # Not `create_all`: two workers that start together would both find no table.
    connection.execute(CreateTable(Identity.__table__, if_not_exists=True))


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CreateRequest(Wire):
    create_token_with_scopes: list[str] = []
    expires_in_minutes: int = Field(default=1440, ge=60, le=1440)


class IdentityOut(Wire):
    id: str


class AccessToken(Wire):
    token: str
    expires_on: datetime


class CreateResponse(Wire):
    identity: IdentityOut
    access_token: AccessToken


def session() -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


@app.post("/identities", status_code=201)
def create_identity(asked: CreateRequest, db: Annotated[Session, Depends(session)]) -> CreateResponse:
    now = datetime.now(UTC)
    expires_on = now + timedelta(minutes=asked.expires_in_minutes)
    user = f"8:acs:{uuid.uuid4()}"
    claims = {"sub": user, "scope": " ".join(asked.create_token_with_scopes), "iat": now, "exp": expires_on}
    token = jwt.encode(claims, signing_key, algorithm="RS256", headers={"kid": "usual"})
    db.add(Identity(id=user, created_at=now))
    db.commit()
    access_token = AccessToken(token=token, expires_on=expires_on)
    return CreateResponse(identity=IdentityOut(id=user), access_token=access_token)
