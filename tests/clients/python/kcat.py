"""kcat behind the commands of the matrix (tests/clients/README.md)."""

import re
import subprocess
import sys
import threading
from itertools import groupby

from lines import given, run, say, settings, show, told_to_stop

# Sizes before what may hold anything; -1 is null.
KEY_END, END = "<end of key>", "<end of record>"
FORM = r"%o %T %K %S %h\n%k%s\n"


def kcat(*arguments, **more):
    return subprocess.run(["kcat", *arguments], check=True, capture_output=True, **more).stdout


def plain(key, value, headers):
    """Whether it can be sent together with others of its kind."""
    return key is not None and value and not headers


def produce(bootstrap, topic, codec):
    for together, records in groupby((it[1:] for it in given()), lambda it: plain(*it)):
        for some in [list(records)] if together else [[it] for it in records]:
            key, value, headers = some[0]
            arguments = ["-P", "-b", bootstrap, "-t", topic, "-p", "0", "-z", codec, "-D", END]
            arguments += ["-X", "enable.idempotence=true", "-X", "linger.ms=20"]
            arguments += ["-K", KEY_END] if key is not None else []
            arguments += ["-Z"] if value is None else []
            for name, octets in headers:
                arguments += ["-H", name if octets is None else f"{name}={octets.decode()}"]
            parts = ((k + KEY_END.encode() if k is not None else b"") + (v or b"") for k, v, _ in some)
            kcat(*arguments, input=b"".join(it + END.encode() for it in parts))


def shown(out):
    """What `FORM` made of the records."""
    while out:
        head, out = out.split(b"\n", 1)
        offset, timestamp, key, value, *headers = head.decode().split(" ")
        pairs = [it.split("=", 1) for it in headers[0].split(",")] if headers[0] else []
        fields = []
        for size in (int(key), int(value)):
            fields.append(None if size < 0 else out[:size])
            out = out[max(size, 0) :]
        out = out[1:]
        headers = [(name, None if value == "NULL" else value.encode()) for name, value in pairs]
        show(offset, timestamp, *fields, headers)


def fetch(bootstrap, topic, count, *more):
    place = ["-t", topic, "-p", "0", "-o", "beginning", "-c", count]
    for setting in more:
        place += ["-X", setting]
    shown(kcat("-C", "-q", "-b", bootstrap, *place, "-f", FORM))


def at(bootstrap, topic, time):
    place = ["-t", topic, "-p", "0", "-o", f"s@{time}", "-c", "1"]
    shown(kcat("-C", "-q", "-b", bootstrap, *place, "-f", FORM))


def consume(bootstrap, topic, group, *more):
    more = settings(
        more, group_instance_id="group.instance.id", session_timeout_ms="session.timeout.ms"
    )
    chosen = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300, "log_level": 2} | more
    chosen |= {"auto.offset.reset": "earliest", "auto.commit.interval.ms": 100}
    command = ["setpriv", "--pdeathsig", "KILL", "kcat", "-b", bootstrap, "-u"]
    for name, value in chosen.items():
        command += ["-X", f"{name}={value}"]
    command += ["-f", r"record %p %o %s\n", "-G", group, topic]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def listen():
        for line in process.stderr:
            told = re.search(r": (assigned|revoked): (.*)", line)
            if told:
                say(told[1], [int(number) for number in re.findall(r"\[(\d+)\]", told[2])])

    threading.Thread(target=listen, daemon=True).start()
    told_to_stop().wait()
    process.terminate()
    if process.wait(60) != 0:
        sys.exit(f"kcat ended with {process.returncode}")


if __name__ == "__main__":
    run({"produce": produce, "fetch": fetch, "at": at, "consume": consume})
