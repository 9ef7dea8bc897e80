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
def map_query(context, query):
    """What waits is waited for a moment, and for an offset that is there."""
    if isinstance(query, dict):
        waits = query.get("wait_ms")
        if isinstance(waits, int) and waits > 20:
            query["wait_ms"] = waits % 20 if waits <= 30_000 else waits
        offset = query.get("min_offset")
        if isinstance(offset, int) and 0 < offset < 2**63:
            query["min_offset"] = 0
    return query
