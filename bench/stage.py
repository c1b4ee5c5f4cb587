"""Everybody who is compared at the edge, running on one core with one certificate before one application."""

import dataclasses, os, pathlib, re, subprocess

import lab

TOKENS = 1000
RULES = """
[rates]
address = "off"
user = "off"
[passwords]
memory_kib = 64
iterations = 1
[[routes]]
path = "/open"
upstream = "app"
auth = "none"
"""


@dataclasses.dataclass
class Contender:
    """One way to have a request answered: where, whose processor time it takes, whose tokens it wants."""

    port: int
    pids: list
    path: str
    tokens: pathlib.Path

    def url(self, path=None):
        return f"https://127.0.0.1:{self.port}{path or self.path}"

    def processor_ns(self):
        return sum(map(lab.processor_ns, self.pids))


class Stage:
    """The peers, ended when it is left."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.running = binary, folder, []

    def __enter__(self):
        try:
            self.contenders = self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait()

    def start(self):
        folder = self.folder
        cert, key = self.certificate()
        (folder / "both.pem").write_text(cert.read_text() + key.read_text())
        (folder / "both.pem").chmod(0o600)
        app, stub = self.upstream("app"), self.upstream("stub")
        gate = self.gate(app.port, cert, key)
        subprocess.run(["/usr/bin/python3", lab.HERE / "resign.py", folder], check=True)
        tokens = folder / "tokens"
        everyone = {
            "keepgate": Contender(gate.port, [gate.pid], "/app/items", tokens),
            "keepgate, open route": Contender(gate.port, [gate.pid], "/open/items", tokens),
        }
        plain, auth = lab.free_port(), lab.free_port()
        values = {"UPSTREAM": app.port, "STUB": stub.port, "PLAIN": plain, "AUTH": auth, "CERT": cert, "KEY": key}
        nginx = self.add(lab.start_nginx(lab.configured("nginx.conf", folder, **values), plain))
        everyone["nginx"] = Contender(plain, [nginx.pid], "/app/items", tokens)
        everyone["nginx, auth_request"] = Contender(auth, [nginx.pid, stub.pid], "/app/items", tokens)
        plain, rs256, es256 = lab.free_port(), lab.free_port(), lab.free_port()
        values = {"UPSTREAM": app.port, "PLAIN": plain, "RS256": rs256, "ES256": es256, "ISSUER": f"https://localhost:{gate.port}"}
        with open(folder / "haproxy.log", "w") as log:
            haproxy = self.add(lab.start(plain, "haproxy", "-f", lab.configured("haproxy.cfg", folder, **values), stdout=log))
        everyone["haproxy"] = Contender(plain, [haproxy.pid], "/app/items", tokens)
        everyone["haproxy, jwt_verify RS256"] = Contender(rs256, [haproxy.pid], "/app/items", folder / "tokens.RS256")
        everyone["haproxy, jwt_verify ES256"] = Contender(es256, [haproxy.pid], "/app/items", folder / "tokens.ES256")
        plain, auth = lab.free_port(), lab.free_port()
        values = {"UPSTREAM": app.port, "STUB": stub.port, "PLAIN": plain, "AUTH": auth, "CERT": cert, "KEY": key}
        conf = lab.configured("Caddyfile", folder, **values)
        caddy = self.add(lab.start(plain, "caddy", "run", "--adapter", "caddyfile", "--config", conf, stderr=subprocess.DEVNULL,
                                   env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}))
        everyone["caddy"] = Contender(plain, [caddy.pid], "/app/items", tokens)
        everyone["caddy, forward_auth"] = Contender(auth, [caddy.pid, stub.pid], "/app/items", tokens)
        return everyone

    def certificate(self):
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        key.chmod(0o600)
        return cert, key

    def add(self, process):
        self.running.append(process)
        return process

    def upstream(self, name):
        folder, port = self.folder / name, lab.free_port()
        folder.mkdir()
        (folder / "64k").write_bytes(b"x" * 64 * 1024)
        (folder / "1m").write_bytes(b"x" * 1024 * 1024)
        process = self.add(lab.start_nginx(lab.configured("upstream.conf", folder, UPSTREAM=port), port))
        process.port = port
        return process

    def gate(self, upstream, cert, key, rules=RULES):
        port = lab.free_port()
        tls = f'source = "files"\n[[tls.certificates]]\ncertificate = "{cert}"\nkey = "{key}"'
        conf = lab.gate_config(self.folder, port, upstream, rules, access_ttl="1h", tls=tls)
        # Connections at rest stay open as long as those of the others.
        conf.write_text(conf.read_text().replace("connections_per_address = 4096", 'connections_per_address = 9000\nconnections = 9000\nidle_timeout = "10m"'))
        gate = self.add(lab.start(port, self.binary, "serve", "--config", conf, stdout=subprocess.DEVNULL))
        gate.port = port
        client = lab.Https(port, cert)
        who = {"email": "bench@example.com", "password": "correct horse battery staple"}
        client.post("/auth/v1/register", who)
        grant = client.post("/auth/v1/login", who)
        with open(self.folder / "tokens", "w") as file:
            for _ in range(TOKENS):
                grant = client.post("/auth/v1/refresh", {"refresh_token": grant["refresh_token"]})
                file.write(grant["access_token"] + "\n")
        return gate


def versions(binary):
    """Who they are: a figure without that says little."""
    def number(*command):
        said = subprocess.run(command, capture_output=True, text=True)
        return re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)[0]

    return f"Keepgate {number(binary, '--version')}, nginx {number('nginx', '-v')}, HAProxy {number('haproxy', '-v')}, Caddy {number('caddy', 'version')}"
