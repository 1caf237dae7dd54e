"""A server that marks, whenever it is asked, where callgrind is to write down what it has counted.

`python -m bench.costed MODULE ARGUMENTS` is `python -m MODULE ARGUMENTS`. `MARKS` in the environment names a Unix
socket: for each byte that comes through it the serving process marks, and sends the byte back.
"""

import os
import runpy
import socket
import sys
from threading import Thread


def mark_when_asked() -> None:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(os.environ["MARKS"])
        while byte := asked.recv(1):
            os.ctermid()  # callgrind waits for this function of the C library, which nobody else calls.
            asked.sendall(byte)


def start() -> None:
    Thread(target=mark_when_asked, daemon=True).start()


module, *arguments = sys.argv[1:]
if module == "mintmark":
    os.register_at_fork(after_in_child=start)  # The worker serves, not this process.
else:
    start()
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
