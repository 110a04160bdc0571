#!/usr/bin/env bash
# Fail with one line if the disk of the container engine has no room to build the images.
#
#   scripts/room_for_images.sh VERSION [ACCELERATOR]
set -euo pipefail
version=$1 accelerator=${2:-cuda}
# The packages of an image are on the disk twice until its build is over: in a stage, and in the
# image. Final sizes: docs/kubeflow.md.
if [ "$accelerator" = cuda ]; then needed=20; else needed=12; fi

docker image inspect "streetseg-train:$version" >/dev/null 2>&1 && exit # most of it is there
disk=$(docker info --format '{{.DockerRootDir}}') || exit 0 # the build says what is wrong
free=$(df --output=avail --block-size=1G "$disk" 2>/dev/null | tail -1) || exit 0 # elsewhere
[ "${free:-0}" -ge "$needed" ] && exit
echo "error: $disk has $((free)) GB free, and building the images takes $needed GB: free some with" \
  "'docker system prune', or leave CUDA out with ACCELERATOR=cpu (12 GB)" >&2
exit 1
