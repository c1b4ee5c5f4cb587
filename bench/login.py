"""Logins per second through TLS and HTTP beside the bare argon2 function: same parameters, as many threads. Interleaved."""

import os, pathlib, subprocess, sys, tempfile

import lab

SECONDS = int(os.environ.get("BENCH_LOGIN_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ACCOUNTS, THREADS = 40, 1


def bare(binary):
    environment = {**os.environ, "HASH_THREADS": str(THREADS), "HASH_SECONDS": str(SECONDS)}
    return float(subprocess.run(["taskset", "-c", lab.PROXY_CORE, binary, "--bench"], env=environment, capture_output=True, text=True, check=True).stdout)


def main():
    gate_binary, hash_binary = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="keepgate-bench-") as folder:
        port = lab.free_port()
        data = pathlib.Path(folder) / "data"
        # The hashing thread shares its core with nobody but the gate; the load is on the other core.
        gate = lab.pinned(lab.PROXY_CORE, gate_binary, "serve", "--dev", "--data", data, "--https", f"127.0.0.1:{port}", "--http", "127.0.0.1:0",
                          "--internal", "127.0.0.1:0", stdout=subprocess.DEVNULL,
                          env={**os.environ, "KEEPGATE_PASSWORDS__THREADS": str(THREADS), "KEEPGATE_PASSWORDS__QUEUE": "64",
                               "KEEPGATE_RATES__ADDRESS": "1000000/s", "KEEPGATE_RATES__USER": "1000000/s",
                               "KEEPGATE_LISTEN__WORKERS": "1", "KEEPGATE_LOG__TARGET": "files"})
        try:
            lab.wait_for_port(port, gate)
            client = lab.Https(port, data / "tls/ca.pem")
            for number in range(1, ACCOUNTS + 1):
                client.post("/auth/v1/register", {"email": f"p{number}@example.com", "password": "correct horse battery staple"})
            rounds = []
            for _ in range(ROUNDS):
                requests, took, _ = lab.wrk(f"https://127.0.0.1:{port}/auth/v1/login", "login.lua", SECONDS, 8,
                                            HOST_HEADER=f"localhost:{port}", ACCOUNTS=str(ACCOUNTS))
                rounds.append((requests / took, bare(hash_binary)))
        finally:
            gate.terminate()
            gate.wait()
    ours, theirs = lab.summary([r[0] for r in rounds]), lab.summary([r[1] for r in rounds])
    ratio = lab.summary([r[0] / r[1] for r in rounds])
    print(f"logins through HTTPS   {ours['median']:>8.1f}/s ({ours['min']:.1f}–{ours['max']:.1f})")
    print(f"bare argon2id          {theirs['median']:>8.1f}/s ({theirs['min']:.1f}–{theirs['max']:.1f})   19 MiB, t=2, p=1, {THREADS} thread")
    print(f"\nlogins / bare {ratio['median']:>9.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f})   target ≥ 0.95×")


main()
