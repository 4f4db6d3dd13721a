"""TF_CONFIG, as given or made from SLURM's variables: read, or refused with the reason."""

import json

import pytest

from metaaug_tf.errors import UserError
from metaaug_tf.workers.cluster import Cluster, find_addresses, find_cluster, read_tf_config

TWO = ["host1:12345", "host2:12345"]


def tf_config(cluster=None, task=None):
    return json.dumps({"cluster": cluster or {"worker": TWO}, "task": task or {"type": "worker", "index": 1}})


def test_workers_are_counted_in_their_order():
    assert read_tf_config(tf_config()) == Cluster(tuple(TWO), 1)


@pytest.mark.parametrize(("task", "index"), [(("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)])
def test_a_chief_job_comes_first(task, index):
    config = tf_config({"worker": TWO, "chief": ["host0:1"]}, {"type": task[0], "index": task[1]})
    assert read_tf_config(config) == Cluster(("host0:1", *TWO), index, chiefs=1)


def test_addresses_are_found_in_what_is_malformed():
    text = '{"cluster": {"worker": ["host-1.a:80", "[::1]:81", 10.0.0.1:82]}, "task": {"index":0}'
    assert find_addresses(text) == ["host-1.a:80", "[::1]:81", "10.0.0.1:82"]


def test_ipv6_addresses_and_their_ports():
    cluster = read_tf_config(tf_config({"worker": ["[::1]:80", "[fe80::2]:81"]}))
    assert [cluster.host_and_port(index) for index in (0, 1)] == [("::1", 80), ("fe80::2", 81)]


MALFORMED = [
    ("{", "not JSON"),
    ("[]", '"cluster" is missing'),
    ("{}", '"cluster" is missing'),
    (tf_config({"worker": TWO, "ps": ["host3:1"]}), '"chief" or "worker", got ps'),
    (tf_config({"worker": "host1:12345"}), '"worker" must be a list'),
    (tf_config({"worker": []}), '"worker" must be a list'),
    (tf_config({"worker": ["host1", "host2:1"]}), '"worker" must be a list of HOST:PORT'),
    (tf_config({"worker": ["host1:70000", "host2:1"]}), '"worker" must be a list of HOST:PORT'),
    (tf_config({"worker": TWO, "chief": ["a:1", "b:1"]}), 'at most one "chief"'),
    (tf_config(task={"type": "evaluator", "index": 0}), '"type" that "cluster" has: worker'),
    (tf_config(task={"type": "worker"}), "from 0 to 1, got None"),
    (tf_config(task={"type": "worker", "index": 2}), "from 0 to 1, got 2"),
    (tf_config(task={"type": "worker", "index": "0"}), "from 0 to 1, got '0'"),
    (tf_config({"worker": [TWO[0], TWO[0]]}), "twice"),
]


@pytest.mark.parametrize(("text", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
def test_a_malformed_one_is_refused_with_the_reason_and_an_example(text, reason):
    with pytest.raises(UserError, match=reason) as refused:
        find_cluster({"TF_CONFIG": text})
    assert text in str(refused.value) and '"task": {"type": "worker", "index": 0}' in str(refused.value)


def test_without_tf_config_and_slurm_it_says_what_is_needed():
    with pytest.raises(UserError, match="needs TF_CONFIG(.|\n)*srun"):
        find_cluster({})


def slurm(monkeypatch, **more):
    step = {"STEP_NUM_TASKS": "2", "STEP_NODELIST": "n[1-2]", "STEP_TASKS_PER_NODE": "1(x2)"}
    variables = {f"SLURM_{name}": value for name, value in {"JOB_ID": "77", "PROCID": "1", **step, **more}.items()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_a_slurm_step_becomes_a_tf_config(monkeypatch):
    environment = slurm(monkeypatch)
    assert find_cluster(environment) == Cluster(("n1:10077", "n2:10077"), 1)
    assert json.loads(environment["TF_CONFIG"])["task"] == {"type": "worker", "index": 1}


def test_several_processes_a_node_have_ports_of_their_own(monkeypatch):
    environment = slurm(monkeypatch, PROCID="2", STEP_NUM_TASKS="3", STEP_TASKS_PER_NODE="2,1")
    assert find_cluster(environment) == Cluster(("n1:10077", "n1:10078", "n2:10077"), 2)


def test_hosts_that_slurm_counts_and_the_resolver_sorts_find_their_own_address(monkeypatch):
    environment = slurm(monkeypatch, PROCID="0", STEP_NODELIST="n[9-10]", LOCALID="0") | {"SLURMD_NODENAME": "n9"}
    assert find_cluster(environment) == Cluster(("n10:10077", "n9:10077"), 1)


def test_tf_config_goes_before_slurm(monkeypatch):
    assert find_cluster({**slurm(monkeypatch), "TF_CONFIG": tf_config()}) == Cluster(tuple(TWO), 1)


def test_slurm_variables_that_describe_no_step_are_refused(monkeypatch):
    environment = slurm(monkeypatch, STEP_TASKS_PER_NODE="1")
    with pytest.raises(UserError, match="describe no step of workers .*start them with srun"):
        find_cluster(environment)
