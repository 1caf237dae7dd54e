"""What a subject is: a server to measure, told by how it starts and what is asked of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.server import Answer, Command, Place, Request, Server


class AnswerError(Exception):
    """The server's answer is not what it should be."""


@dataclass(frozen=True)
class Operation:
    """What is asked of a server again and again.

    `request` is called anew before each load, so a signature made there has to live for one
    load only. `verifier` returns what is called with each answer of that server: it returns whom the token is for, and
    raises AnswerError or what the reading of a wrong answer raises (LookupError, ValueError, a PyJWT error). `distinct`
    tells that no two answers may be for the same.
    """

    request: Callable[[Server], Request]
    verifier: Callable[[Server], Callable[[Answer], str]]
    distinct: bool = True


@dataclass(frozen=True)
class Subject:
    """One server to measure.

    `start` puts what the server needs into its folder and returns the command. One that does not `scale` is always one
    process, so it is measured with one worker only.
    """

    name: str
    start: Callable[[Place], Command]
    operations: Mapping[str, Operation]
    scales: bool = True

    @property
    def request(self) -> Callable[[Server], Request]:
        """That of Create, which every subject has."""
        return self.operations["create"].request
