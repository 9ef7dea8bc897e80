#!/usr/bin/env bash
# A service that says what it does, line by line. service.sh NAME LINES
for ((n = 1; n <= $2; n++)); do
  level=INFO
  [ $((n % 10)) != 0 ] || level=WARN
  [ $((n % 25)) != 0 ] || level=ERROR
  echo "$level $1 request $n"
done
