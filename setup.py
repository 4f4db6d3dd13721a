"""Packaging of metaaug_tf; the version ranges are those the test suite was run with."""

from pathlib import Path

from setuptools import find_packages, setup

RUNTIME = [
    "tensorflow>=2.21,<2.22",
    "keras>=3.15,<3.16",
    "h5py>=3.11,<4",  # Keras needs it too
    "tensorflow-datasets>=4.9.10,<4.10",
    "importlib_resources>=6,<8",  # needed by tensorflow-datasets to download, not declared by it
    "absl-py>=2.5,<3",
    "ml_collections>=1.1,<2",
    "tensorboard>=2.21,<2.22",
    "matplotlib>=3.11,<3.12",
    "jinja2>=3.1,<4",
    "tensorflow-serving-api>=2.21,<2.22",  # message types only (30 kB); all it needs, TensorFlow needs too
    "requests>=2.34,<3",
]
EXTRAS = {
    "serve": [
        "starlette>=1.10,<2",
        "uvicorn>=0.54,<1",
        "httptools>=0.9,<1",
        "orjson>=3.13,<4",
        "prometheus-client>=0.26,<1",
    ],
    "onnx": ["tf2onnx>=1.17,<2", "onnx>=1.23,<2", "onnxruntime>=1.32,<2"],
    "litert": ["ai-edge-litert>=2.3,<3", "backports-strenum<1.3"],  # needed by the first; newer ones refuse Python 3.11
    # Archived upstream; only a reference in tests and benchmarks, never imported at run time.
    "addons": ["tensorflow-addons==0.23.0"],
    "test": ["pytest>=9,<10", "hypothesis>=6.170,<7", "pillow>=13,<14", "ruff>=0.17,<0.18", "mypy>=2.4,<3"],
}

setup(
    name="metaaug_tf",
    version="0.1.0",
    description="Sample-aware learned data augmentation for Keras (MetaAugment, AAAI 2021)",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=[
        *find_packages(include=["metaaug_tf", "metaaug_tf.*"]),
        "metaaug_tf.configs",
        "metaaug_tf.export",
        "metaaug_tf.export.server",
    ],
    package_dir={
        "metaaug_tf.configs": "configs",
        "metaaug_tf.export": "export",
        "metaaug_tf.export.server": "export/server",
    },
    package_data={"metaaug_tf.report": ["*.jinja"]},
    install_requires=RUNTIME,
    extras_require=EXTRAS,
)
