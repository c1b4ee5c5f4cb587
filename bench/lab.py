"""What the comparisons share: processes pinned to a core, their processor time, wrk, medians."""

import json, os, pathlib, re, socket, ssl, statistics, subprocess, time

PROXY_CORE, LOAD_CORE = "0", "1"
HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process):
    for _ in range(1000):
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


def pinned(core, *command, **options):
    return subprocess.Popen(["taskset", "-c", core, *map(str, command)], **options)


def tree(pid):
    """The process and its descendants."""
    pids = [pid]
    for at in pids:
        try:
            for task in os.listdir(f"/proc/{at}/task"):
                pids += map(int, open(f"/proc/{at}/task/{task}/children").read().split())
        except FileNotFoundError:
            pass
    return pids


def processor_ns(pid):
    """User and system time of a process tree so far, from the scheduler's own accounting."""
    total = 0
    for one in tree(pid):
        for task in os.listdir(f"/proc/{one}/task"):
            total += int(open(f"/proc/{one}/task/{task}/schedstat").read().split()[0])
    return total


def wrk(url, script, seconds, connections, **environment):
    """Runs wrk on the load core; returns (requests answered, seconds, p99 in ms). Errors end the run."""
    requests, took, percentiles = wrk_percentiles(url, script, seconds, connections, **environment)
    return requests, took, percentiles[99]


def wrk_percentiles(url, script, seconds, connections, **environment):
    """The same with the latencies in ms by percentile: 50, 75, 90, 99."""
    out = subprocess.run(
        ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / script), url],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", out)
    if bad:
        raise SystemExit(f"{url}: {bad[0]}\n{out}")
    requests, took, unit = re.search(r"(\d+) requests in ([\d.]+)(m|s)", out).groups()
    scale = {"us": 0.001, "ms": 1, "s": 1000}
    percentiles = {int(at): float(value) * scale[unit] for at, value, unit in re.findall(r"(50|75|90|99)%\s+([\d.]+)(us|ms|s)", out)}
    return int(requests), float(took) * (60 if unit == "m" else 1), percentiles


def h2load(url, *options):
    """Runs h2load on the load core; returns the requests answered. Errors end the run."""
    out = subprocess.run(["taskset", "-c", LOAD_CORE, "h2load", *map(str, options), url], capture_output=True, text=True, check=True).stdout
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    if not counts or counts[1] != counts[2] or not int(counts[2]):
        raise SystemExit(f"{url}: {out}")
    return int(counts[2])


def configured(name, folder, **values):
    text = (HERE / "peers" / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    path = folder / name
    path.write_text(text.replace("@DIR@", str(folder)))
    return path


def start(port, *command, **options):
    """Starts it on the proxy core and waits until it listens."""
    process = pinned(PROXY_CORE, *command, **options)
    try:
        wait_for_port(port, process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def start_nginx(conf, port):
    return start(port, "nginx", "-c", conf, "-e", conf.parent / "start.log", "-g", "daemon off;")


LOCAL_CA = 'source = "local-ca"\nnames = ["localhost"]'


def gate_config(folder, port, upstream, more, internal=None, listen="", access_ttl="10m", tls=LOCAL_CA):
    """A gate for measuring: /auth is its API, /app an application that wants a token. `more`: sections of one's own."""
    path = folder / "config.toml"
    path.write_text(f"""
environment = "development"
data_dir = "{folder}/data"
[listen]
https = ["127.0.0.1:{port}"]
http = []
internal = "127.0.0.1:{internal or free_port()}"
workers = 1
{listen}
[tls]
{tls}
[limits]
connections_per_address = 4096
[accounts]
registration = "open"
[tokens]
issuer = "https://localhost:{port}"
access_ttl = "{access_ttl}"
[log]
target = "files"
[upstreams.app]
servers = ["127.0.0.1:{upstream}"]
[[routes]]
path = "/auth"
api = true
auth = "optional"
[[routes]]
path = "/app"
upstream = "app"
{more}""")
    return path


def summary(values):
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


class Https:
    """A keep-alive client of the gate for setting the stage; it trusts the gate's CA."""

    def __init__(self, port, ca):
        import http.client
        self.connection = http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context(cafile=ca))

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{path}: {answer.status} {text}")
        return json.loads(text)
