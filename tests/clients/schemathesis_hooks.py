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
