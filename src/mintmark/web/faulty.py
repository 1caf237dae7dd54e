"""Puts faults on demand before the ACS operations (`mintmark dev` only)."""

import asyncio

from mintmark.errors import RequestRefused
from mintmark.faults import Fault, Faults
from mintmark.web.answer import Answer
from mintmark.web.auth import Signed, SignedHandler
from mintmark.web.call import Call
from mintmark.web.endpoint import Guarded
from mintmark.web.problems import envelope, refusal

_CODES = {429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable"}


class Faulty:
    """The guard `Signed`, with faults before or behind it."""

    def __init__(self, signed: Signed, faults: Faults) -> None:
        self._signed = signed
        self._faults = faults

    def __call__(self, operation: str, handler: SignedHandler) -> Guarded:
        """Puts the handler of an operation behind the guard, and faults around both."""
        inner, take = self._signed(operation, handler), self._faults.take

        async def guarded(call: Call) -> Answer:
            call.operation = operation
            fault = take(operation)
            return await inner(call) if fault is None else await _befall(fault, inner, call)

        return guarded


async def _befall(fault: Fault, inner: Guarded, call: Call) -> Answer:
    answer = await _carried_out(inner, call) if fault.when == "after" else None
    await asyncio.sleep(fault.delay / 1000)
    if fault.drop:
        await call.abort()
    if fault.status is not None:
        return _failure(fault, fault.status)
    return answer or await inner(call)


async def _carried_out(inner: Guarded, call: Call) -> Answer:
    try:
        return await inner(call)
    except RequestRefused as refused:
        return refusal(refused)


def _failure(fault: Fault, status: int) -> Answer:
    headers = () if fault.retry_after is None else ((b"retry-after", str(fault.retry_after).encode()),)
    code = _CODES.get(status, "Fault")
    message = f"A fault that was asked for: status {status}, {fault.when} the operation."
    return Answer(status, envelope(code, message), b"application/json", headers, f"{code}: a fault that was asked for")
