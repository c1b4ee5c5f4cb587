"""Durable rotations at the store's facade beside Redis, appendfsync always, one Lua script, 64 clients: interleaved."""

import json, os, pathlib, random, subprocess, sys, tempfile

import lab

SECONDS = os.environ.get("BENCH_ROTATION_SECONDS", "4")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
FAMILIES = 100_000


def ours(binary, folder):
    out = subprocess.run([binary, "--bench"], env={**os.environ, "ROTATION_DIR": str(folder), "ROTATION_SECONDS": SECONDS,
                         "ROTATION_FAMILIES": str(FAMILIES)}, capture_output=True, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def redis(folder):
    port = lab.free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes",
                               "--appendfsync", "always", "--save", "", "--daemonize", "no"], stdout=subprocess.DEVNULL)
    try:
        lab.wait_for_port(port, server)
        script = (lab.HERE / "peers/rotate.lua").read_text()
        sha = subprocess.run(["redis-cli", "-p", str(port), "SCRIPT", "LOAD", script], capture_output=True, text=True, check=True).stdout.strip()
        count = 60_000 * int(float(SECONDS))
        out = subprocess.run(["redis-benchmark", "-p", str(port), "-c", "64", "-n", str(count), "-r", str(FAMILIES), "--csv", "EVALSHA", sha, "1",
                              "s:__rand_int__", "x" * 64, "1763800000000"], capture_output=True, text=True, check=True).stdout
        row = [field.strip('"') for field in out.strip().splitlines()[-1].split('","')]
        return {"per_second": float(row[1]), "p50_ms": float(row[4]), "p99_ms": float(row[6])}
    finally:
        server.terminate()
        server.wait()


def main():
    rounds = []
    for _ in range(ROUNDS):
        one = {}
        contenders = [("keepgate facade", lambda at: ours(sys.argv[1], at)), ("redis always + Lua", redis)]
        random.shuffle(contenders)
        for name, run in contenders:
            with tempfile.TemporaryDirectory(prefix="keepgate-bench-") as folder:
                one[name] = run(pathlib.Path(folder))
        rounds.append(one)
    print(f"{'':24}{'rotations/s':>26}{'p50 ms':>10}{'p99 ms':>10}")
    for name in sorted(rounds[0]):
        rate, p50, p99 = (lab.summary([r[name][key] for r in rounds]) for key in ("per_second", "p50_ms", "p99_ms"))
        spread = f"{rate['median']:.0f} ({rate['min']:.0f}–{rate['max']:.0f})"
        print(f"{name:24}{spread:>26}{p50['median']:>10.2f}{p99['median']:>10.2f}")
    ratio = lab.summary([r["keepgate facade"]["per_second"] / r["redis always + Lua"]["per_second"] for r in rounds])
    print(f"\nfacade / Redis{ratio['median']:>9.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f})   target ≥ 1.5×, moonshot ≥ 3×")


main()
