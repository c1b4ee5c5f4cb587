"""Keepgate beside nginx, HAProxy and Caddy, each plain and with authentication, in one interleaved run: processor time of a
request and of a handshake, latency at equal load, system calls, memory of a connection at rest. docs/benchmarks.md says how.

    make bench-edge
    bench/edge.py BINARY [--svg PATH]     BENCH_ROUNDS (5), BENCH_SECONDS (2) a window, BENCH_IDLE (1000) connections
"""

import argparse, functools, os, pathlib, random, re, subprocess, tempfile, time

import draw, idle, lab, stage

SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
IDLE = int(os.environ.get("BENCH_IDLE", "1000"))
CONNECTIONS, STREAMS = 64, 8
# A load that the slowest of them bears: 16 clients that think for 10 ms.
PACED, THINK = 16, 10
# New connections at a time: no more than what any of them leaves waiting for accept().
BURST = 128
REFERENCE = "nginx"
PLAIN = ["keepgate", "nginx", "haproxy", "caddy"]


def wrk(contender, connections=CONNECTIONS, path=None, **more):
    environment = {"HOST_HEADER": f"127.0.0.1:{contender.port}", "BENCH_PATH": path or contender.path, "TOKENS": str(contender.tokens), **more}
    return lab.wrk_percentiles(contender.url(), "tokens.lua", max(1, round(SECONDS)), connections, **environment)


def requests(contender, path=None):
    before = contender.processor_ns()
    count, took, _ = wrk(contender, path=path)
    if not count:
        raise SystemExit(f"{contender.url(path)} answered nothing in a whole window: {took:.1f} s")
    return {"us": (contender.processor_ns() - before) / count / 1000, "rps": count / took}


def first_token(contender):
    with open(contender.tokens) as file:
        return f"authorization: Bearer {file.readline().strip()}"


def for_a_while(contender, *options):
    """Runs of h2load until the window is over; processor µs for each request it had answered."""
    # What the round before left to be done is not ours.
    time.sleep(0.2)
    before, count, began = contender.processor_ns(), 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        count += lab.h2load(contender.url(), "-H", first_token(contender), *options)
    time.sleep(0.1)
    return {"us": (contender.processor_ns() - before) / count / 1000}


def connections(contender):
    """A new connection for each request: a full handshake, X25519, nothing resumed."""
    return for_a_while(contender, "--h1", "--groups=X25519", "-c", BURST, "-n", BURST)


def http2(contender):
    return for_a_while(contender, "-c", CONNECTIONS // 4, "-m", STREAMS, "-n", 4000)


def latency(contender):
    _, _, at = wrk(contender, PACED, THINK=str(THINK))
    return {"p50": at[50], "p99": at[99]}


def system_calls(contender):
    """Counted by strace during a load of its own, since it makes everything slow."""
    out = pathlib.Path(tempfile.mkstemp(prefix="keepgate-strace-")[1])
    pids = [pid for one in contender.pids for pid in lab.tree(one)]
    strace = subprocess.Popen(["taskset", "-c", lab.PROXY_CORE, "strace", "-c", "-f", "-U", "calls,name", "-o", out, *(f"-p{pid}" for pid in pids)],
                              stderr=subprocess.DEVNULL)
    try:
        while not all(is_traced(pid) for pid in pids):
            if strace.poll() is not None:
                raise SystemExit("strace cannot attach: run as root")
            time.sleep(0.05)
        count = wrk(contender)[0]
    finally:
        strace.send_signal(2)
        strace.wait()
    calls = {name: int(number) for number, name in re.findall(r"^\s*(\d+) (\w+)$", out.read_text(), re.M) if name != "total"}
    out.unlink()
    most = sorted(calls, key=calls.get, reverse=True)[:6]
    return {"calls": sum(calls.values()) / count, "which": ", ".join(f"{name} {calls[name] / count:.2f}" for name in most)}


def is_traced(pid):
    return all(re.search(r"TracerPid:\s+[1-9]", open(f"/proc/{pid}/task/{task}/status").read()) for task in os.listdir(f"/proc/{pid}/task"))


def at_rest(contender):
    """Resident memory for each connection that was served once over HTTP/1.1 and is kept."""
    ask = functools.partial(idle.connect, "127.0.0.1", contender.port, idle.trusting(), contender.path, first_token(contender))
    warm = [ask() for _ in range(50)]
    time.sleep(2)
    before = idle.resident(contender.pids[0])
    kept = [ask() for _ in range(IDLE)]
    time.sleep(5)
    each = (idle.resident(contender.pids[0]) - before) / IDLE
    for stream in warm + kept:
        stream.close()
    return {"kib": each}


PARTS = {
    # What is measured, with whom.
    "request": (requests, None),
    "connection": (connections, PLAIN),
    "latency": (latency, None),
    "http2": (http2, PLAIN),
    "64k": (lambda contender: requests(contender, "/app/64k"), PLAIN),
    "1m": (lambda contender: requests(contender, "/app/1m"), PLAIN),
}


def one_round(everyone):
    measured = {}
    for part, (measure, whom) in PARTS.items():
        names = list(whom or everyone)
        random.shuffle(names)
        results = {name: measure(everyone[name]) for name in names}
        measured[part] = {name: results[name] for name in everyone if name in results}
    for name, at in measured["connection"].items():
        # Accepting and closing are in it, the request is not.
        measured.setdefault("handshake", {})[name] = {"us": at["us"] - measured["request"][name]["us"]}
    return measured


class Report:
    """Medians of all rounds but the first, which warms up."""

    def __init__(self, rounds, once):
        self.rounds, self.once = rounds, once

    def values(self, part, name, key):
        return [one[part][name][key] for one in self.rounds if name in one[part]]

    def figure(self, part, name, key="us"):
        return lab.summary(self.values(part, name, key))

    def ratio(self, part, name, key="us", to=REFERENCE):
        return lab.summary([ours / theirs for ours, theirs in zip(self.values(part, name, key), self.values(part, to, key))])

    def table(self, title, part, key="us", digits=1):
        print(f"\n{title:44}{'median':>10}{'spread':>18}{'against nginx':>16}{'spread':>14}")
        for name in self.rounds[0][part]:
            figure, ratio = self.figure(part, name, key), self.ratio(part, name, key)
            spread = f"({figure['min']:.{digits}f}–{figure['max']:.{digits}f})"
            print(f"  {name:42}{figure['median']:>10.{digits}f}{spread:>18}{ratio['median']:>15.2f}×{'(%.2f–%.2f)' % (ratio['min'], ratio['max']):>14}")

    def counts(self):
        print(f"\n{'':44}{'system calls a request':>24}")
        for name, at in self.once["calls"].items():
            print(f"  {name:42}{at['calls']:>10.2f}   {at['which']}")
        print(f"\n{'':44}{'KiB a connection at rest':>24}{'against nginx':>16}")
        for name, at in self.once["rest"].items():
            print(f"  {name:42}{at['kib']:>10.1f}{at['kib'] / self.once['rest'][REFERENCE]['kib']:>29.2f}×")

    def targets(self):
        print(f"\n{'an authenticated request through Keepgate':64}{'ratio':>8}{'spread':>14}   target")
        lines = [
            ("against nginx, unauthenticated", "request", "us", "nginx", "≤ 0.80"),
            ("against nginx with auth_request, the stub's time with it", "request", "us", "nginx, auth_request", "≤ 0.45"),
            ("against HAProxy jwt_verify RS256", "request", "us", "haproxy, jwt_verify RS256", "≤ 0.40"),
            ("against HAProxy jwt_verify ES256", "request", "us", "haproxy, jwt_verify ES256", "≤ 0.22"),
            ("against Caddy forward_auth, the stub's time with it", "request", "us", "caddy, forward_auth", "≤ 0.12"),
            ("against the same request on an open route of ours", "request", "us", "keepgate, open route", "≤ 1.03"),
            ("over HTTP/2 against nginx over HTTP/2, unauthenticated", "http2", "us", "nginx", "≤ 0.80"),
            ("for 64 KiB against nginx, unauthenticated", "64k", "us", "nginx", "≤ 0.50"),
            ("for 1 MiB against nginx, unauthenticated", "1m", "us", "nginx", "≤ 0.90"),
            ("a full handshake, X25519, against nginx", "handshake", "us", "nginx", "≤ 0.60"),
            ("p99 at equal load against nginx, unauthenticated", "latency", "p99", "nginx", "≤ 1.00"),
        ]
        for label, part, key, to, target in lines:
            ratio = self.ratio(part, "keepgate", key, to)
            print(f"  {label:62}{ratio['median']:>7.2f}×{'(%.2f–%.2f)' % (ratio['min'], ratio['max']):>14}   {target}×{self.met(ratio['median'], target)}")
        calls, rest = self.once["calls"]["keepgate"]["calls"], self.once["rest"]["keepgate"]["kib"]
        print(f"  {'system calls a request':62}{calls:>8.2f}{'':14}   ≤ 4.5{self.met(calls, '≤ 4.5')}")
        print(f"  {'KiB a connection at rest':62}{rest:>8.1f}{'':14}   ≤ 16{self.met(rest, '≤ 16')}")

    @staticmethod
    def met(value, target):
        return "" if value <= float(target.split()[1]) else "   not met"

    def panels(self):
        def bars(part, key="us", digits=1):
            return [(name, self.figure(part, name, key), self.ratio(part, name, key)["median"], digits) for name in self.rounds[0][part]]

        def counted(part, key, digits):
            reference = self.once[part][REFERENCE][key]
            return [(name, lab.summary([at[key]]), at[key] / reference, digits) for name, at in self.once[part].items()]

        return [
            ("Processor time of a request, µs", bars("request")),
            ("Processor time of a full TLS 1.3 handshake, µs", bars("handshake", digits=0)),
            ("Latency p50 at equal load, ms", bars("latency", "p50", 2)),
            ("Latency p99 at equal load, ms", bars("latency", "p99", 2)),
            ("System calls of a request", counted("calls", "calls", 1)),
            ("Memory of a TLS connection at rest, KiB", counted("rest", "kib", 1)),
        ]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--svg", type=pathlib.Path)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="keepgate-bench-") as folder:
        folder = pathlib.Path(folder)
        # nginx's workers are another user.
        folder.chmod(0o755)
        with stage.Stage(options.binary, folder) as on:
            # First: who has served many has memory over, and connections at rest then seem to weigh nothing.
            once = {"rest": {name: at_rest(on.contenders[name]) for name in PLAIN}}
            rounds = [one_round(on.contenders) for _ in range(ROUNDS + 1)]
            once["calls"] = {name: system_calls(one) for name, one in on.contenders.items()}
    who = stage.versions(options.binary)
    print(f"{who}\n{ROUNDS} rounds, windows of {SECONDS:g} s, {CONNECTIONS} connections, {stage.TOKENS} tokens; load of the machine now {os.getloadavg()[0]:.1f}")
    report = Report(rounds[1:], once)
    report.table("processor µs a request", "request")
    report.table("requests a second on one core, with the upstream", "request", "rps", 0)
    report.table("processor µs a full handshake", "handshake", digits=0)
    report.table("latency p50, ms, at equal load", "latency", "p50", 2)
    report.table("latency p99, ms, at equal load", "latency", "p99", 2)
    report.table("processor µs a request over HTTP/2", "http2")
    report.table("processor µs for 64 KiB", "64k", digits=0)
    report.table("processor µs for 1 MiB", "1m", digits=0)
    report.counts()
    report.targets()
    if options.svg:
        options.svg.write_text(draw.panels(report.panels(), f"{who}; medians of {ROUNDS} rounds; × against nginx in the same round"))


if __name__ == "__main__":
    main()
