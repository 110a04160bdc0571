#!/usr/bin/env bash
# DVC 3.67.1: whether a folder is complete in a remote is told by its directory object alone.
#
# After a remote has lost a file of a folder but kept the folder's .dir object, `dvc push` reports that
# everything is up to date, `dvc status --cloud` that cache and remote are in sync, both with status
# 0, although the file is in the local cache and could be sent again. Only a fetch into an empty
# cache finds out, when the data is needed. Expected: push sends what the remote lacks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir "$work/project" && cd "$work/project"
dvc init --no-scm --quiet
dvc config core.analytics false
dvc remote add --quiet --default store "$work/remote"
mkdir data
echo one >data/one.txt
echo two >data/two.txt
dvc add --quiet data
dvc push --quiet

lost=$(md5sum data/two.txt | cut -c1-32)
rm -f "$work/remote/files/md5/${lost:0:2}/${lost:2}"

push=$(dvc push 2>&1)
status=$(dvc status --cloud 2>&1)
rm -rf .dvc/cache data
if fetch=$(dvc pull 2>&1); then pulled=0; else pulled=$?; fi
echo "dvc $(dvc --version)"
echo "push:   $push"
echo "status: $status"
echo "pull:   status $pulled"
case "$push$status$pulled" in
*"up to date"*"in sync"*1) echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
