"""The devices and workers that --distribution and --devices ask for, as a tf.distribute strategy."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf
from metaaug_tf.config import describe_difference
from metaaug_tf.errors import UserError
from metaaug_tf.workers.cluster import Cluster, find_addresses, find_cluster
from metaaug_tf.workers.rendezvous import announce_rejection, rendezvous
from metaaug_tf.workers.workers import Workers

# Machines of a cluster may take a while to come up.
SECONDS_TO_ARRIVE = 600
_PACKAGES = (metaaug_tf, tf, keras, np)


def start(distribution: str, devices: int, config: Mapping[str, Any]) -> Workers:
    """Joins the other workers, if there are any; to be called before TensorFlow uses a device.

    Args:
        distribution: none, mirrored or multi_worker.
        devices: number of this machine's devices; 0 = all of its GPUs, or its CPU as one device.
        config: the run's, which has to be the same on all workers.

    Raises:
        UserError: there are fewer devices, no such cluster, or workers that differ.
    """
    if distribution == "none":
        if devices:
            raise UserError(f"--devices={devices} needs --distribution=mirrored or multi_worker")
        return Workers()
    if distribution == "mirrored":
        return Workers(tf.distribute.MirroredStrategy(_choose_devices(devices)))
    try:
        cluster = find_cluster()
    except UserError as error:  # the others would wait for this worker
        announce_rejection(find_addresses(os.environ.get("TF_CONFIG", "")), str(error))
        raise
    fault = ""
    try:
        device_count = _choose_devices_of_worker(devices)
    except UserError as error:  # raised after the others have been told
        fault, device_count = str(error), 0
    if len(cluster.addresses) == 1 and fault:
        raise UserError(fault)
    if len(cluster.addresses) > 1:
        print(f"{cluster.name(cluster.index)} of {len(cluster.addresses)} waits for the others", flush=True)
        metadata = {"fault": fault, **settings_to_compare(config, device_count)}
        check_settings(cluster, rendezvous(cluster, metadata, SECONDS_TO_ARRIVE))
    return Workers(tf.distribute.MultiWorkerMirroredStrategy())


def settings_to_compare(config: Mapping[str, Any], devices: int) -> dict[str, Any]:
    """Returns what has to be the same on all workers: settings, versions and the number of devices."""
    versions = {f"version of {package.__name__}": package.__version__ for package in _PACKAGES}
    return {**config, **versions, "version of Python": platform.python_version(), "devices": devices}


def check_settings(cluster: Cluster, settings: Sequence[Mapping[str, Any]]) -> None:
    """Rejects workers whose settings are not the chief's.

    Args:
        cluster: who they are.
        settings: of each worker in turn; "fault" is why it can't train, or "".

    Raises:
        UserError: the same on all workers.
    """
    lines = [f"{cluster.name(index)}: {other['fault']}" for index, other in enumerate(settings) if other.get("fault")]
    if not lines:
        texts = [describe_difference(settings[0], other) for other in settings]
        lines = [f"{cluster.name(index)} differs:\n{text}" for index, text in enumerate(texts) if text]
        if lines:
            lines.insert(0, "all workers need the same settings and packages (below, the chief's value comes first)")
    if lines:
        raise UserError("\n".join(lines))


def _choose_devices_of_worker(devices: int) -> int:
    """Makes TensorFlow see as many devices as asked for; returns their number."""
    gpus = _choose_gpus(devices)
    if not gpus and devices > 1:
        raise UserError(
            f"--devices={devices}, but without GPUs each process of a multi_worker run has one device, its CPU. Start "
            "more processes, or use --distribution=mirrored on one machine."
        )
    return gpus or 1


def _choose_gpus(devices: int) -> int:
    """Makes TensorFlow see the first `devices` GPUs, 0 all; returns how many it sees."""
    gpus = tf.config.list_physical_devices("GPU")
    if devices > len(gpus) > 0:
        raise UserError(f"--devices={devices}, but this machine has only {len(gpus)} GPU(s)")
    chosen = gpus[: devices or None]
    if chosen:
        tf.config.set_visible_devices(chosen, "GPU")
    return len(chosen)


def _choose_devices(devices: int) -> list[str]:
    """Returns names of GPUs, or, without any, of parts of the CPU, to try on a desk what several GPUs do."""
    if gpus := _choose_gpus(devices):
        return [f"GPU:{index}" for index in range(gpus)]
    cores, wanted = len(os.sched_getaffinity(0)), devices or 1
    if wanted > cores:
        raise UserError(
            f"--devices={devices}, but TensorFlow sees no GPU here, and this machine has only {cores} core(s)"
        )
    if wanted > 1:
        parts = [tf.config.LogicalDeviceConfiguration()] * wanted
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    return [f"CPU:{index}" for index in range(wanted)]
