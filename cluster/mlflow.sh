#!/usr/bin/env bash
# Serves the MLflow pages of the sweeps in a folder, on this machine's loopback, unless they are served already.
#
#   bash cluster/mlflow.sh FOLDER [PORT]
set -euo pipefail
folder=$(cd "$1" && pwd)
port=${2:-5000}

if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "something serves port $port already"
  exit 0
fi
cd "$folder" # whatever MLflow leaves in its working directory belongs with the results
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
setsid nohup mlflow server --workers 1 --host 127.0.0.1 --port "$port" --backend-store-uri "sqlite:///$folder/mlflow.db" \
  --artifacts-destination "file://$folder/mlartifacts" >mlflow.log 2>&1 </dev/null &
echo "MLflow: http://127.0.0.1:$port"
