#!/usr/bin/env python3
"""The Autobahn test suite through a running gate, both ways: its fuzzing client asks an echo behind the gate, and
its fuzzing server, behind the gate, asks a client before it. Each run stands beside the same one without the gate,
and fails where a case comes out otherwise with the gate than without: a tunnel that changes, delays, merges or
drops anything shows. Everything is at loopback and bounded in time.

    make websocket             (about ten minutes)
    tests/tools/websocket.py  BINARY

The suite is Python 2 (0.8.2; 25.10.1 on PyPI installs on Python 3 and does not import): the interpreter is
$PYTHON2, or python2.7 on the path, or one of pyenv's. It is installed into target/autobahn.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parents[2]
SUITE = "autobahntestsuite==0.8.2"
# All that is about the protocol. Left out: 9.3 to 9.8, which send megabytes in pieces of single bytes and measure
# Python, and 12 and 13, compression of 1,000 messages in each of many window sizes.
CASES = os.environ.get("WEBSOCKET_CASES", "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.1.*,9.2.*,10.*").split(",")
PATIENCE = int(os.environ.get("WEBSOCKET_PATIENCE", "900"))

CONFIG = """
environment = "stage"
data_dir = "{folder}/data"
[listen]
https = ["127.0.0.2:{port}"]
http = []
workers = 1
[tls]
source = "local-ca"
names = ["localhost"]
[log]
access = false
[upstreams.app]
servers = ["127.0.0.1:{port}"]
[[routes]]
path = "/"
upstream = "app"
auth = "none"
"""


def say(text):
    print(text, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process, address="127.0.0.1"):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection((address, port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def interpreter():
    named = os.environ.get("PYTHON2") or shutil.which("python2.7")
    pyenv = sorted(pathlib.Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))
    found = pathlib.Path(named) if named and "shims" not in named else next(iter(pyenv), None)
    if found is None:
        raise SystemExit("the Autobahn suite needs Python 2.7: name one in $PYTHON2")
    return found


def install():
    """The suite's command."""
    python, folder = interpreter(), HERE / "target/autobahn"
    if not (folder / "autobahntestsuite").exists():
        say(f"installing {SUITE} for {python} in {folder}")
        subprocess.run([python, "-m", "pip", "install", "-q", "--target", folder, SUITE], check=True,
                       stderr=subprocess.DEVNULL)
    # A site folder, for zope's namespace. The suite's servers refuse a Host with another port than their own, so the
    # gate has the same one at another address, and they must not take it at every address.
    script = f"""
import site
site.addsitedir({str(folder)!r})
from twisted.internet import reactor
listen = reactor.listenTCP
reactor.listenTCP = lambda port, factory, *_, **__: listen(port, factory, 50, "127.0.0.1")
from autobahntestsuite.wstest import run
run()
"""
    return [str(python), "-c", script]


class Run:
    """One run of the suite, in a folder of its own."""

    def __init__(self, suite, folder):
        self.suite, self.folder = suite, folder
        folder.mkdir()

    def start(self, mode, *more, **spec):
        command = [*self.suite, "-m", mode, *more]
        if spec:
            path = self.folder / f"{mode}.json"
            path.write_text(json.dumps(spec))
            command += ["-s", path]
        log = open(self.folder / f"{mode}.log", "w")
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def results(self):
        """How each case ended: its behaviour, and that of its closing."""
        report = json.loads(next(self.folder.glob("report/index.json")).read_text())
        (cases,) = report.values()
        return {case: (found["behavior"], found["behaviorClose"]) for case, found in cases.items()}


def asked(suite, folder, url):
    """The fuzzing client asks the echo at `url`."""
    run = Run(suite, folder)
    client = run.start("fuzzingclient", outdir=str(folder / "report"), cases=CASES,
                       servers=[{"agent": "echo", "url": url, "options": {"version": 18}}],
                       **{"exclude-cases": [], "exclude-agent-cases": {}})
    client.wait(PATIENCE)
    return run.results()


def asking(suite, folder, port, url):
    """The fuzzing server on `port` is asked by a client that goes to `url`."""
    run = Run(suite, folder)
    server = run.start("fuzzingserver", "-w", f"ws://127.0.0.1:{port}", url=f"ws://127.0.0.1:{port}", webport=0,
                       outdir=str(folder / "report"), cases=CASES,
                       **{"exclude-cases": [], "exclude-agent-cases": {}})
    try:
        wait_for(port, server)
        run.start("testeeclient", "-w", url).wait(PATIENCE)
        return run.results()
    finally:
        server.terminate()
        server.wait()


def compare(name, direct, through):
    """Says what differs; returns how many cases do."""
    differ = {case: (direct[case], through.get(case)) for case in direct if direct[case] != through.get(case)}
    good = sum(behaviour in ("OK", "NON-STRICT", "INFORMATIONAL") for behaviour, _ in through.values())
    say(f"{name}: {len(through)} cases, {good} as the RFC says through the gate, {len(differ)} other than without it")
    for case, (without, with_it) in sorted(differ.items()):
        say(f"  {case}: without {without}, through the gate {with_it}")
    if not direct:
        raise SystemExit("the suite did not run")
    return len(differ)


def main():
    binary, suite = pathlib.Path(sys.argv[1]).resolve(), install()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        port = free_port()
        config = folder / "config.toml"
        config.write_text(CONFIG.format(folder=folder, port=port))
        gate = subprocess.Popen([binary, "serve", "--config", config], stdout=subprocess.DEVNULL)
        without, through = f"ws://127.0.0.1:{port}", f"wss://127.0.0.2:{port}"
        try:
            wait_for(port, gate, "127.0.0.2")
            echo = Run(suite, folder / "echo").start("testeeserver", "-w", without)
            try:
                wait_for(port, echo)
                runs = [asked(suite, folder / f"asked-{at}", url) for at, url in enumerate((without, through))]
            finally:
                echo.terminate()
                echo.wait()
            wrong = compare("an echo behind the gate", *runs)
            runs = [asking(suite, folder / f"asking-{at}", port, url) for at, url in enumerate((without, through))]
            wrong += compare("a client before the gate", *runs)
        finally:
            gate.terminate()
            gate.wait()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
