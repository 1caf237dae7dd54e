"""The Lua that tells wrk what to send, what to keep, and what to print in the end: one line of JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.server import Request

# In every script, for `done`, which is called once, in wrk's own state and not in a thread's.
PRINT = """
local function print_numbers(summary, requests, p50, p99)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "errors": ' ..
    '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\\n',
    requests, summary.duration, summary.bytes, p50, p99,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end

threads = {}
function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end
"""

DONE = """
function done(summary, latency)
  print_numbers(summary, summary.requests, latency:percentile(50), latency:percentile(99))
end
"""

# wrk's own latency is that of single requests; here a pair's counts, from the first request to the second answer.
PAIR = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } moment; int clock_gettime(int clock, moment *now);")
local MONOTONIC, now = 1, ffi.new("moment")
local function microseconds()
  ffi.C.clock_gettime(MONOTONIC, now)
  return tonumber(now.seconds) * 1e6 + tonumber(now.nanoseconds) / 1e3
end

times = {}
local began, answer

function request()
  if not answer then
    began = microseconds()
    return wrk.format()
  end
  local body = second.body:gsub("{([%w_]+)}", function(name) return answer:match('"' .. name .. '":"([^"]*)"') end)
  return wrk.format(second.method, second.path, second.headers, body)
end

function response(status, headers, body)
  if answer then
    table.insert(times, microseconds() - began)
    answer = nil
    if keep then keep(status, body) end
  elseif status < 400 then
    answer = body
  end
end

function done(summary)
  local all = {}
  for _, thread in ipairs(threads) do
    for _, time in ipairs(thread:get("times")) do table.insert(all, time) end
  end
  table.sort(all)
  local function percentile(share) return all[math.max(1, math.ceil(#all * share))] or 0 end
  print_numbers(summary, #all, percentile(0.5), percentile(0.99))
end
"""

TURNS = """
local requests, turn = {}, 0

function init()
  for _, each in ipairs(all) do
    table.insert(requests, wrk.format(each.method, each.path, each.headers, each.body))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
"""

WALK = """
local requests, sent = {}, 0
function init()
  local file = assert(io.open(NAME, "rb"))
  for one in file:read("*a"):gmatch("[^%z]+") do requests[#requests + 1] = one end
  file:close()
end
function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end
"""

KEEP = """
local file
function keep(status, body)
  file = file or io.open(NAME .. "." .. number, "wb")
  file:write(status, " ", #body, "\\n", body)
end
if not response then
  function response(status, headers, body) keep(status, body) end
end
"""


def repeat(request: Request) -> str:
    """Without a `request` function, so that wrk builds the request once."""
    return f"{_first(request)}{PRINT}{DONE}"


def repeat_in_turn(requests: Sequence[Request]) -> str:
    """Each is built once."""
    return f"all = {{{', '.join(map(_request, requests))}}}\n{PRINT}{DONE}{TURNS}"


def repeat_pair(request: Request, then: Request) -> str:
    """For as many threads as connections: what a thread keeps is then a connection's."""
    return f"{_first(request)}second = {_request(then)}\n{PRINT}{PAIR}"


def repeat_file(path: Path) -> str:
    """Requests as they go over the wire, in a file with a zero byte between; after the last comes the first again."""
    return f"local NAME = {_lua(str(path))}\n{PRINT}{DONE}{WALK}"


def record_answers(path: Path) -> str:
    """What is added to a script so that each thread writes every answer to a file `path`, a dot and its number."""
    return f"local NAME = {_lua(str(path))}\n{KEEP}"


def _first(request: Request) -> str:
    lines = [
        f"wrk.method = {_lua(request.method)}",
        f"wrk.path = {_lua(request.target)}",
        f"wrk.body = {_lua(request.body.decode())}" if request.body else "",
        *(f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items()),
    ]
    return "\n".join(lines) + "\n"


def _request(request: Request) -> str:
    """A Lua table, for `wrk.format`."""
    members = {"method": _lua(request.method), "path": _lua(request.target), "body": _lua(request.body.decode())}
    return _table(members | {"headers": _table({name: _lua(value) for name, value in request.headers.items()})})


def _table(members: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'[{_lua(name)}] = {value}' for name, value in members.items())}}}"


def _lua(text: str) -> str:
    """A Lua string literal: every byte that is not plain is written as \\ddd."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in text.encode())
    return f'"{"".join(plain)}"'
