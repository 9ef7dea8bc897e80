"""What the Python clients of the matrix have in common: the lines of tests/clients/README.md."""

import sys
import threading


def octets(field):
    return None if field == "-" else bytes.fromhex(field)


def text(value):
    return "-" if value is None else bytes(value).hex()


def given():
    """The records on standard input: timestamp, key, value and headers of each."""
    for line in sys.stdin:
        timestamp, key, value, headers = line.rstrip("\n").split("\t")
        pairs = [pair.split(":") for pair in headers.split(",")] if headers else []
        yield int(timestamp), octets(key), octets(value), [(k, octets(v)) for k, v in pairs]


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
