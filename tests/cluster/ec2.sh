#!/usr/bin/env bash
# cluster.yaml itself, brought up on an EC2 that moto plays and whose machines are hosts in namespaces: it scales on
# pending trials, and survives the loss of a spot machine. As root; some minutes. moto comes from the package index into
# a folder that is removed at the end, boto3 from cluster/aws.lock.
#
#   sudo tests/cluster/ec2.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$PWD/.venv/bin
folder=$(mktemp -d /var/tmp/sweeper-ec2.XXXXXX)
trap 'rm -rf "$folder"' EXIT

"$bin/uv" venv --quiet --python "$bin/python" "$folder/moto"
"$bin/uv" pip install --quiet --python "$folder/moto/bin/python" 'moto[server,ec2,iam,s3]==5.2.5'
"$bin/uv" pip install --quiet --python "$bin/python" --target "$folder/boto3" --no-deps --require-hashes -r cluster/aws.lock
"$bin/python" -m tests.cluster.ec2 "$folder"
