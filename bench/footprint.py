"""What a node weighs and how fast it is there: resident memory at rest, start to ready, size of the binary;
on empty stores and on 1,000,000 accounts with a session each. Peers' published figures stand in docs/benchmarks.md."""

import json, os, pathlib, ssl, subprocess, sys, tempfile, time, urllib.request

import lab

COUNT = os.environ.get("BENCH_ACCOUNTS", "1000000")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
# Past the start the allocator gives freed pages back, and a quiet hashing thread its arena; and a minute
# after it the clockwork begins to read through the stores.
REST = float(os.environ.get("BENCH_REST_SECONDS", "100"))


def start(binary, data):
    """Starts a node; returns it and the seconds until its readiness endpoint said yes."""
    for old in data.glob("run/ports.json"):
        old.unlink()
    begun = time.monotonic()
    node = subprocess.Popen([binary, "serve", "--dev", "--data", data, "--https", "127.0.0.1:0", "--http", "127.0.0.1:0",
                             "--internal", "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ports = data / "run/ports.json"
    while time.monotonic() < begun + 60:
        if node.poll() is not None:
            raise SystemExit(f"the node ended with {node.returncode}")
        try:
            internal = json.loads(ports.read_text())["internal"]
            with urllib.request.urlopen(f"http://{internal}/ready", timeout=1) as answer:
                if answer.status == 200:
                    return node, time.monotonic() - begun
        except (OSError, ValueError):
            time.sleep(0.001)
    raise SystemExit("the node did not become ready")


def stop(node):
    node.terminate()
    node.wait()


def resident(node):
    fields = dict(line.split(":", 1) for line in open(f"/proc/{node.pid}/status") if ":" in line)
    return {key: int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon", "RssFile")}


def measure(binary, data):
    times = []
    for _ in range(ROUNDS):
        node, took = start(binary, data)
        times.append(took * 1000)
        stop(node)
    node, _ = start(binary, data)
    time.sleep(REST)
    memory = resident(node)
    stop(node)
    return lab.summary(times), memory


def main():
    binary, populate = map(pathlib.Path, sys.argv[1:3])
    print(f"binary: {binary.stat().st_size / 1e6:.1f} MB (target ≤ 25, moonshot 15)")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="keepgate-bench-") as folder:
        for name, count in (("empty stores", None), (f"{int(COUNT):,} accounts and sessions", COUNT)):
            data = pathlib.Path(folder) / ("lived" if count else "empty")
            stop(start(binary, data)[0])
            if count:
                subprocess.run([populate, "--bench"], env={**os.environ, "POPULATE_DIR": str(data), "POPULATE_COUNT": count}, check=True)
            ready, memory = figures[name] = measure(binary, data)
            size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 1e6
            print(f"{name:36} start to ready {ready['median']:.0f} ms ({ready['min']:.0f}–{ready['max']:.0f})   resident {memory['VmRSS']:.1f} MB "
                  f"(own {memory['RssAnon']:.1f}, file pages {memory['RssFile']:.1f})   on disk {size:.0f} MB")
    (_, one), (_, many) = figures.values()
    print(f"difference in resident memory: {many['VmRSS'] - one['VmRSS']:+.1f} MB (target ≤ +20; idle ≤ 25; ready ≤ 100 ms empty, ≤ 300 ms lived)")


main()
