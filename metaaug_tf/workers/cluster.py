"""Who trains together: TF_CONFIG, as given or made from SLURM's variables."""

import json
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaaug_tf.addresses import host_and_port
from metaaug_tf.errors import UserError

# TensorFlow's own definition: https://www.tensorflow.org/guide/distributed_training (TF_CONFIG).
_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
# Ports follow from a SLURM job's number, so that two jobs on a node don't collide; all are below the ephemeral ones.
_FIRST_PORT, _PORTS = 10_000, 20_000


@dataclass(frozen=True)
class Cluster:
    """The workers of a training.

    Attributes:
        addresses: HOST:PORT of every worker, the chief's first.
        index: which of them this process is, from 0.
        chiefs: number of them, 0 or 1, that are in TensorFlow's job "chief" instead of "worker".
    """

    addresses: tuple[str, ...]
    index: int
    chiefs: int = 0

    @classmethod
    def of(cls, jobs: Mapping[str, Sequence[str]], task_type: str, task_index: int) -> "Cluster":
        """Takes what TF_CONFIG and tf.distribute's resolvers say: addresses by job, and which task is this process.

        TensorFlow counts each job's tasks from 0; here the chief, if it has a job of its own, is 0.
        """
        chiefs = tuple(jobs.get("chief", ()))
        index = task_index + (len(chiefs) if task_type == "worker" else 0)
        return cls((*chiefs, *jobs.get("worker", ())), index, len(chiefs))

    def name(self, index: int) -> str:
        """Returns a worker's name in messages."""
        return f"worker {index} ({self.addresses[index]})"

    def host_and_port(self, index: int) -> tuple[str, int]:
        """Returns where a worker listens, as sockets take it."""
        return host_and_port(self.addresses[index])


def cluster_of(strategy: Any) -> Cluster | None:
    """Returns the workers that a tf.distribute strategy joins, or None for one of this process alone."""
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict() if resolver else {}
    return Cluster.of(jobs, resolver.task_type, resolver.task_id) if jobs else None


def find_addresses(text: str) -> list[str]:
    """Returns whatever looks like HOST:PORT in a malformed TF_CONFIG."""
    return re.findall(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d+", text)


def find_cluster(environment: MutableMapping[str, str] = os.environ) -> Cluster:
    """Returns the cluster in TF_CONFIG; within a SLURM step without TF_CONFIG, it sets TF_CONFIG first.

    Args:
        environment: os.environ.

    Raises:
        UserError: there is neither, or it can't be used.
    """
    if "TF_CONFIG" not in environment and "SLURM_STEP_NODELIST" in environment:
        environment["TF_CONFIG"] = json.dumps(slurm_tf_config(environment))
    if "TF_CONFIG" not in environment:
        raise UserError(
            "--distribution=multi_worker needs TF_CONFIG in the environment of each process, for instance\n"
            f"  TF_CONFIG='{_EXAMPLE}'\nwith an index of its own for each, or a SLURM step (srun)"
        )
    return read_tf_config(environment["TF_CONFIG"])


def read_tf_config(text: str) -> Cluster:
    """Returns the cluster that a value of TF_CONFIG describes.

    Raises:
        UserError: it is malformed; the message says where.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _malformed(f"it is not JSON: {error}", text) from error
    if not isinstance(found, dict) or not isinstance(found.get("cluster"), dict):
        raise _malformed('"cluster" is missing or does not map jobs to lists of addresses', text)
    jobs, task = found["cluster"], found.get("task")
    if unknown := sorted(set(jobs) - {"chief", "worker"}):
        raise _malformed(f'the jobs of "cluster" must be "chief" or "worker", got {", ".join(unknown)}', text)
    for job, addresses in jobs.items():
        if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
            raise _malformed(f'"{job}" must be a list of HOST:PORT', text)
    if len(jobs.get("chief", [])) > 1:
        raise _malformed('there must be at most one "chief"', text)
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise _malformed(f'"task" must have a "type" that "cluster" has: {" or ".join(jobs) or "worker"}', text)
    index, count = task.get("index"), len(jobs[task["type"]])
    if type(index) is not int or not 0 <= index < count:
        raise _malformed(f'"index" of "task" must be a whole number from 0 to {count - 1}, got {index!r}', text)
    cluster = Cluster.of(jobs, task["type"], index)
    if len(set(cluster.addresses)) < len(cluster.addresses):
        raise _malformed("an address appears twice", text)
    return cluster


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(host_and_port(value))
    except ValueError:
        return False


def _malformed(reason: str, text: str) -> UserError:
    return UserError(f"TF_CONFIG is malformed: {reason}.\n  it is:     {text}\n  it may be: {_EXAMPLE}")


def slurm_tf_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns TF_CONFIG as tf.distribute's SlurmClusterResolver finds the cluster, of one process a node or more.

    Raises:
        UserError: SLURM's variables are not those of a step.
    """
    from tensorflow import distribute

    try:
        port = _FIRST_PORT + int(environment.get("SLURM_JOB_ID", 0)) % _PORTS
        # TensorFlow counts GPUs itself; here the resolver must not, as it divides by their number, which may be 0.
        resolver = distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=_most_tasks(environment), gpus_per_task=1, auto_set_gpu=False
        )
        addresses = resolver.cluster_spec().as_dict()["worker"]
        index = resolver.get_task_info()[1]
        if {"SLURMD_NODENAME", "SLURM_LOCALID"} <= set(environment):
            # The resolver sorts hosts by name, n10 before n9, whereas SLURM counts its processes along the node list.
            index = addresses.index(f"{environment['SLURMD_NODENAME']}:{port + int(environment['SLURM_LOCALID'])}")
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"SLURM's variables describe no step of workers ({error}); start them with srun") from error
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


def _most_tasks(environment: Mapping[str, str]) -> int:
    return max(int(number) for number in re.findall(r"(\d+)(?:\(x\d+\))?", environment["SLURM_STEP_TASKS_PER_NODE"]))
