"""What Schemathesis must not do to the broker that it is pointed at."""

import schemathesis

PARTITIONS_MAX = 20


@schemathesis.hook
def map_body(context, body):
    """A topic of thousands of partitions is checked and not made: that would measure the machine."""
    if isinstance(body, dict):
        partitions, replicas = body.get("partitions"), body.get("replicas")
        many = isinstance(partitions, (int, float)) and partitions > PARTITIONS_MAX
        many = many or isinstance(replicas, list) and len(replicas) > PARTITIONS_MAX
        if many and isinstance(body.get("dry_run", False), bool):
            body["dry_run"] = True
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """What waits is waited for a moment, and for an offset that is there."""
    query = case.query if isinstance(case.query, dict) else {}
    for name, allowed, instead in [("wait_ms", 30_000, 20), ("min_offset", 2**63 - 1, 0)]:
        number = query.get(name)
        if str(number).isdecimal() and int(number) <= allowed:
            query[name] = min(int(number), instead)
    # It takes the quotes of an entity tag for those of a JSON string.
    version = str((case.headers or {}).get("If-Match", ""))
    if version.isdecimal():
        case.headers["If-Match"] = f'"{version}"'
