#!/usr/bin/env bash
# Kafka's own tool for topics, with which some tests make theirs.
exec "$(dirname "$0")/kafka-run-class.sh" org.apache.kafka.tools.TopicCommand "$@"
