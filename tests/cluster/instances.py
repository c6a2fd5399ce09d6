"""Prints the machines of an EC2 whenever they change, one JSON object a line: run on the laptop."""

from __future__ import annotations

import json
import time

import boto3

ec2 = boto3.client("ec2")
before = None
while True:
    found = {
        instance["InstanceId"]: {
            "address": instance["PrivateIpAddress"],
            "spot": instance.get("InstanceLifecycle") == "spot",
            "type": instance["InstanceType"],
            "up": instance["State"]["Name"] in ("pending", "running"),
        }
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if "PrivateIpAddress" in instance
    }
    if found != before:
        print(json.dumps(found), flush=True)
        before = found
    time.sleep(1)
