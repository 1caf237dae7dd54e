"""`mintmark token …`."""

import base64
import json
import os
import re
import subprocess
from typing import Any

import pytest

from calls import create
from cli.conftest import Mintmark
from running import MINTMARK, RunningServer

SECONDS = 20


@pytest.fixture(scope="module")
def token(server: RunningServer) -> str:
    """A token of one hour for chat and calling."""
    issued: str = create(server).json["accessToken"]["token"]
    return issued


def forged(token: str) -> str:
    """The same with another scope, under the signature that was."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ".".join([header, encoded({**claims, "acsScope": "voip.join"}), signature])


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_that_lives_is_shown_readably(connected: Mintmark, server: RunningServer, token: str) -> None:
    status, out, err = connected("token", "show", token)

    assert (0, "") == (status, err)
    assert "Access token: lives" in out
    assert re.search(r"Identity +8:acs:", out)
    assert re.search(r"Scopes +chat, voip\n", out)
    assert re.search(r"Issued +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  \(\d+ (s|min) ago\)\n", out)
    assert re.search(r"Expires +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  \(in (59 min|1 h 0 min)\)\n", out)
    assert re.search(rf"Issuer +{server.https_endpoint}\n", out)
    assert re.search(r"Access key +p0\n", out)
    assert re.search(r"Signed with +ES256, key \S+\n", out)


def test_it_is_shown_as_json(connected: Mintmark, token: str) -> None:
    done = connected("token", "show", token, "--json")

    assert (0, "") == (done.status, done.err)
    assert {"active", "reason", "header", "claims"} == set(done.json)
    assert (True, "") == (done.json["active"], done.json["reason"])
    assert "ES256" == done.json["header"]["alg"]
    assert "chat,voip" == done.json["claims"]["acsScope"]


def test_a_dash_reads_it_from_standard_input(server: RunningServer, token: str) -> None:
    done = subprocess.run(
        [*MINTMARK, "token", "show", "-", "--json"],
        input=f"  {token}\n",
        env={**os.environ, **server.variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert json.loads(done.stdout)["active"]


def test_a_forged_token_is_shown_but_does_not_hold(connected: Mintmark, token: str) -> None:
    status, out, err = connected("token", "show", forged(token))

    assert (1, "") == (status, err)
    assert "Access token: The token's signature does not fit its key." in out
    assert "lives" not in out
    assert re.search(r"Scopes +voip.join\n", out), "what it claims is of interest all the same"


def test_a_forged_token_is_not_active_in_json(connected: Mintmark, token: str) -> None:
    done = connected("token", "show", forged(token), "--json")

    assert 1 == done.status
    assert (False, "The token's signature does not fit its key.") == (done.json["active"], done.json["reason"])
    assert "voip.join" == done.json["claims"]["acsScope"]


@pytest.mark.parametrize("text", ["nonsense", "a.b.c", "..", "", encoded({}) + "." + encoded([]) + ".x"])
def test_what_is_no_token_is_said_not_to_be_one(connected: Mintmark, text: str) -> None:
    status, out, err = connected("token", "show", text)

    assert (1, "") == (status, err)
    assert "Access token: " in out
    assert "lives" not in out
    assert "Identity" not in out


def test_without_a_server_it_is_decoded_but_not_checked(mintmark: Mintmark, token: str, nobody: str) -> None:
    by_itself = mintmark("token", "show", token)
    unanswered = mintmark("token", "show", token, "--admin-endpoint", nobody)
    as_json = mintmark("token", "show", token, "--json")

    assert (1, 1, 1) == (by_itself.status, unanswered.status, as_json.status)
    assert "Access token: Not checked. No running server was found" in by_itself.out
    assert re.search(r"Scopes +chat, voip\n", by_itself.out)
    assert f"Not checked. No Mintmark server answers at {nobody}" in unanswered.out
    assert not as_json.json["active"]
    assert as_json.json["reason"].startswith("Not checked. ")
    assert "chat,voip" == as_json.json["claims"]["acsScope"]


def test_without_a_server_what_is_no_token_is_said_not_to_be_one_too(mintmark: Mintmark) -> None:
    done = mintmark("token", "show", "nonsense")

    assert 1 == done.status
    assert "A token has three parts" in done.out
    assert "lives" not in done.out


def test_a_token_of_somebody_else_cannot_steer_the_terminal(connected: Mintmark) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\x9b1A"
    claims = {
        "sub": evil,
        "acsScope": evil,
        "iss": evil,
        "aud": evil,
        "akg": evil,
        "gen": evil,
        "iat": evil,
        "exp": evil,
    }
    text = f"{encoded({'alg': evil, 'kid': evil, 'typ': 'JWT'})}.{encoded(claims)}.AAAA"
    status, out, err = connected("token", "show", text)

    assert 1 == status
    assert not [character for character in out + err if not character.isprintable() and character != "\n"]


def test_claims_of_another_kind_than_expected_are_shown_as_they_are(connected: Mintmark) -> None:
    claims = {"sub": 7, "acsScope": ["a"], "iss": None, "iat": 1e300, "exp": 10**30, "gen": {"x": 1}}
    status, out, err = connected("token", "show", f"{encoded({'alg': 'none'})}.{encoded(claims)}.")

    assert (1, "") == (status, err)
    assert re.search(rf"Expires +{10**30}\n", out)


class TestIssue:
    @pytest.fixture
    def identity(self, connected: Mintmark) -> str:
        created: str = connected("identity", "create", "--json").json["identity"]["id"]
        return created

    def test_it_prints_a_token_of_the_scopes_asked_for(self, connected: Mintmark, identity: str) -> None:
        arguments = ("--scope", "voip", "--scope", "chat.join", "--expires-in", "90")
        status, out, err = connected("token", "issue", identity, *arguments)

        printed = dict(line.split(maxsplit=1) for line in out.splitlines())
        shown = connected("token", "show", printed["Token"], "--json").json
        assert (0, "") == (status, err)
        assert ["Expires", "Token"] == list(printed)
        assert shown["active"]
        assert (identity, "voip,chat.join") == (shown["claims"]["sub"], shown["claims"]["acsScope"])
        assert 90 * 60 == shown["claims"]["exp"] - shown["claims"]["iat"]
        assert "akg" not in shown["claims"], "no access key asked for it"

    def test_it_prints_json_as_the_service_answers_it(self, connected: Mintmark, identity: str) -> None:
        done = connected("token", "issue", identity, "--scope", "chat", "--json")
        claims = connected("token", "show", done.json["token"], "--json").json["claims"]

        assert (0, "", {"token", "expiresOn"}) == (done.status, done.err, set(done.json))
        assert 24 * 3600 == claims["exp"] - claims["iat"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "Missing option '--scope'"),
            (["--scope", "fax"], "scopes value 'fax' is invalid."),
            (["--scope", "chat", "--expires-in", "59"], "ExpiresInMinutes value 59 is invalid."),
            (["--scope", "chat", "--expires-in", "long"], "'--expires-in'"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, connected: Mintmark, identity: str, arguments: list[str], words: str
    ) -> None:
        status, out, err = connected("token", "issue", identity, *arguments)

        assert (2, "") == (status, out)
        assert words in err


class TestRevoke:
    def test_it_ends_what_was_issued_and_nothing_after(self, connected: Mintmark) -> None:
        created = connected("identity", "create", "--scope", "chat", "--json").json
        identity = created["identity"]["id"]

        revoked = connected("token", "revoke", identity)
        after = connected("token", "issue", identity, "--scope", "chat", "--json").json["token"]

        assert (0, f"Revoked: every token of {identity} issued so far has ended.\n", "") == revoked
        before = connected("token", "show", created["accessToken"]["token"])
        assert (1, True) == (before.status, "Access token: The token was revoked." in before.out)
        assert 0 == connected("token", "show", after).status

    def test_it_says_so_as_json(self, connected: Mintmark) -> None:
        identity = connected("identity", "create", "--json").json["identity"]["id"]
        done = connected("token", "revoke", identity, "--json")

        assert (0, "", {"revoked": identity}) == (done.status, done.err, done.json)
