"""An authenticated request through Keepgate beside nginx, unauthenticated and with auth_request, in one interleaved run."""

import os, pathlib, random, subprocess, sys, tempfile

import lab

SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TOKENS = 1000
RULES = """
[rates]
address = "1000000/s"
user = "1000000/s"
[passwords]
memory_kib = 64
iterations = 1
[[routes]]
path = "/open"
upstream = "app"
auth = "none"
"""


def make_tokens(folder, port):
    client = lab.Https(port, folder / "data/tls/ca.pem")
    who = {"email": "bench@example.com", "password": "correct horse battery staple"}
    client.post("/auth/v1/register", who)
    grant = client.post("/auth/v1/login", who)
    path = folder / "tokens"
    with open(path, "w") as file:
        for _ in range(TOKENS):
            grant = client.post("/auth/v1/refresh", {"refresh_token": grant["refresh_token"]})
            file.write(grant["access_token"] + "\n")
    return path


def measure(name, url, pids, tokens):
    before = sum(map(lab.processor_ns, pids))
    environment = {"HOST_HEADER": url.split("/")[2], "BENCH_PATH": "/open/items" if name == "keepgate open" else "/app/items"}
    if tokens:
        environment["TOKENS"] = str(tokens)
    requests, took, p99 = lab.wrk(url, "tokens.lua", SECONDS, 64, **environment)
    return {"us": (sum(map(lab.processor_ns, pids)) - before) / requests / 1000, "rps": requests / took, "p99_ms": p99}


def main():
    binary = sys.argv[1]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keepgate-bench-"))
    upstream, stub, plain, auth, port = (lab.free_port() for _ in range(5))
    running = []
    try:
        for name, at in ("app", upstream), ("stub", stub):
            (folder / name).mkdir()
            running.append(lab.start_nginx(lab.configured("upstream.conf", folder / name, UPSTREAM=at), at))
        gate = lab.pinned(lab.PROXY_CORE, binary, "serve", "--config", lab.gate_config(folder, port, upstream, RULES), stdout=subprocess.DEVNULL)
        running.append(gate)
        lab.wait_for_port(port, gate)
        tokens = make_tokens(folder, port)
        key = folder / "nginx.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                        "-out", folder / "nginx.pem", "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        conf = lab.configured("nginx.conf", folder, UPSTREAM=upstream, STUB=stub, PLAIN=plain, AUTH=auth, CERT=folder / "nginx.pem", KEY=key)
        nginx = lab.start_nginx(conf, plain)
        running.append(nginx)
        contenders = {
            "keepgate authenticated": (f"https://127.0.0.1:{port}/app/items", [gate.pid], tokens),
            "keepgate open": (f"https://127.0.0.1:{port}/open/items", [gate.pid], tokens),
            "nginx proxy_pass": (f"https://127.0.0.1:{plain}/app/items", [nginx.pid], tokens),
            "nginx auth_request": (f"https://127.0.0.1:{auth}/app/items", [nginx.pid, running[1].pid], tokens),
        }
        rounds = []
        for _ in range(ROUNDS + 1):
            order = list(contenders)
            random.shuffle(order)
            rounds.append({name: measure(name, *contenders[name]) for name in order})
        report(rounds[1:])
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait()
        subprocess.run(["rm", "-rf", folder])


def report(rounds):
    print(f"{'':26}{'processor µs/request':>24}{'requests/s':>14}{'p99 ms':>10}")
    for name in rounds[0]:
        us, rps, p99 = (lab.summary([r[name][key] for r in rounds]) for key in ("us", "rps", "p99_ms"))
        spread = f"{us['median']:.1f} ({us['min']:.1f}–{us['max']:.1f})"
        print(f"{name:26}{spread:>24}{rps['median']:>14.0f}{p99['median']:>10.2f}")
    print()
    ratios = [
        ("authenticated / nginx proxy_pass, unauthenticated", "nginx proxy_pass", "≤ 0.80"),
        ("authenticated / nginx auth_request, both processes", "nginx auth_request", "≤ 0.45"),
        ("authenticated / open in our own binary", "keepgate open", "≤ 1.03"),
    ]
    for label, peer, target in ratios:
        ratio = lab.summary([r["keepgate authenticated"]["us"] / r[peer]["us"] for r in rounds])
        print(f"{label:54}{ratio['median']:>7.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f})   target {target}×")


main()
