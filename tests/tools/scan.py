#!/usr/bin/env python3
"""Lets other people's tools judge a running gate: slowhttptest (slow heads, bodies and readers, many ranges), sslscan and
testssl.sh. Fails if a normal request is not answered meanwhile, if a slow connection is not closed by the gate
itself, or if a finding differs from the list below. Everything is at loopback and bounded in time.

    make scan            (installs the three with apt where they are missing; about five minutes)
    tests/tools/scan.py  BINARY
"""

import csv
import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import xml.etree.ElementTree as xml

SLOW_CONNECTIONS = 400
SLOW_SECONDS = 30

# What may be offered (RFC 9325 §4.2), with the ECDSA certificate of a local CA.
CIPHERS = {
    "TLSv1.3": {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
    "TLSv1.2": {
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    },
}

# What testssl.sh has to say above INFO, and why it stands. docs/tls.md repeats it.
EXPECTED = {
    "cipher_order": "the client chooses: all suites are equally good, and it knows which its processor is quick at",
    "sessionresumption_ticket": "testssl.sh 3.0 does not get as far with OpenSSL 3; resumption() asks OpenSSL itself",
}
# Other findings about the certificate of a local CA, whose life and names are not a public one's.
CERTIFICATE = re.compile(r"^(cert_|OCSP|CRL|DNS_CAA|HSTS|HPKP|scanTime|engine|old_)")


def say(text):
    print(text, flush=True)


class Large(http.server.BaseHTTPRequestHandler):
    """An application with more to say than any socket's buffer holds, and that reads what it is sent."""

    protocol_version = "HTTP/1.1"
    SAYS = b"x" * 2 * 1024 * 1024

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.SAYS)))
        self.end_headers()
        try:
            self.wfile.write(self.SAYS)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Gate:
    """The binary with a local CA and short limits, in a folder of its own, before such an application."""

    # The tools ask a thousand times, from one address.
    CONFIG = """
        environment = "stage"
        data_dir = "{folder}/data"
        [limits]
        head_timeout = "3s"
        stall_timeout = "5s"
        idle_timeout = "5s"
        handshake_timeout = "3s"
        [rates]
        address = "off"
        [upstreams.large]
        servers = ["127.0.0.1:{large}"]
        [[routes]]
        path = "/large"
        upstream = "large"
        auth = "none"
        [[routes]]
        path = "/files"
        root = "{folder}/files"
        auth = "none"
        [[routes]]
        path = "/"
        api = true
        auth = "optional"
    """

    def __init__(self, binary, folder):
        self.folder = folder
        large = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Large)
        large.daemon_threads = True
        # Connections that the gate cuts are what this is about.
        large.handle_error = lambda *_: None
        threading.Thread(target=large.serve_forever, daemon=True).start()
        os.mkdir(f"{folder}/files")
        with open(f"{folder}/files/large", "wb") as file:
            file.write(Large.SAYS)
        with open(f"{folder}/config.toml", "w") as config:
            config.write(self.CONFIG.format(folder=folder, large=large.server_port))
        listen = ["--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--internal", "127.0.0.1:0"]
        command = [binary, "serve", "--config", f"{folder}/config.toml", *listen]
        environment = {"PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "Keepgate is ready" in line:
                break
        else:
            sys.exit("the gate did not start")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        ports = json.load(open(f"{folder}/data/run/ports.json"))
        self.port = int(ports["https"][0].rsplit(":", 1)[1])
        self.context = ssl.create_default_context(cafile=f"{folder}/data/tls/ca.pem")
        self.at = f"127.0.0.1:{self.port}"
        self.internal = ports["internal"]

    def ask(self):
        with urllib.request.urlopen(f"https://{self.at}/health", context=self.context, timeout=5) as answer:
            return answer.status

    def open(self):
        """Connections open now, by the gate's own count."""
        with urllib.request.urlopen(f"http://{self.internal}/metrics", timeout=5) as answer:
            return int(re.search(r"^keepgate_connections_open (\d+)", answer.read().decode(), re.M)[1])

    def memory(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class Meanwhile:
    """Somebody who asks as people do, five times a second, and remembers what went wrong."""

    def __init__(self, gate):
        self.gate, self.times, self.wrong, self.over = gate, [], [], threading.Event()
        self.open, self.memory = [], []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.2):
            began = time.monotonic()
            try:
                status = self.gate.ask()
                if status != 200:
                    self.wrong.append(str(status))
            except OSError as error:
                self.wrong.append(repr(error))
            self.times.append(time.monotonic() - began)
            self.open.append(self.gate.open())
            self.memory.append(self.gate.memory())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def slow(gate, name, options):
    """One kind of slowhttptest. The gate must answer others and close all of them before the test ends."""
    prefix = f"{gate.folder}/slow"
    command = ["slowhttptest", *options, "-c", str(SLOW_CONNECTIONS), "-r", "200", "-l", str(SLOW_SECONDS)]
    command += ["-p", "5", "-g", "-o", prefix]
    with Meanwhile(gate) as others:
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=SLOW_SECONDS + 30, check=False)
        # What is left after it had its time, before it lets go by itself.
        open_at_the_end = others.open[-1]
    rows = list(csv.DictReader(open(f"{prefix}.csv")))
    down = sum(1 for row in rows if row["Service Available"].strip() == "0")
    peak = max(others.open)
    # It ends before its time if nothing is left to hold.
    held = open_at_the_end if len(rows) >= SLOW_SECONDS else 0
    say(
        f"{name}: {peak} connections open at most, {held} of them to the end of {len(rows)} s; meanwhile {len(others.times)} "
        f"requests, {len(others.wrong)} failed, slowest {max(others.times) * 1000:.0f} ms; at most {max(others.memory)} MiB resident"
    )
    wrong = [f"{name}: {what}" for what in others.wrong[:3]]
    if down:
        wrong.append(f"{name}: slowhttptest found the service gone for {down} s")
    if peak < SLOW_CONNECTIONS // 8:
        wrong.append(f"{name}: {peak} connections are no test")
    if held > 5:
        wrong.append(f"{name}: {held} connections were not closed")
    return wrong


def sslscan(gate):
    run = subprocess.run(["sslscan", "--xml=-", "--no-colour", gate.at], capture_output=True, text=True, timeout=180)
    test = xml.fromstring(run.stdout).find("ssltest")
    wrong = []
    on = {f"{p.get('type')}v{p.get('version')}" for p in test.iter("protocol") if p.get("enabled") == "1"}
    if on != {"tlsv1.2", "tlsv1.3"}:
        wrong.append(f"sslscan: protocols {sorted(on)}")
    found = {}
    for cipher in test.iter("cipher"):
        found.setdefault(cipher.get("sslversion"), set()).add(cipher.get("cipher"))
        if cipher.get("strength") not in ("strong", "acceptable"):
            wrong.append(f"sslscan: {cipher.get('cipher')} is {cipher.get('strength')}")
    if found != CIPHERS:
        wrong.append(f"sslscan: ciphers {found}")
    for tag, attribute, want in [("compression", "supported", "0"), ("heartbleed", "vulnerable", "0")]:
        if any(each.get(attribute) != want for each in test.iter(tag)):
            wrong.append(f"sslscan: {tag}")
    groups = [group.get("name") for group in test.iter("group")]
    say(f"sslscan: {', '.join(sorted(on))}; {sum(map(len, found.values()))} cipher suites; groups {', '.join(groups)}")
    return wrong


def resumption(gate):
    """A second connection takes up the session of the first, in both versions."""
    wrong = []
    for version in ("-tls1_2", "-tls1_3"):
        kept = f"{gate.folder}/session"
        command = ["openssl", "s_client", "-connect", gate.at, "-servername", "localhost", version]
        ask = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        run = {"input": ask, "capture_output": True, "text": True, "timeout": 30}
        subprocess.run([*command, "-ign_eof", "-sess_out", kept], **run, check=False)
        again = subprocess.run([*command, "-ign_eof", "-sess_in", kept], **run, check=False).stdout
        if not re.search(r"^Reused, ", again, re.M):
            wrong.append(f"openssl {version}: the session was not resumed")
    say(f"openssl: sessions resumed: {'no' if wrong else 'yes'}")
    return wrong


def testssl(gate):
    out = f"{gate.folder}/testssl.json"
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--jsonfile", out, "--ip", "127.0.0.1"]
    command += ["--add-ca", f"{gate.folder}/data/tls/ca.pem", f"localhost:{gate.port}"]
    with Meanwhile(gate) as others:
        subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=600, check=False)
    findings = json.load(open(out))
    wrong = [f"testssl: meanwhile {what}" for what in others.wrong[:3]]
    above = [one for one in findings if one["severity"] not in ("OK", "INFO", "DEBUG")]
    for one in above:
        known = one["id"].split(" ")[0]
        say(f"testssl: {one['severity']} {one['id']}: {one['finding']}")
        if known not in EXPECTED and not CERTIFICATE.match(known):
            wrong.append(f"testssl: {one['severity']} {one['id']}: {one['finding']}")
    # Version 3.0 gives no grade.
    rated = [f"; grade {one['finding']}" for one in findings if one["id"] == "overall_grade"]
    say(f"testssl: {len(findings)} findings, {len(above)} above INFO{''.join(rated)}")
    if len(findings) < 100:
        wrong.append("testssl: it did not run to its end")
    return wrong


def main(binary):
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        gate = Gate(binary, folder)
        login, large, file = f"https://{gate.at}/auth/v1/login", f"https://{gate.at}/large", f"https://{gate.at}/files/large"
        try:
            wrong += slow(gate, "slow heads", ["-H", "-i", "2", "-x", "24", "-u", large])
            wrong += slow(gate, "slow bodies", ["-B", "-i", "2", "-s", "8192", "-x", "10", "-f", "application/json", "-u", login])
            wrong += slow(gate, "slow readers", ["-X", "-n", "2", "-z", "5", "-w", "10", "-y", "20", "-u", large])
            wrong += slow(gate, "many ranges of a file", ["-R", "-t", "GET", "-a", "10", "-b", "3000", "-u", file])
            wrong += sslscan(gate)
            wrong += resumption(gate)
            wrong += testssl(gate)
        finally:
            gate.stop()
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
