"""Workers meet before TensorFlow joins them, and refuse together what differs."""

import signal
import socket
import threading
import time

import pytest
from multi_worker import free_ports

from metaaug_tf.config import config_for
from metaaug_tf.errors import UserError
from metaaug_tf.signals import Stopped
from metaaug_tf.workers import rendezvous as meeting
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.rendezvous import meet
from metaaug_tf.workers.start import check_facts, facts_of


def addresses(count):
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def test_three_workers_that_come_one_after_the_other_know_of_each_other():
    names, met = addresses(3), {}

    def come(number):
        time.sleep(number * 0.3)
        met[number] = meet(Cluster(names, number), {"number": number, "long": "x" * 100_000}, seconds=20)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(met) == [0, 1, 2]
    for facts in met.values():
        assert [fact["number"] for fact in facts] == [0, 1, 2]
    for name in names:  # the addresses are free for TensorFlow
        socket.create_server(("127.0.0.1", int(name.split(":")[1]))).close()


def test_callers_that_are_no_workers_do_no_harm():
    names, met = addresses(2), []
    first = threading.Thread(target=lambda: met.append(meet(Cluster(names, 0), {}, seconds=20)))
    first.start()
    host, port = names[0].split(":")
    for content in (b"GET / HTTP/1.1\r\n\r\n", b""):
        while True:
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(content)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    assert meet(Cluster(names, 1), {}, seconds=20) == [{}, {}]
    first.join(timeout=20)
    assert met == [[{}, {}]]


def test_a_signal_while_the_thread_is_started_leaves_none_behind(monkeypatch):
    started = []

    class Interrupted(threading.Thread):
        def start(self):
            started.append(self)
            super().start()
            raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(meeting.threading, "Thread", Interrupted)
    with pytest.raises(Stopped):
        meet(Cluster(addresses(2), 0), {}, seconds=20)
    started[0].join(timeout=10)
    assert not started[0].is_alive()


def test_who_does_not_come_is_named():
    names = addresses(2)
    with pytest.raises(UserError, match=f"worker 1 .{names[1]}. did not come within 1 s"):
        meet(Cluster(names, 0), {}, seconds=1)


def test_a_port_in_use_is_named(monkeypatch):
    monkeypatch.setattr(meeting, "_SECONDS_TO_BE_SEEN", 0.1)
    names = addresses(2)
    with (
        socket.create_server(("127.0.0.1", int(names[0].split(":")[1]))),
        pytest.raises(UserError, match=f"port {names[0].split(':')[1]} of worker 0 .*Address already in use"),
    ):
        meet(Cluster(names, 0), {}, seconds=5)


def meet_all(*clusters):
    """What each of them is told, or why it refuses."""
    found = [""] * len(clusters)

    def come(i, cluster):
        try:
            found[i] = meet(cluster, {}, seconds=30)
        except UserError as error:
            found[i] = str(error)

    threads = [threading.Thread(target=come, args=each) for each in enumerate(clusters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40)
    return found


def test_workers_that_know_other_workers_refuse_each_other(monkeypatch):
    monkeypatch.setattr(meeting, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(3)
    of_two, of_three = meet_all(Cluster(names[:2], 0), Cluster(names, 1))
    here = f"worker {names[0]}, worker {names[1]}"
    assert of_two.startswith(f"worker 1 ({names[1]}) has another TF_CONFIG")
    assert of_two.endswith(f"\n  here:  {here}\n  there: {here}, worker {names[2]}")
    assert of_three.startswith(f"worker 0 ({names[0]}) has another TF_CONFIG")


def test_a_chief_for_one_and_not_for_the_other_is_refused():
    names = addresses(2)
    found = meet_all(Cluster(names, 0, chiefs=1), Cluster(names, 1))
    assert f"here:  chief {names[0]}, worker {names[1]}" in found[0]
    assert f"here:  worker {names[0]}, worker {names[1]}" in found[1]


def test_two_machines_with_the_same_index_refuse(monkeypatch):
    """Both listen at the first one's port, which on machines of their own is the second one's too."""
    monkeypatch.setattr(meeting, "_SECONDS_TO_BE_SEEN", 1.0)
    (port,) = free_ports(1)
    (found,) = meet_all(Cluster((f"127.0.0.1:{port}", f"localhost:{port}"), 0))
    assert found == f'worker 1 (localhost:{port}) takes itself for worker 0: "index" in its TF_CONFIG is wrong'


def test_two_processes_of_a_machine_with_the_same_index_refuse(monkeypatch):
    monkeypatch.setattr(meeting, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(2)
    first, second = sorted(meet_all(Cluster(names, 0), Cluster(names, 0)))
    assert "on 127.0.0.1 refuses: port" in first and "Address already in use" in first
    assert "Address already in use" in second and second.endswith("name another in TF_CONFIG")


def test_a_worker_with_a_malformed_tf_config_tells_the_others(monkeypatch):
    monkeypatch.setattr(meeting, "_SECONDS_TO_BE_SEEN", 2.0)
    names = addresses(3)
    refusing = threading.Thread(target=meeting.tell_refusal, args=(names, "TF_CONFIG is malformed:\n  ..."))
    refusing.start()
    found = meet_all(Cluster(names, 0), Cluster(names, 1))
    refusing.join()
    assert found == ["a worker on 127.0.0.1 refuses: TF_CONFIG is malformed:\n  ..."] * 2


CONFIG = config_for("glyphs").to_dict()


def facts(**changes):
    devices = changes.pop("devices", 1)
    return {"fault": "", **facts_of({**CONFIG, **changes}, devices)}


def refusal(*of_workers):
    with pytest.raises(UserError) as refused:
        check_facts(Cluster(("a:1", "b:2", "c:3"), 0), of_workers)
    return str(refused.value)


def test_workers_that_are_alike_are_not_refused():
    check_facts(Cluster(("a:1", "b:2"), 0), [facts(), facts(checkpoint_minutes=1.0)])


def test_other_settings_versions_and_devices_are_named_with_their_worker():
    message = refusal(facts(), facts(learning_rate=0.2), facts(devices=4) | {"version of keras": "3.0"})
    assert "worker 1 (b:2) differs:\n  learning_rate: 0.1 -> 0.2" in message
    assert "worker 2 (c:3) differs:\n  devices: 1 -> 4\n  version of keras: " in message and "-> 3.0" in message


def test_what_one_worker_can_not_do_all_refuse():
    message = refusal(facts(), facts() | {"fault": "--devices=8 is more than there are"})
    assert message == "worker 1 (b:2): --devices=8 is more than there are"
