"""Shows an instrumented binary what a node spends its time on, so that the compiler knows: proxied requests over both versions
of HTTP, with and without a token, small and large; new connections; files, compressed and not; refusals; logins, refreshes,
documents. `packaging/dist.sh` builds with what it learns. Half a minute.

    bench/train.py BINARY
"""

import http.client, json, os, pathlib, ssl, sys, tempfile

import lab, stage

SECONDS = float(os.environ.get("TRAIN_SECONDS", "3"))
ACCOUNTS = 8
# Not the cheap hash of the bench: the function that takes a node's time most of all is to be seen too.
RULES = """
[rates]
address = "off"
user = "off"
[passwords]
queue = 64
[[routes]]
path = "/users"
api = true
auth = "optional"
[[routes]]
path = "/open"
upstream = "app"
auth = "none"
[[routes]]
path = "/site"
root = "@SITE@"
auth = "none"
compress = true
"""


class Training(stage.Stage):
    def start(self):
        cert, key = self.certificate()
        site = self.folder / "site"
        site.mkdir()
        (site / "page.html").write_text("<p>What is said again and again is soon said shortly. " * 500)
        (site / "picture.png").write_bytes(os.urandom(300_000))
        app = self.upstream("app")
        gate = self.gate(app.port, cert, key, RULES.replace("@SITE@", str(site)))
        gate.trusts = ssl.create_default_context(cafile=cert)
        return {path: stage.Contender(gate.port, [gate.pid], path, self.folder / "tokens") for path in ("/app/items", "/open/items")} | {"gate": gate}


def load(contender, path):
    host = f"127.0.0.1:{contender.port}"
    lab.wrk_percentiles(contender.url(path), "tokens.lua", max(1, round(SECONDS)), 64, HOST_HEADER=host, BENCH_PATH=path, TOKENS=str(contender.tokens))


def streams(contender, path, *options, token):
    lab.h2load(contender.url(path), "-H", f"authorization: Bearer {token}", *options)


def people(gate, token):
    """What one client asks of the API, of a site, and what is refused."""
    connection = http.client.HTTPSConnection("localhost", gate.port, context=gate.trusts)
    who = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    forged = {**who, "authorization": f"Bearer {token[:-4]}AAAA"}
    for turn in range(200):
        document = f"/users/v1/me/data/k{turn % 20}"
        for method, path, body, headers, *expected in (
            ("GET", "/app/items", None, {}, 401),
            # Its address may not have too many signatures looked at.
            ("GET", "/app/items", None, forged, 401, 429),
            ("GET", "/nowhere", None, {}, 404),
            ("GET", "/site/nothing.html", None, {"accept": "text/html"}, 404),
            ("GET", "/site/page.html", None, {"accept-encoding": ("br", "gzip", "zstd")[turn % 3]}, 200),
            ("GET", "/site/picture.png", None, {"range": "bytes=1000-1999"}, 206),
            ("GET", "/users/v1/me", None, who, 200),
            ("PUT", document, json.dumps({"turn": turn}), who, 201 if turn < 20 else 204),
            ("GET", document, None, who, 200),
        ):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in expected:
                raise SystemExit(f"{method} {path}: {answer.status} instead of {expected}")


def main():
    with tempfile.TemporaryDirectory(prefix="keepgate-train-") as folder:
        folder = pathlib.Path(folder)
        # nginx's workers are another user.
        folder.chmod(0o755)
        (folder / "body").write_bytes(b"x" * 20_000)
        with Training(pathlib.Path(sys.argv[1]), folder) as on:
            gate, app = on.contenders["gate"], on.contenders["/app/items"]
            with open(app.tokens) as tokens:
                token = tokens.readline().strip()
            for path in ("/app/items", "/open/items", "/app/items", "/app/64k", "/app/1m", "/site/page.html", "/site/picture.png"):
                load(app, path)
            streams(app, "/app/items", "-c", 16, "-m", 8, "-n", 40_000, token=token)
            streams(app, "/app/64k", "-c", 16, "-m", 8, "-n", 4_000, token=token)
            streams(app, "/open/items", "-c", 16, "-m", 4, "-n", 5_000, "-d", folder / "body", token=token)
            streams(app, "/open/items", "--h1", "-c", 16, "-n", 5_000, "-d", folder / "body", token=token)
            for _ in range(8):
                streams(app, "/app/items", "--h1", "-c", 128, "-n", 128, token=token)
            people(gate, token)
            client = lab.Https(gate.port, folder / "cert.pem")
            for number in range(1, ACCOUNTS + 1):
                client.post("/auth/v1/register", {"email": f"p{number}@example.com", "password": "correct horse battery staple"})
            lab.wrk(f"https://127.0.0.1:{gate.port}/auth/v1/login", "login.lua", max(1, round(SECONDS)), 8, HOST_HEADER=f"localhost:{gate.port}",
                    ACCOUNTS=str(ACCOUNTS))


main()
