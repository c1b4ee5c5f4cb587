"""What 10,000 TLS connections at rest weigh: Keepgate beside nginx in the same run, each connection after one request
over HTTP/1.1. Resident memory, before and after, divided by the connections that are still open.

    make idle            (BENCH_IDLE, default 10000, if RLIMIT_NOFILE allows it)
    bench/idle.py BINARY
"""

import os, pathlib, resource, ssl, socket, subprocess, sys, tempfile, time

import lab

REST = float(os.environ.get("BENCH_REST_SECONDS", "20"))


def resident(pid):
    total = 0
    for one in lab.tree(pid):
        fields = dict(line.split(":", 1) for line in open(f"/proc/{one}/status") if ":" in line)
        total += int(fields["VmRSS"].split()[0])
    return total


def trusting():
    """Who is measured here shows a certificate of the day."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(address, port, context, path="/x", line="accept: */*"):
    """A connection that has been served once, and is kept."""
    raw = socket.create_connection((address, port), 30)
    stream = context.wrap_socket(raw, server_hostname="localhost")
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = stream.recv(65536)
        if not piece:
            raise SystemExit(f"closed after {head!r}")
        head += piece
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"answered {head!r}")
    return stream


def measure(name, process, port, context, count):
    # What the first connections cost once and for all is not the others' weight.
    warm = [connect("127.0.0.1", port, context) for _ in range(50)]
    time.sleep(2)
    before = resident(process.pid)
    kept = [connect("127.0.0.1", port, context) for _ in range(count)]
    full = resident(process.pid)
    time.sleep(REST)
    at_rest = resident(process.pid)
    each = (at_rest - before) * 1024 / count
    print(f"{name}: {before / 1024:.1f} MB before, {full / 1024:.1f} with {count} connections, {at_rest / 1024:.1f} after "
          f"{REST:.0f} s of rest: {each:.0f} bytes each", flush=True)
    closed = 0
    for stream in kept:
        stream.setblocking(False)
        try:
            closed += stream.recv(1) == b""
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
    if closed:
        raise SystemExit(f"{name}: {closed} connections were closed meanwhile")
    for stream in warm + kept:
        stream.close()
    return each


def main():
    binary = pathlib.Path(sys.argv[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Keepgate budgets two descriptors for each, and 256 for everything else.
    count = min(int(os.environ.get("BENCH_IDLE", "10000")), (hard - 256) // 2 - 100)
    with tempfile.TemporaryDirectory(prefix="keepgate-idle-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        port, upstream, plain, auth, stub = (lab.free_port() for _ in range(5))
        (folder / "up").mkdir()
        up = (folder / "up" / "nginx.conf")
        up.write_text(f"worker_processes 1; pid {folder}/up/nginx.pid; error_log {folder}/up/error.log; events {{}}\n"
                      f"http {{ access_log off; keepalive_requests 100000000; server {{ listen 127.0.0.1:{upstream}; "
                      f"return 200 'x'; }} }}\n")
        conf = lab.gate_config(folder, port, upstream, f"""
[[routes]]
path = "/x"
upstream = "app"
auth = "none"
""")
        text = conf.read_text().replace("connections_per_address = 4096", "connections_per_address = 100000\n"
                                        "connections = 100000\nidle_timeout = \"10m\"")
        conf.write_text(text)
        processes = [lab.start_nginx(up, upstream)]
        try:
            gate = lab.pinned(lab.PROXY_CORE, binary, "serve", "--config", conf, stdout=subprocess.DEVNULL)
            processes.append(gate)
            lab.wait_for_port(port, gate)
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                            "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
                            "-days", "2"], check=True, capture_output=True)
            peer = lab.configured("nginx.conf", folder, UPSTREAM=upstream, STUB=stub, CERT=folder / "cert.pem",
                                  KEY=folder / "key.pem", PLAIN=plain, AUTH=auth)
            peer.write_text(peer.read_text()
                            .replace("worker_connections 4096", "worker_connections 40000")
                            .replace("worker_processes 1;", f"worker_processes 1; worker_rlimit_nofile {hard};"))
            nginx = lab.start_nginx(peer, plain)
            processes.append(nginx)
            context = trusting()
            load = os.getloadavg()[0]
            ours = measure("Keepgate", gate, port, context, count)
            theirs = measure("nginx", nginx, plain, context, count)
            print(f"ratio {ours / theirs:.2f} ({count} connections each; load of the machine {load:.1f} before, "
                  f"{os.getloadavg()[0]:.1f} after)")
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
