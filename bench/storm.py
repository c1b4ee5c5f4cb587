"""Proxied requests while 500 clients log in at once, beside the same requests in quiet: p99, and memory against the budget.
Then guessing at one account from 1,000 addresses: how many guesses reach a hash, and whether the owner gets in.

Gate and upstream have one core, both loads the other, as in bench/edge.py. Quiet and storm alternate in random order; the
ratio is taken within a round. The proxied load thinks between requests, so it is far from saturating anything."""

import http.client, json, os, pathlib, random, re, ssl, subprocess, sys, tempfile, threading, time

import lab

SECONDS = int(os.environ.get("STORM_SECONDS", "4"))
ROUNDS = int(os.environ.get("STORM_ROUNDS", "7"))
ATTACK_SECONDS = int(os.environ.get("STORM_ATTACK_SECONDS", "60"))
CLIENTS, LINKS, HASH_MIB, PER_CONNECTION_KIB = 500, 8, 19, 96
HASHED, ANSWERED_5XX = 'keepgate_password_tries_total{from="stranger"}', 'keepgate_requests_total{status="5xx"}'
LISTEN = 'trusted_proxies = ["127.0.0.1"]'
RULES = """
[rates]
address = "off"
user = "off"
[passwords]
threads = 1
queue = 32
"""
OWNER = {"email": "ada@example.com", "password": "correct horse battery staple"}


class Client:
    """One keep-alive connection; `ask` gives status, headers, body and says where it comes from."""

    def __init__(self, port, ca):
        self.connection = http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context(cafile=ca))

    def ask(self, path, body, address, **headers):
        headers |= {"content-type": "application/json", "x-forwarded-for": address}
        self.connection.request("POST", path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read() or "null")


def status(pid, key):
    return int(re.search(rf"{key}:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def metrics(internal):
    connection = http.client.HTTPConnection("127.0.0.1", internal)
    connection.request("GET", "/metrics")
    return dict(line.rsplit(" ", 1) for line in connection.getresponse().read().decode().splitlines() if not line.startswith("#"))


def storm(port, start):
    return lab.pinned(lab.LOAD_CORE, "wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS + 4}s", "-s", lab.HERE / "storm.lua", f"https://127.0.0.1:{port}/",
                      stdout=subprocess.PIPE, text=True, env={**os.environ, "HOST_HEADER": f"localhost:{port}", "START": str(start)})


def proxied(port, token):
    return lab.wrk(f"https://127.0.0.1:{port}/app/items", "paced.lua", SECONDS, 16, HOST_HEADER=f"localhost:{port}", TOKEN=token)[2]


def until_calm(internal):
    """What the last storm left in the queue is hashed: quiet begins."""
    while float(metrics(internal)["keepgate_password_hashes_waiting"]):
        time.sleep(0.05)


def storm_rounds(port, internal, pid, token, quiet_kib):
    rounds, start = [], 0
    for _ in range(ROUNDS + 1):
        found = {}
        for kind in random.sample(["quiet", "storm"], 2):
            if kind == "storm":
                running = storm(port, start)
                start += 20_000
                time.sleep(2)  # handshakes are done, the queue is full
                found[kind] = proxied(port, token)
                running.communicate()
            else:
                until_calm(internal)
                found[kind] = proxied(port, token)
        rounds.append(found)
    quiet, stormy = (lab.summary([r[kind] for r in rounds[1:]]) for kind in ("quiet", "storm"))
    ratio = lab.summary([r["storm"] / r["quiet"] for r in rounds[1:]])
    seen = metrics(internal)
    budget = quiet_kib + HASH_MIB * 1024 + (CLIENTS + 16) * PER_CONNECTION_KIB
    print(f"proxied p99 in quiet   {quiet['median']:>8.2f} ms ({quiet['min']:.2f}–{quiet['max']:.2f})")
    print(f"proxied p99 in storm   {stormy['median']:>8.2f} ms ({stormy['min']:.2f}–{stormy['max']:.2f})   {CLIENTS} clients, 1 hashing thread")
    print(f"storm / quiet          {ratio['median']:>8.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f})   target ≤ 1.5×")
    print(f"logins                 {seen[HASHED]} hashed, {seen[ANSWERED_5XX]} answered 503")
    print(f"memory at its highest  {status(pid, 'VmHWM') / 1024:>8.1f} MiB of {budget / 1024:.1f}: {quiet_kib / 1024:.1f} before, a hash, {PER_CONNECTION_KIB} KiB a connection")


def bots(port, ca, share, until, tally):
    client = Client(port, ca)
    while time.monotonic() < until:
        for n in range(share, 1000, LINKS):
            code, _, _ = client.ask("/auth/v1/login", {"email": OWNER["email"], "password": "a guess of many"}, f"198.18.{n // 250}.{n % 250 + 1}")
            tally[code] = tally.get(code, 0) + 1


def attack(port, ca, internal):
    owner = Client(port, ca)
    code, headers, grant = owner.ask("/auth/v1/login", OWNER, "203.0.113.1")
    cookie = headers["set-cookie"].split(";")[0]
    before, until = int(metrics(internal)[HASHED]), time.monotonic() + ATTACK_SECONDS
    tallies = [{} for _ in range(LINKS)]
    threads = [threading.Thread(target=bots, args=(port, ca, share, until, tallies[share])) for share in range(LINKS)]
    [thread.start() for thread in threads]
    seen = {"known device": [], "known address": [], "refresh": []}
    while time.monotonic() < until - 1:
        time.sleep(1)
        seen["known device"].append(owner.ask("/auth/v1/login", OWNER, "203.0.113.99", cookie=cookie)[0])
        seen["known address"].append(owner.ask("/auth/v1/login", OWNER, "203.0.113.1")[0])
        code, _, grant = owner.ask("/auth/v1/refresh", {"refresh_token": grant["refresh_token"]}, "203.0.113.1")
        seen["refresh"].append(code)
    [thread.join() for thread in threads]
    total = sum(sum(tally.values()) for tally in tallies)
    print(f"guesses                {total} in {ATTACK_SECONDS} s from 1,000 addresses; {int(metrics(internal)[HASHED]) - before} reached a hash")
    for what, codes in seen.items():
        print(f"owner, {what:15} {codes.count(200)} of {len(codes)} got in")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keepgate-storm-"))
    upstream, port, internal = (lab.free_port() for _ in range(3))
    running = []
    try:
        running.append(lab.start_nginx(lab.configured("upstream.conf", folder, UPSTREAM=upstream), upstream))
        gate = lab.pinned(lab.PROXY_CORE, sys.argv[1], "serve", "--config", lab.gate_config(folder, port, upstream, RULES, internal, LISTEN, access_ttl="1h"), stdout=subprocess.DEVNULL)
        running.append(gate)
        lab.wait_for_port(port, gate)
        quiet_kib = status(gate.pid, "VmRSS")
        client = lab.Https(port, folder / "data/tls/ca.pem")
        client.post("/auth/v1/register", OWNER)
        token = client.post("/auth/v1/login", OWNER)["access_token"]
        storm_rounds(port, internal, gate.pid, token, quiet_kib)
        attack(port, folder / "data/tls/ca.pem", internal)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait()
        subprocess.run(["rm", "-rf", folder])


main()
