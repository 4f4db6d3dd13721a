"""Workers find each other before TensorFlow joins them, and reject together what differs."""

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from multi_worker import free_ports

from metaaug_tf.config import config_for
from metaaug_tf.errors import UserError
from metaaug_tf.signals import Stopped
from metaaug_tf.workers import rendezvous as module
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.rendezvous import announce_rejection, rendezvous
from metaaug_tf.workers.start import check_settings, settings_to_compare
from metaaug_tf.workers.wire import Introduction


def addresses(count):
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def test_three_workers_that_come_one_after_the_other_know_of_each_other():
    names, met = addresses(3), {}

    def come(index):
        time.sleep(index * 0.3)
        met[index] = rendezvous(Cluster(names, index), {"own": index, "long": "x" * 100_000}, seconds=20)

    threads = [threading.Thread(target=come, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(met) == [0, 1, 2]
    for metadata in met.values():
        assert [one["own"] for one in metadata] == [0, 1, 2]
    for name in names:  # the addresses are free for TensorFlow
        socket.create_server(("127.0.0.1", int(name.split(":")[1]))).close()


def test_a_signal_while_the_thread_is_started_leaves_none_behind(monkeypatch):
    started = []

    class Interrupted(threading.Thread):
        def start(self):
            started.append(self)
            super().start()
            raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(module.threading, "Thread", Interrupted)
    with pytest.raises(Stopped):
        rendezvous(Cluster(addresses(2), 0), {}, seconds=20)
    started[0].join(timeout=10)
    assert not started[0].is_alive()


def test_a_thread_that_starts_after_the_end_finds_nothing_to_do(monkeypatch):
    late = []

    class Late(threading.Thread):
        def start(self):
            late.append(self)
            raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(module.threading, "Thread", Late)
    with pytest.raises(Stopped):
        rendezvous(Cluster(addresses(2), 0), {}, seconds=20)
    late[0].run()  # raises what would be a traceback


def test_who_does_not_come_is_named():
    names = addresses(2)
    with pytest.raises(UserError, match=f"worker 1 .{names[1]}. did not arrive within 1 s"):
        rendezvous(Cluster(names, 0), {}, seconds=1)


def test_a_port_in_use_is_named(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 0.1)
    names = addresses(2)
    with (
        socket.create_server(("127.0.0.1", int(names[0].split(":")[1]))),
        pytest.raises(UserError, match=f"port {names[0].split(':')[1]} of worker 0 .*Address already in use"),
    ):
        rendezvous(Cluster(names, 0), {}, seconds=5)


def meet_all(*clusters):
    """What each of them is told, or why it rejects the training."""
    found = [""] * len(clusters)

    def come(i, cluster):
        try:
            found[i] = rendezvous(cluster, {}, seconds=30)
        except UserError as error:
            found[i] = str(error)

    threads = [threading.Thread(target=come, args=each) for each in enumerate(clusters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40)
    return found


def test_workers_that_know_other_workers_reject_each_other(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(3)
    of_two, of_three = meet_all(Cluster(names[:2], 0), Cluster(names, 1))
    here = f"worker {names[0]}, worker {names[1]}"
    assert of_two.startswith(f"worker 1 ({names[1]}) has another TF_CONFIG")
    assert of_two.endswith(f"\n  here:  {here}\n  there: {here}, worker {names[2]}")
    assert of_three.startswith(f"worker 0 ({names[0]}) has another TF_CONFIG")


def test_both_are_told_where_only_one_can_reach_the_other(monkeypatch):
    """The first one looks for the second one at an address where nobody is."""
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 2.0)
    first, second, nobody = addresses(3)
    found = meet_all(Cluster((first, nobody), 0), Cluster((first, second), 1))
    there, here = f"worker {first}, worker {nobody}", f"worker {first}, worker {second}"
    assert found[0] == f"worker 1 ({second}) has another TF_CONFIG:\n  here:  {there}\n  there: {here}"
    assert found[1] == f"worker 0 ({first}) has another TF_CONFIG:\n  here:  {here}\n  there: {there}"


@pytest.mark.parametrize(("fault", "waited"), [("", 600), ("a reason", 10)])
def test_who_has_a_fault_stays_long_enough_to_be_asked_and_no_longer(monkeypatch, fault, waited):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(module, "_ask", lambda *_: None)
    cluster = Cluster(("a:1", "b:2"), 0)
    meeting = module._Meeting(Introduction.of(cluster, {}))
    if fault:
        meeting.add_fault(fault)
    with ThreadPoolExecutor(1) as pool:
        module._ask_all(cluster, meeting, 600, pool)
    assert now[0] == pytest.approx(waited, abs=0.5)
    assert list(meeting.faults) == [fault or "worker 1 (b:2) did not arrive within 600 s; start all workers together"]


def test_a_chief_for_one_and_not_for_the_other_is_rejected():
    names = addresses(2)
    found = meet_all(Cluster(names, 0, chiefs=1), Cluster(names, 1))
    assert f"here:  chief {names[0]}, worker {names[1]}" in found[0]
    assert f"here:  worker {names[0]}, worker {names[1]}" in found[1]


def test_two_machines_with_the_same_index_reject_it(monkeypatch):
    """Both listen at the first one's port, which on machines of their own is the second one's too."""
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 1.0)
    (port,) = free_ports(1)
    (found,) = meet_all(Cluster((f"127.0.0.1:{port}", f"localhost:{port}"), 0))
    assert found == f'worker 1 (localhost:{port}) takes itself for worker 0: "index" in its TF_CONFIG is wrong'


def test_two_processes_of_a_machine_with_the_same_index_reject_it(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(2)
    first, second = sorted(meet_all(Cluster(names, 0), Cluster(names, 0)))
    assert "on 127.0.0.1 can't take part: port" in first and "Address already in use" in first
    assert "Address already in use" in second and second.endswith("name another in TF_CONFIG")


def test_a_worker_with_a_malformed_tf_config_tells_the_others(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(3)
    rejecting = threading.Thread(target=announce_rejection, args=(names, "TF_CONFIG is malformed:\n  ..."))
    rejecting.start()
    found = meet_all(Cluster(names, 0), Cluster(names, 1))
    rejecting.join()
    assert found == ["a worker on 127.0.0.1 can't take part: TF_CONFIG is malformed:\n  ..."] * 2


CONFIG = config_for("glyphs").to_dict()


def settings(**changes):
    devices = changes.pop("devices", 1)
    return {"fault": "", **settings_to_compare({**CONFIG, **changes}, devices)}


def rejection(*of_workers):
    with pytest.raises(UserError) as rejected:
        check_settings(Cluster(("a:1", "b:2", "c:3"), 0), of_workers)
    return str(rejected.value)


def test_workers_that_are_alike_are_not_rejected():
    check_settings(Cluster(("a:1", "b:2"), 0), [settings(), settings(checkpoint_minutes=1.0)])


def test_other_settings_versions_and_devices_are_named_with_their_worker():
    message = rejection(settings(), settings(learning_rate=0.2), settings(devices=4) | {"version of keras": "3.0"})
    assert "worker 1 (b:2) differs:\n  learning_rate: 0.1 -> 0.2" in message
    assert "worker 2 (c:3) differs:\n  devices: 1 -> 4\n  version of keras: " in message and "-> 3.0" in message


def test_what_one_worker_can_not_do_all_reject():
    message = rejection(settings(), settings() | {"fault": "--devices=8, but there are 4"})
    assert message == "worker 1 (b:2): --devices=8, but there are 4"
