#!/usr/bin/env bash
# s3fs 2026.9.0: after AWS_ENDPOINT_URL has changed, a new S3FileSystem() still talks to the old server.
#
# fsspec gives equal constructor arguments the same instance, per process. The endpoint comes from
# the environment and is no part of that key, so one process that reads from one store and writes to
# another (a raw-data store and an artifact store, two tenants of MinIO) asks the first server for both,
# without an error where both have the bucket. boto3's clients made in the same moments are right.
# Ways out: pass endpoint_url=, or skip_instance_cache=True, or S3FileSystem.clear_instance_cache().
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117 botocore==1.43.117 "moto[s3,server]==5.2.5"
cat >"$work/two.py" <<'PYTHON'
import os
import socket
import subprocess
import sys
import time

import boto3
import s3fs

os.environ |= {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def start():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(240):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.25)
    return server, f"http://127.0.0.1:{port}"


servers = [start(), start()]
try:
    for name, (_, endpoint) in zip(("first", "second"), servers):
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        client = boto3.client("s3")
        client.create_bucket(Bucket="data")
        client.put_object(Bucket="data", Key="server", Body=name.encode())
        seen = {
            "boto3": client.get_object(Bucket="data", Key="server")["Body"].read(),
            "S3FileSystem()": s3fs.S3FileSystem().cat("data/server"),
            "skip_instance_cache": s3fs.S3FileSystem(skip_instance_cache=True).cat("data/server"),
            "endpoint_url": s3fs.S3FileSystem(endpoint_url=endpoint).cat("data/server"),
        }
        print(f"at the {name}:", ", ".join(f"{k} {v.decode()}" for k, v in seen.items()))
finally:
    for server, _ in servers:
        server.terminate()
PYTHON
seen=$("$work/venv/bin/python" "$work/two.py")
"$work/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | grep -E "^(s3fs|fsspec) "
echo "$seen"
case "$seen" in
*"at the second: boto3 second, S3FileSystem() first, skip_instance_cache second, endpoint_url second") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
