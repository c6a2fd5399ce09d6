#!/usr/bin/env bash
# cluster.yaml itself, brought up on an EC2 that moto plays and whose machines are hosts in namespaces: every one is
# installed by cluster/install.sh from the project's locks; GPU machines come when trials wait, one that is taken away
# amid its trials is replaced, and results come home. As root, with Debian's openssh-server, rsync, iproute2, procps and
# tini, and a Python 3.11; it took twenty minutes on two busy cores.
#
#   sudo tests/cluster/ec2.sh
#
# What is changed in cluster.yaml, and why, stands in EDITS of ec2.py: the bucket's name, which the file itself asks for;
# the user, since these hosts have no other than root; and addresses, since those that moto calls public are somebody's.
# What no emulation can have comes with the machines' image: EC2's and S3's address and keys, and uv's cache in place of
# the package index. GPUs are only counted: cluster.yaml says how many a machine has, and trials run on the CPU.
#
# Only this script, before there is any host, asks the package index: for moto, and for what the locks name and uv's
# cache lacks (6 GB where it lacks all). The folder that it makes is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$PWD/.venv/bin
folder=$(mktemp -d /var/tmp/sweeper-ec2.XXXXXX)
trap 'rm -rf "$folder"' EXIT

echo "getting moto, and what the locks name"
"$bin/uv" venv --quiet --seed --python "$bin/python" "$folder/moto"
"$bin/uv" pip install --quiet --python "$folder/moto/bin/python" 'moto[server,ec2,iam,s3]==5.2.5'
# EC2 starts as many machines as there is room for, up to MaxCount; moto starts MinCount, which Ray says is one.
sed -i 's/"MinCount", if_none/"MaxCount", if_none/' "$folder"/moto/lib/python*/site-packages/moto/ec2/responses/instances.py
"$folder/moto/bin/python" -m pip download --quiet --no-deps --require-hashes --dest "$folder/wheels" -r requirements-uv.lock
# Into uv's cache, that is; nobody uses this environment.
"$bin/uv" venv --quiet --python 3.11 "$folder/filled"
"$bin/uv" pip sync --quiet --link-mode symlink --python "$folder/filled/bin/python" --require-hashes \
  requirements.lock requirements-uv.lock cluster/aws.lock
UV_CACHE_DIR=$("$bin/uv" cache dir) "$bin/python" -m tests.cluster.ec2 "$folder"
