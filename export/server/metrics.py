"""What the server counts for Prometheus."""

from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server, beside those of its process (memory, CPU, files)."""

    def __init__(self):
        """All counters at zero."""
        disable_created_metrics()  # a second series for each, of no use here
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("metaaug_requests", "Answered requests by HTTP status", ["status"], registry=registry)
        self._by_status: dict[int, Counter] = {}
        self._seconds = Histogram(
            "metaaug_predict_seconds",
            "From a predict request's head to its answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self._examples = Histogram(
            "metaaug_call_examples", "Examples in a call of the model", buckets=_EXAMPLES, registry=registry
        )
        self._calls = Counter("metaaug_call_seconds", "Time within calls of the model", registry=registry)

    def answered(self, status: int, seconds: float, predict: bool) -> None:
        """Counts an answer; `seconds` from the request's head on."""
        if status not in self._by_status:
            self._by_status[status] = self._requests.labels(str(status))
        self._by_status[status].inc()
        if predict:
            self._seconds.observe(seconds)

    def called(self, examples: int, seconds: float) -> None:
        """Counts a call of the model."""
        self._examples.observe(examples)
        self._calls.inc(seconds)

    def watch(self, name: str, text: str, values: Callable[[], Mapping[str, float]], label: str) -> None:
        """Adds a gauge whose values by label are asked for when the metrics are."""
        self._registry.register(_Asked(name, text, values, label))

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Asked:
    """A gauge that asks for its values."""

    def __init__(self, name: str, text: str, values: Callable[[], Mapping[str, float]], label: str):
        self._name, self._text, self._values, self._label = name, text, values, label

    def collect(self):
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for key, value in self._values().items():
            family.add_metric([key], value)
        yield family
