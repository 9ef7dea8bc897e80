"""What the Python clients of the matrix have in common: the lines of tests/clients/README.md."""

import queue
import sys
import threading


def octets(field):
    return None if field == "-" else bytes.fromhex(field)


def text(value):
    return "-" if value is None else bytes(value).hex()


def parsed(timestamp, key, value, headers):
    """Timestamp, key, value and headers of a record."""
    pairs = [pair.split(":") for pair in headers.split(",")] if headers else []
    return int(timestamp), octets(key), octets(value), [(k, octets(v)) for k, v in pairs]


def given():
    """The records on standard input: timestamp, key, value and headers of each."""
    for line in sys.stdin:
        yield parsed(*line.rstrip("\n").split("\t"))


def show(offset, timestamp, key, value, headers):
    pairs = ",".join(f"{name}:{text(octet)}" for name, octet in headers or [])
    print(offset, timestamp, text(key), text(value), pairs, sep="\t")


def say(word, partitions):
    print(word, ",".join(str(it) for it in sorted(partitions)), flush=True)


def record(partition, offset, value):
    print("record", partition, offset, value.decode(), flush=False)


def told_to_stop():
    """An event that is set when standard input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    return stop


def transact(do, fenced):
    """Does what standard input says about transactions, by its words, and answers every line."""
    print("ready", flush=True)
    for line in sys.stdin:
        word, *fields = line.rstrip("\n").split("\t")
        try:
            do[word](*fields)
            print("ok", flush=True)
        except Exception as error:
            print("fenced" if fenced(error) else f"error {error!r}", flush=True)


class Told:
    """Whoever reads and writes in transactions is told when to go on, and by the end of standard input to stop."""

    def __init__(self):
        self.stop = threading.Event()
        self._lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in sys.stdin:
            self._lines.put(line)
        self.stop.set()
        self._lines.put(None)

    def to_go_on(self, count):
        """Says that so many records are written, and waits to be told."""
        print("open", count, flush=True)
        return self._lines.get() is not None


def settings(arguments, **names):
    """The settings `name=value` by the names the client has for them; without one, it has no such thing."""
    chosen = {}
    for name, value in (argument.split("=", 1) for argument in arguments):
        if names.get(name.replace(".", "_")) is None:
            lacks(f"setting {name}={value}")
        chosen[names[name.replace(".", "_")]] = value
    return chosen


def lacks(what):
    """Ends with the exit code for what a client does not offer; the matrix says why."""
    print(f"this client has no {what}", file=sys.stderr)
    sys.stdout.flush()
    sys.exit(3)


def run(commands):
    """Does what the command line says."""
    name, arguments = sys.argv[1], sys.argv[2:]
    if name not in commands:
        lacks(f"command {name}")
    commands[name](*arguments)
    sys.stdout.flush()
