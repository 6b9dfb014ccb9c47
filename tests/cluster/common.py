"""What the scripts of tests/cluster share: children, Redis, and the checker of what clients were told."""

import collections
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
REQUIRED = os.environ.get("CLUSTER_REQUIRED") == "1"
# One command of the clients; the whole of a run is bounded by .ci/steps.sh.
PATIENCE = 300

passed = failed = 0


def check(what, holds, why=""):
    global passed, failed
    if holds:
        passed += 1
        print(f"ok    {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {what}  {why}", flush=True)


class Process:
    """A child whose lines are read by threads, so that it never waits for us."""

    def __init__(self, *command):
        self.child = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = queue.Queue()
        self.complaints = []
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=reader, daemon=True) for reader in (self.read, self.hear)]
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.child.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def hear(self):
        for line in self.child.stderr:
            with self.changed:
                self.complaints.append(line.rstrip("\n"))
                self.changed.notify_all()

    def line(self):
        line = self.lines.get(timeout=PATIENCE)
        if line is None:
            raise RuntimeError(f"{self.child.args[0]} has ended: " + "; ".join(self.complaints[-5:]))
        return line

    def complains(self, text):
        """Waits for a line on the standard error."""
        with self.changed:
            return self.changed.wait_for(lambda: any(text in line for line in self.complaints), PATIENCE)

    def tell(self, command):
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()

    def answer(self):
        return json.loads(self.line())

    def ask(self, command):
        self.tell(command)
        return self.answer()

    def end(self, how=signal.SIGTERM):
        """Its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(how)
        try:
            return self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def encoded(*words):
    """A command of Redis as it stands on the wire."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def redis_says(port, *words):
    """The answer to one command, or None where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            file = connection.makefile("rwb")
            file.write(encoded(*words))
            file.flush()
            return answer(file)
    except OSError:
        return None


def answer(file):
    head = file.readline()
    kind, rest = head[:1], head[1:].strip()
    if kind == b"*":
        return [answer(file) for _ in range(int(rest))]
    if kind == b"$":
        return file.read(int(rest) + 2)[:-2].decode()
    return int(rest) if kind == b":" else rest.decode()


def start_redis(server, port, folder, *more):
    folder.mkdir(exist_ok=True)
    redis = Process(
        server, "--port", port, "--save", "", "--dir", folder, "--daemonize", "no",
        "--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0", *more,
    )  # fmt: skip
    return answering(redis, port)


def answering(redis, port):
    if not until(lambda: redis.child.poll() is not None or redis_says(port, "PING") == "PONG"):
        raise RuntimeError("redis-server does not answer")
    if redis.child.poll() is not None:
        raise RuntimeError("redis-server has ended")
    return redis


def fact(port, section, name):
    """Of what a Redis says of itself."""
    told = redis_says(port, "INFO", section) or ""
    return dict(line.split(":", 1) for line in told.splitlines() if ":" in line).get(name)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def processor_seconds(process):
    """What a process has taken with all its threads, in ticks of 10 ms."""
    fields = pathlib.Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build(*more):
    """Builds the node, the clients of the runs, and what else these arguments of cargo name. Returns where the programs are."""
    for what in (("-p", "cluster"), ("-p", "framewire-cluster", "--example", "cluster_load"), *more):
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", *what], cwd=ROOT, check=True)
    told = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return pathlib.Path(json.loads(told.stdout)["target_directory"]) / "release"


class Client:
    """What a client has of its topic, but for what it was told is lost: the numbers of the messages, from offset 1 on."""

    def __init__(self):
        self.has = []
        self.was_told = False  # that messages are lost; which, the next one says
        self.faults = []
        self.gaps = 0

    def subscribed(self, offset, recovered, gap):
        first = offset - recovered
        if gap == "epoch":
            self.lose(first)
        elif gap != "-" or first != len(self.has):
            self.faults.append(f"resumes after {first} in place of {len(self.has)}, gap {gap}")
        self.was_told = False

    def told(self, gap):
        if gap != "epoch":
            self.faults.append(f"is told of the gap {gap}, though the history has everything")
        self.was_told = True

    def heard(self, offset, number):
        if self.was_told:
            self.lose(offset - 1)
            self.was_told = False
        if offset != len(self.has) + 1:
            self.faults.append(f"has {offset} after {len(self.has)}")
        self.has.append(number)

    def lose(self, kept):
        self.gaps += 1
        if kept >= len(self.has):
            self.faults.append(f"is told of a gap at {kept}, and has lost nothing after {len(self.has)}")
        del self.has[kept:]


def judge(log, client_count, topics, messages):
    """Reads what the clients were told; see tests/cluster/load.rs for its lines. Returns how many messages were lost, and how
    often that was told."""
    clients = collections.defaultdict(Client)
    answered = {}
    when, last_gap = {}, 0
    with open(log) as lines:
        for at, line in enumerate(lines):
            kind, *words = line.split()
            if kind == "p":
                number, topic, offset = int(words[0]), int(words[1]), int(words[3])
                answered[number], when[number] = (topic, offset), at
                continue
            client = clients[int(words[0])]
            if kind == "m":
                client.heard(int(words[2]), int(words[3]))
            elif kind == "s":
                client.subscribed(int(words[2]), int(words[3]), words[4])
                last_gap = at if words[4] != "-" else last_gap
            else:
                client.told(words[1])
                last_gap = at

    wrong = [f"client {name} {fault}" for name, client in clients.items() for fault in client.faults]
    check("each client has each message once and in order, but for what it was told is lost", not wrong, wrong[:5])
    content = {topic: clients[topic].has for topic in range(topics)}
    apart = [name for name, client in clients.items() if client.has != content[name % topics]]
    check("all clients of a topic have the same", len(clients) == client_count and not apart, apart[:5])
    found = collections.Counter(number for numbers in content.values() for number in numbers)
    twice = [number for number, count in found.items() if count > 1]
    check("no message was stored twice, though clients published some again", not twice, twice[:5])
    lost = [number for number in range(messages) if number not in found]
    gaps = sum(client.gaps for client in clients.values())
    late = [number for number in lost if when[number] > last_gap]
    check("none is lost but what was published before the last gap that was told", not late, late[:5])
    lies = [
        number for number, (topic, offset) in answered.items()
        if offset and number in found and content[topic][offset - 1 : offset] != [number]
    ]  # fmt: skip
    check("each is where its publisher was told", len(answered) == messages and not lies, lies[:5])
    return len(lost), gaps


def main(play):
    """Runs what needs a redis-server, a folder and a list for the children, which are ended with it."""
    server = shutil.which("redis-server")
    if server is None:
        print("skipped: there is no redis-server", file=sys.stderr)
        print("0 passed, 0 failed, all skipped")
        return REQUIRED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    children = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            play(server, pathlib.Path(folder), children)
        except (RuntimeError, OSError, ValueError, queue.Empty) as error:
            check("the run comes to its end", False, f"{type(error).__name__}: {error}")
        except subprocess.CalledProcessError as error:
            check("what it needs can be built", False, error)
        finally:
            for child in children:
                if child.child.poll() is None:
                    child.end(signal.SIGKILL)
    print(f"{passed} passed, {failed} failed")
    return failed > 0
