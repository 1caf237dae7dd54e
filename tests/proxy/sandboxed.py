"""Runs a command under what a unit of systemd forbids, as far as a process can forbid itself that without systemd.

Usage: sandboxed.py UNIT COMMAND ...

That are SystemCallFilter, RestrictAddressFamilies, MemoryDenyWriteExecute (by the rules that systemd.exec(5) names),
LimitCORE, LimitNOFILE and UMask. The sets of system calls are those of `systemd-analyze syscall-filter`.
"""

import ctypes
import errno
import mmap
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # seccomp.h
EQUAL, MASKED_EQUAL = 4, 7


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def setting(unit: str, name: str) -> list[str]:
    """The values of a setting, in order."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def system_calls(unit: str) -> set[str]:
    """Those that are allowed."""
    allowed: set[str] = set()
    for value in setting(unit, "SystemCallFilter"):
        named = {call for name in value.removeprefix("~").split() for call in expanded(name)}
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed


def expanded(name: str) -> set[str]:
    """A system call, or all those of a set, which begins with @."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.check_output(["systemd-analyze", "--no-pager", "syscall-filter", name], text=True)
    lines = [line.strip() for line in listed.splitlines()[1:]]
    return {call for line in lines if line and not line.startswith("#") for call in expanded(line)}


def rules(call: str, families: list[int]) -> list[Comparison | None]:
    """On which arguments a call is allowed, one of them; None for all."""
    execute, both = mmap.PROT_EXEC, mmap.PROT_EXEC | mmap.PROT_WRITE
    if call == "socket":
        return [Comparison(0, EQUAL, family, 0) for family in families]
    if call == "mmap":
        return [Comparison(2, MASKED_EQUAL, both, value) for value in (0, mmap.PROT_EXEC, mmap.PROT_WRITE)]
    if call in ("mprotect", "pkey_mprotect"):
        return [Comparison(2, MASKED_EQUAL, execute, 0)]
    return [None]


def forbid(unit: str) -> None:
    """From here on, in this process and all that it starts."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(REFUSE))
    families = [getattr(socket, name) for name in setting(unit, "RestrictAddressFamilies")[0].split()]
    for call in sorted(system_calls(unit)):
        number = library.seccomp_syscall_resolve_name(call.encode())
        for rule in rules(call, families) if number >= 0 else []:  # Below 0: not on this machine.
            count, array = (0, None) if rule is None else (1, ctypes.byref(rule))
            failed = library.seccomp_rule_add_array(context, ctypes.c_uint(ALLOW), number, count, array)
            assert not failed, f"{call}: {failed}"
    assert not library.seccomp_load(context)


def main() -> None:
    """Sets bounds, then runs the command in this process."""
    unit = Path(sys.argv[1]).read_text()
    core, files = (int(setting(unit, name)[0]) for name in ("LimitCORE", "LimitNOFILE"))
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    most = min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(int(setting(unit, "UMask")[0], 8))
    forbid(unit)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
