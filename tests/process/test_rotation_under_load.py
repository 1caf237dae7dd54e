"""Keys are changed while programs ask for tokens: nobody is refused, and every token can be verified."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from calls import Answer, ask, create, holds
from mintmark.jose import decode_unverified, verify_signature
from running import RunningServer, running_server

CLIENTS, ROTATIONS, BETWEEN = 4, 5, 10  # BETWEEN: tokens from one rotation to the next, at least


def rotate_at_once(server: RunningServer) -> str:
    headers = {"content-type": "application/json"}
    target = "/_mintmark/signing-keys/:rotate"
    answer = ask(server.admin_endpoint, target, method="POST", headers=headers, body=b'{"atOnce":true}')
    assert 201 == answer.status
    return str(answer.json["kid"])


def test_a_rotation_at_once_refuses_nobody_and_every_token_can_be_verified_by_the_key_set_of_afterwards() -> None:
    answers: list[Answer] = []
    stop = threading.Event()

    with running_server("--ephemeral", "--workers", "2") as server, ThreadPoolExecutor(CLIENTS) as pool:

        def keep_asking() -> None:
            while not stop.is_set():
                answers.append(create(server))

        clients = [pool.submit(keep_asking) for _ in range(CLIENTS)]
        kids = []
        try:
            for _ in range(ROTATIONS):
                kids.append(rotate_at_once(server))
                enough = len(answers) + BETWEEN
                while len(answers) < enough and not any(client.done() for client in clients):
                    stop.wait(0.002)
        finally:
            stop.set()
        for client in clients:
            client.result()
        jwks = json.loads(ask(server.http_endpoint, "/.well-known/jwks.json").body)["keys"]
        tokens = [answer.json["accessToken"]["token"] for answer in answers if answer.status == 201]

        assert {201} == {answer.status for answer in answers}
        assert {*kids} <= {verified_by(token, jwks) for token in tokens}
        assert all(holds(server, token) for token in tokens[:: max(len(tokens) // 10, 1)])


def verified_by(token: str, jwks: list[dict[str, str]]) -> str:
    verify_signature(token, jwks)
    return str(decode_unverified(token)[0]["kid"])
