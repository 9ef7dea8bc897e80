#!/usr/bin/env bash
# Runs a class with Kafka's jars, as the launcher of this name in Kafka's distribution does.
here=$(cd "$(dirname "$0")/.." && pwd)
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "${CLASSPATH:+$CLASSPATH:}$here/libs/*" "$@"
