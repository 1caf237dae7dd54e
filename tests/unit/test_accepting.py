"""How many of those who come at the same time are let in by one turn of the event loop."""

import asyncio
import socket
from itertools import pairwise

import pytest
import uvloop

from mintmark.http.connections import DEFAULT_BOUNDS, Connections
from mintmark.http.outbox import Outbox
from mintmark.http.waiting import WaitingLine
from mintmark.worker import ACCEPTED_AT_ONCE, Listener, _config, _Server

CLIENTS = 12


@pytest.mark.parametrize("sockets", [1, 2])
def test_each_socket_accepts_several_connections_in_a_turn(sockets: int) -> None:
    async def accept() -> list[int]:
        loop, connections = asyncio.get_running_loop(), Connections(DEFAULT_BOUNDS)
        listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(sockets)]
        server = _Server(_config(Listener(listening, None)), connections, Outbox(loop), WaitingLine(loop), None)
        await server.startup(listening)
        clients = [socket.create_connection(each.getsockname()) for each in listening for _ in range(CLIENTS)]
        accepted = [0]
        while accepted[-1] < len(clients):
            await asyncio.sleep(0)
            accepted.append(len(server.server_state.connections))
        for listener in server.servers:
            listener.close()
        for each in (*clients, *listening):
            each.close()
        return [after - before for before, after in pairwise(accepted)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert max(runner.run(accept())) == ACCEPTED_AT_ONCE * sockets
