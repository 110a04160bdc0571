#!/usr/bin/env bash
# Run a command with a container engine and a base for components/Dockerfile at hand.
#
#   scripts/with_engine.sh make containers
#
# Where Docker answers and can pull, nothing else happens. Where no engine runs, root on Debian gets
# one (docker.io), which ends with the command. Where the base cannot be pulled, the images are built
# on one of Debian's packages (debootstrap) that trusts what this machine trusts: good for tests, not
# to be pushed anywhere.
set -euo pipefail
export BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim-bookworm}
OWN_BASE=streetseg-base:bookworm

fail() { echo "error: $*" >&2; exit 1; }

packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "install Debian's $*, then try again"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

engine() {
  docker info >/dev/null 2>&1 && return
  [ "$(id -u)" = 0 ] || fail "no container engine answers: start Docker, or join the group docker"
  command -v dockerd >/dev/null || packages docker.io iptables
  docker info >/dev/null 2>&1 && return # the package may have started it
  local log
  log=$(mktemp)
  dockerd >"$log" 2>&1 &
  trap "kill $! 2>/dev/null; wait $! 2>/dev/null || true; rm -f $log" EXIT
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    sleep 1
  done
  tail -5 "$log" >&2
  fail "dockerd does not start"
}

base() {
  docker image inspect "$BASE_IMAGE" >/dev/null 2>&1 && return
  timeout 120 docker pull --quiet "$BASE_IMAGE" >/dev/null 2>&1 && return
  echo "$BASE_IMAGE cannot be pulled: the images are built on $OWN_BASE, for tests only"
  BASE_IMAGE=$OWN_BASE
  docker image inspect "$BASE_IMAGE" >/dev/null 2>&1 && return
  command -v debootstrap >/dev/null || packages debootstrap
  local root
  root=$(mktemp -d)
  chmod 755 "$root" # it becomes / of the image
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    bookworm "$root" >/dev/null
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$root" -c . | docker import - "$BASE_IMAGE" >/dev/null
  rm -rf "$root"
}

engine
base
"$@"
