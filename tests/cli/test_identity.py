"""`mintmark identity create`."""

import re

import pytest

from cli.conftest import Mintmark

ID = r"8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}"


def rows(out: str) -> dict[str, str]:
    """What was printed, by name."""
    return dict(line.split(maxsplit=1) for line in out.splitlines())


def test_it_prints_the_new_identity(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create")

    assert (0, "") == (status, err)
    assert ["Identity"] == list(rows(out))
    assert re.fullmatch(ID, rows(out)["Identity"])


def test_it_prints_a_token_for_the_scopes_asked_for(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--scope", "voip", "--expires-in", "60")
    printed = rows(out)
    shown = connected("token", "show", printed["Token"], "--json").json

    assert (0, "") == (status, err)
    assert ["Identity", "Expires", "Token"] == list(printed)
    assert shown["active"]
    assert printed["Identity"] == shown["claims"]["sub"]
    assert "chat,voip" == shown["claims"]["acsScope"]
    assert 3600 == shown["claims"]["exp"] - shown["claims"]["iat"]
    assert "akg" not in shown["claims"], "no access key asked for it"


def test_it_prints_json_as_the_service_answers_it(connected: Mintmark) -> None:
    with_token = connected("identity", "create", "--scope", "voip.join", "--json")
    without = connected("identity", "create", "--json")

    assert (0, "") == (with_token.status, with_token.err)
    assert {"identity", "accessToken"} == set(with_token.json)
    assert {"token", "expiresOn"} == set(with_token.json["accessToken"])
    assert re.fullmatch(ID, with_token.json["identity"]["id"])
    assert {"identity"} == set(without.json)


def test_a_life_is_a_day_unless_said_otherwise(connected: Mintmark) -> None:
    token = connected("identity", "create", "--scope", "chat", "--json").json["accessToken"]["token"]
    claims = connected("token", "show", token, "--json").json["claims"]

    assert 24 * 3600 == claims["exp"] - claims["iat"]


def test_an_unknown_scope_is_refused_with_those_that_exist(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--scope", "fax")

    assert (2, "") == (status, out)
    assert err.startswith("Error: ")
    assert "'fax'" in err
    assert "chat, voip, chat.join, chat.join.limited, voip.join" in err


@pytest.mark.parametrize("minutes", ["59", "1441", "0", "-5"])
def test_a_life_out_of_range_is_refused(connected: Mintmark, minutes: str) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--expires-in", minutes)

    assert (2, "") == (status, out)
    assert err.startswith("Error: ")
    assert f"value {minutes} is invalid" in err
    assert "[60, 1440]" in err


@pytest.mark.parametrize("minutes", ["an hour", "60.5", ""])
def test_a_life_that_is_no_whole_number_is_refused(connected: Mintmark, minutes: str) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--expires-in", minutes)

    assert (2, "") == (status, out)
    assert "'--expires-in'" in err
    assert "is not a valid integer" in err
