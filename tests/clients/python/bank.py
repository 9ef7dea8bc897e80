"""Accounts that are streams of events: an aggregate with optimistic concurrency, and a view that loses and doubles nothing.

bank.py work BROKER,... TOPIC SEED COUNT   brokers by their HTTP addresses; COUNT deposits and withdrawals on a few
                                           accounts; prints `deposited ACCOUNT AMOUNT`, `withdrawn ...` or `refused ...`
                                           of each, and `conflicts NUMBER`
bank.py view BOOTSTRAP TOPIC GROUP FILE    keeps the balances in an SQLite file as a member of a group, until standard
                                           input ends; prints `stored PARTITION POSITION`
bank.py show FILE                          prints `ACCOUNT BALANCE EVENTS`
"""

import json
import random
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

from confluent_kafka import Consumer

ACCOUNTS = 2


class Refused(Exception):
    """The rules of an account do not allow it."""


class Conflict(Exception):
    """Somebody else appended since the stream was loaded."""


class EventStore:
    """The streams of a topic, over HTTP. Any broker will do, so when one fails the next is asked."""

    def __init__(self, brokers, topic):
        self.brokers, self.topic = brokers, topic

    def load(self, key):
        """The version of a stream and its events; 0 and none if there is no such stream."""
        version, events, start = 0, [], 1
        while start is not None:
            status, page = self.ask("GET", key, query=f"?from_version={start}")
            if status == 404 and page["code"] in ("unknown_stream", "stream_deleted"):
                return page.get("current_version", 0), []
            if status != 200:
                raise RuntimeError(page["detail"])
            version, start = page["version"], page["next_version"]
            events += [event["value"] for event in page["events"]]
        return version, events

    def append(self, key, expected, events):
        """Appends to a stream if its version is still the expected one; returns the new one."""
        # The same for every attempt: an append whose answer was lost is not carried out twice.
        headers = {"If-Match": f'"{expected}"', "Idempotency-Key": str(uuid.uuid4())}
        status, answer = self.ask("POST", key, headers, {"events": [{"value": it} for it in events]})
        if status == 412:
            raise Conflict(answer["current_version"])
        if status != 201:
            raise RuntimeError(answer["detail"])
        return answer["version"]

    def ask(self, method, key, headers={}, body=None, query=""):
        path = f"/v1/topics/{self.topic}/streams/{urllib.parse.quote(key, safe='')}{query}"
        body = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | headers
        for attempt in range(600):
            url = f"http://{self.brokers[attempt % len(self.brokers)]}{path}"
            try:
                request = urllib.request.Request(url, body, headers, method=method)
                with urllib.request.urlopen(request, timeout=40) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in (503, 504):
                    return error.code, json.load(error)
            except OSError:
                pass  # this broker does not answer
            time.sleep(0.1)
        raise TimeoutError(path)


class Account:
    """What the events of an account come to, and what may follow."""

    def __init__(self, events):
        self.balance = 0
        for event in events:
            self.balance += signed(event)

    def decide(self, kind, amount):
        if kind == "withdrawn" and amount > self.balance:
            raise Refused
        return [{"type": kind, "amount": amount}]


def signed(event):
    return event["amount"] if event["type"] == "deposited" else -event["amount"]


def work(brokers, topic, seed, count):
    store, random_of = EventStore(brokers.split(","), topic), random.Random(seed)
    conflicts = 0
    for _ in range(int(count)):
        key = f"account-{random_of.randrange(ACCOUNTS)}"
        kind, amount = random_of.choice(["deposited", "withdrawn"]), random_of.randrange(1, 100)
        while True:
            version, events = store.load(key)
            try:
                store.append(key, version, Account(events).decide(kind, amount))
                print(kind, key, amount, flush=True)
                break
            except Conflict:
                conflicts += 1  # load and decide again
            except Refused:
                print("refused", key, amount, flush=True)
                break
    print("conflicts", conflicts)


def opened(path):
    view = sqlite3.connect(path, timeout=60, isolation_level=None)
    view.execute("PRAGMA journal_mode = WAL")
    view.execute("CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY, balance INT, events INT)")
    view.execute("CREATE TABLE IF NOT EXISTS positions (partition INT PRIMARY KEY, position INT)")
    return view


def position_of(view, partition):
    row = view.execute("SELECT position FROM positions WHERE partition = ?", (partition,)).fetchone()
    return row[0] if row else 0


def apply(view, messages):
    """Stores records and how far they reach in one transaction, so a restart finds both or neither."""
    view.execute("BEGIN IMMEDIATE")
    stored = {}
    for message in messages:
        partition, offset = message.partition(), message.offset()
        # A member that does not know yet that it lost the partition comes too late with this, and changes nothing.
        if offset < stored.get(partition, position_of(view, partition)):
            continue
        change = signed(json.loads(message.value()))
        view.execute(
            "INSERT INTO accounts VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE"
            " SET balance = balance + excluded.balance, events = events + 1",
            (message.key().decode(), change),
        )
        stored[partition] = offset + 1
    view.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", stored.items())
    view.execute("COMMIT")
    return stored


def view(bootstrap, topic, group, path):
    database = opened(path)
    # The group only shares the partitions out; how far each was read stands in the view.
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        | {"auto.offset.reset": "earliest", "session.timeout.ms": 6000, "log_level": 2}
    )

    def assigned(consumer, partitions):
        for it in partitions:
            it.offset = position_of(database, it.partition)
        consumer.assign(partitions)

    consumer.subscribe([topic], on_assign=assigned)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.is_set():
        messages = [it for it in consumer.consume(50, timeout=0.2) if not it.error()]
        for partition, position in apply(database, messages).items() if messages else ():
            print("stored", partition, position, flush=True)
    consumer.close()


def show(path):
    for row in opened(path).execute("SELECT id, balance, events FROM accounts ORDER BY id"):
        print(*row)


if __name__ == "__main__":
    {"work": work, "view": view, "show": show}[sys.argv[1]](*sys.argv[2:])
