"""A nettool that is loaded already: each call is a fork of one process that has imported it.

To start takes two thirds of a call, and thousands of calls of the battery differ only in what goes wrong
after it. A call has a process id, an environment, signals and a death of its own, as any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from hosts import ROOT
from snapshot import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hosts import Host

# The namespaces are entered by the call itself: one process serves every host. (os.setns is Python 3.12's.)
_SERVER: Final = """
import ctypes, importlib, json, os, pkgutil, sys, traceback
import nettool
import _socket
for module in pkgutil.walk_packages(nettool.__path__, "nettool."):
    if module.name not in ("nettool.__main__", "nettool.typer_app"):
        importlib.import_module(module.name)
from nettool.cli import entry

libc = ctypes.CDLL(None, use_errno=True)

def call(host, words, env, files):
    for number, file in enumerate(files):
        os.dup2(file, number)
    kinds = (*(("user",) if os.geteuid() else ()), "net", "mnt")
    for namespace in [os.open(f"/proc/{host}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]:
        if libc.setns(namespace, 0):
            raise OSError(ctypes.get_errno(), "setns")
    os.chdir("/")
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["nettool", *words]
    entry()

def text(file):
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, encoding="utf-8", errors="backslashreplace") as opened:
        return opened.read()

print("ready", flush=True)
while line := sys.stdin.readline():
    files = [os.open(os.devnull, os.O_RDONLY), os.memfd_create("stdout"), os.memfd_create("stderr")]
    pid = os.fork()
    if not pid:
        try:
            call(*json.loads(line), files)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(files[0])
    print(json.dumps([status, text(files[1]), text(files[2])]), flush=True)
"""


class Warm:
    """Runs nettool on any host: `with Warm() as warm: warm.run(host, "recover")`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-c", _SERVER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**environment(), "PYTHONPATH": str(ROOT)},
        )
        assert self._read() == "ready\n"

    def run(
        self, host: Host, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line of nettool on a host to its end, as `Host.nettool` does."""
        assert self._process.stdin is not None
        wanted = {**host.environment(), **(env or {})}
        print(json.dumps((host.pid, words, wanted)), file=self._process.stdin, flush=True)
        status, stdout, stderr = json.loads(self._read())
        return subprocess.CompletedProcess(words, status, stdout, stderr)

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
