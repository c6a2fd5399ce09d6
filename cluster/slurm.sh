#!/usr/bin/env bash
#SBATCH --job-name=sweeper
#SBATCH --nodes=3                 # EDIT: hosts
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8         # EDIT: of each host
#SBATCH --gpus-per-node=1         # EDIT: of each host
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120       # two minutes before the time is up: enough to end well
#
# A sweep on the hosts of one SLURM job. `ray symmetric-run` starts a Ray over them, runs the command on the first, and
# ends the Ray with it. In the project's folder, which all hosts see:
#
#   sbatch cluster/slurm.sh search_spaces/ttur.yaml --name first
#
# When the time was too short, the same line goes on where it stopped: a sweep that is there is resumed. Results are in
# results/; RESULTS says where else. That folder is on a file system that all hosts see, so there is no need for another
# storage. The workers are given back a minute after the sweep ends: they wait so long for a head that may return.
set -euo pipefail
if [ $# -eq 0 ]; then
  echo "usage: sbatch cluster/slurm.sh SPACE.yaml [options of sweeper run]" >&2
  exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}"
export PATH="$PWD/.venv/bin:$PATH"
results=${RESULTS:-results}

name=$(basename "${1%.yaml}")
previous=
for word in "$@"; do
  case "$previous" in --name) name=$word ;; esac
  case "$word" in --name=*) name=${word#--name=} ;; esac
  previous=$word
done
if [ -e "$results/$name/ledger.sqlite" ]; then
  sweep=(sweeper resume "$results/$name")
else
  sweep=(sweeper run "$@" --out "$results")
fi

# One token for this job's Ray, which nobody else on the hosts can read.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$PWD/$results/.token-${SLURM_JOB_ID:-$$}"
mkdir -p "$results"
(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
# A port of this job's own, should another's head be on the same host.
port=$((20000 + ${SLURM_JOB_ID:-0} % 10000))
# Hosts do not come up at the same moment; Ray would wait for them for 30 seconds only.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 RAY_USAGE_STATS_ENABLED=0

resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
  ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" "${resources[@]}" -- \
  "${sweep[@]}" --address "$head:$port" &
step=$!
# SLURM would end the Ray together with the sweep: so the sweep is asked to stop, and the Ray ends after it.
trap 'sweeper stop "$results/$name" || true' TERM
code=0
while kill -0 "$step" 2>/dev/null; do
  wait "$step" && code=0 || code=$?
done
exit "$code"
