"""The command line: train, evaluate, export or report a run.

TensorFlow is imported only after the flags are parsed and the config is checked.
"""

import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.config import DISTRIBUTIONS, Config, check_config, config_for, settings_table
from metaaug_tf.errors import UserError, WorkerLost
from metaaug_tf.quiet import dispensable_output, drop_unwritten_output, open_missing_output, quiet_stderr
from metaaug_tf.signals import Stopped, heeded_signals

MODES = ("train", "evaluate", "export", "report")
USAGE_ERROR = 2
WORKER_LOST = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
# As --help lists them.
OWN_FLAGS = (
    *("dataset", "data_dir", "workdir", "policy", "seed", "mode"),
    *("distribution", "devices", "fork", "compare", "export_format", "show_policy", "check_data"),
)

FLAGS = flags.FLAGS


def define_flags(dataset: str) -> None:
    """Defines the command line's flags; the defaults of --config.KEY are those of the dataset."""
    flags.DEFINE_string(
        "dataset",
        "glyphs",
        "glyphs (made by the package), omniglot, cifar10, cifar100, svhn_cropped, imagenet2012, any other TFDS "
        "image-classification dataset, or folder (with --data_dir=DIR holding train/CLASS/*.png and test/CLASS/*.png, "
        "or only CLASS/*.png).",
    )
    flags.DEFINE_string("data_dir", None, "Where the data are: the TFDS folder, or the folder of images.")
    flags.DEFINE_string("workdir", None, "The run's folder; by default runs/DATASET-POLICY-SEED.")
    flags.DEFINE_enum("policy", None, list(POLICIES), "How training images are augmented; by default metaaugment.")
    flags.DEFINE_integer("seed", None, "Seed of every random choice; by default 0.", lower_bound=0)
    flags.DEFINE_enum(
        "distribution",
        "none",
        DISTRIBUTIONS,
        "Train on one device, on several of this machine (mirrored), or with other machines (multi_worker: the same "
        "command on each, with TF_CONFIG or started by srun). Batch sizes count the images of all devices.",
    )
    flags.DEFINE_integer(
        "devices",
        0,
        "With --distribution: number of GPUs of each machine; 0 = all. Without GPUs, mirrored counts cores.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "fork",
        None,
        "A new folder: training resumes in it from the newest checkpoint of --workdir, with other settings.",
    )
    flags.DEFINE_list("compare", [], "With --mode=report: other runs' folders to set beside this one.")
    flags.DEFINE_list("export_format", [], "With --mode=export: also onnx and litert files of the classifier.")
    flags.DEFINE_string(
        "show_policy", None, "Print the learned policy in this folder, e.g. runs/demo/policy, and exit."
    )
    flags.DEFINE_enum(
        "mode", "train", MODES, "train; or, on a finished run: evaluate, export, report (needs --workdir)."
    )
    flags.DEFINE_bool(
        "check_data", False, "Only say what data are there and what is missing, with a contact sheet in the workdir."
    )
    config_flags.DEFINE_config_dict("config", config_for(dataset), lock_config=True)


def resolve_config() -> Config:
    """The config after all overrides, checked.

    Raises:
        UserError: a setting is out of its range.
    """
    config = FLAGS.config.to_dict()
    config["dataset"] = FLAGS.dataset
    for key in ("policy", "seed"):
        if FLAGS[key].value is not None:
            config[key] = FLAGS[key].value
    check_config(config)
    return Config.of(config)


def dataset_in(arguments: Sequence[str]) -> str:
    """The value of --dataset, which has to be known before the flags of its config can be defined."""
    value = "glyphs"
    for position, argument in enumerate(arguments):
        name, equals, given = argument.lstrip("-").partition("=")
        if name == "dataset" and argument.startswith("-"):
            value = given if equals else (arguments[position + 1 : position + 2] or [value])[0]
    return value


def parse() -> None:
    """Parses sys.argv (which ml_collections reads too) into FLAGS; --help prints and exits.

    Raises:
        UserError: an unknown flag or setting, or a value of the wrong type.
    """
    dataset = dataset_in(sys.argv[1:])
    config_for(dataset)  # outside of the try: a fault in a config's own file is no unknown setting
    try:
        define_flags(dataset)
        if {"--help", "-h", "-help", "--helpfull"} & set(sys.argv[1:]):
            print(help_text())
            raise SystemExit(0)
        rest = FLAGS(sys.argv)
    except flags.Error as error:
        raise UserError(f"{error}\nPass --help to see the flags.") from error
    except (AttributeError, KeyError) as error:
        message = str(error.args[0] if error.args else error).strip("'\"").replace("\\'", "'").replace("\\n", "\n")
        raise UserError(f"unknown setting: {message}\nPass --help to see the settings.") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"a setting has a value of the wrong type: {error}") from error
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; settings are given as --config.KEY=VALUE")


def help_text() -> str:
    """What --help prints: the flags, then the settings with the defaults of the dataset named."""
    dataset = dataset_in(sys.argv[1:])
    defaults = config_for(dataset)
    own = [FLAGS[name] for name in OWN_FLAGS]
    lines = [
        __doc__.splitlines()[0],
        "",
        "  python -m metaaug_tf.main --dataset=NAME [flags] [--config.KEY=VALUE ...]",
        "",
    ]
    lines += [f"  --{flag.name}  {flag.help}" for flag in own]
    lines += ["", f"Settings, --config.KEY=VALUE, with the defaults for --dataset={dataset}:"]
    lines += [
        f"  {f'{name}={defaults[name]}':38}  {row.metadata['meaning']}"
        for name, row in settings_table().items()
        if name not in OWN_FLAGS
    ]
    return "\n".join(lines)


def run() -> None:
    """Carries out the parsed command.

    Raises:
        UserError: the config or the data can't be used.
    """
    config = resolve_config()
    if FLAGS.distribution != "none" and (FLAGS.mode != "train" or FLAGS.check_data or FLAGS.show_policy):
        raise UserError(f"--distribution={FLAGS.distribution} is for training; leave it out here")
    dataset = config.data.dataset
    for name in ("workdir", "data_dir", "fork", "show_policy"):
        _check_path(name, FLAGS[name].value)
    workdir = Path(FLAGS.workdir or f"runs/{dataset}-{config.augmentation.policy}-{config.run.seed}")
    with quiet_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from metaaug_tf.policy.show import policy_text
        from metaaug_tf.training import commands
        from metaaug_tf.training.train import train
        from metaaug_tf.workers import start as distribution

    if FLAGS.check_data:
        from metaaug_tf.data.sources.check import check_data

        name = f"contact_sheet_{dataset.replace('/', '_').replace(':', '_')}.png"
        print(check_data(config.data, FLAGS.data_dir, Path(FLAGS.workdir or "runs") / name))
    elif FLAGS.show_policy:
        print(policy_text(Path(FLAGS.show_policy)))
    elif FLAGS.mode == "train":
        workers = distribution.start(FLAGS.distribution, FLAGS.devices, config.flat)
        _end_by_signals()  # TensorFlow has put its own handler in the place of SIGTERM's
        with dispensable_output():
            train(config, workdir, FLAGS.data_dir, Path(FLAGS.fork) if FLAGS.fork else None, workers, _command())
    elif FLAGS.mode == "report":
        commands.report(workdir, FLAGS.compare)
    elif FLAGS.mode == "export":
        commands.export(workdir, FLAGS.data_dir, FLAGS.export_format)
    else:
        commands.evaluate(workdir, FLAGS.data_dir)


def _check_path(flag: str, path: str | None) -> None:
    """Rejects paths that TensorFlow and JSON can't hold.

    Raises:
        UserError: the path is not UTF-8.
    """
    if path is not None and any("\ud800" <= character <= "\udfff" for character in path):
        raise UserError(f"--{flag} must be a path in UTF-8, got {path!a}; rename it or choose another")


def main() -> int:
    """Runs the command line; returns the exit code.

    0, 2 for bad input, 75 where another worker has died, 129 after SIGHUP, 130 after Ctrl-C, 143 after SIGTERM.
    """
    open_missing_output()
    _end_by_signals()
    try:
        parse()
        run()
        sys.stdout.flush()  # here, where a figure that could not be printed is still an error
    except (UserError, OSError) as error:
        _say(f"metaaug_tf: {error}")
        return USAGE_ERROR
    except MemoryError:
        _say("metaaug_tf: there is not enough memory; choose a smaller --config.image_size or --config.batch_size")
        return USAGE_ERROR
    except WorkerLost as error:
        _say(f"metaaug_tf: {error}")
        return WORKER_LOST
    except (Stopped, KeyboardInterrupt) as stopped:
        _ignore_hangup()
        _say(f"\nmetaaug_tf: stopped; to resume:\n{_command()}")
        return stopped.exit_code if isinstance(stopped, Stopped) else 128 + signal.SIGINT
    return 0


def _say(message: str) -> None:
    """Prints a last message, where somebody is still there to read it."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def _command() -> str:
    """The command line as it was given."""
    return shlex.join(["python", "-m", "metaaug_tf.main", *sys.argv[1:]])


def _end_by_signals() -> None:
    """Lets SIGTERM and SIGHUP end the command in good order where nothing has to be saved first."""
    for signum in heeded_signals():
        if signum != signal.SIGINT:  # Python makes it a KeyboardInterrupt
            signal.signal(signum, _stop)


def _stop(signum: int, _) -> None:
    _ignore_hangup()
    raise Stopped(signum)


def _ignore_hangup() -> None:
    """Lets the end not be disturbed: a terminal that closes sends SIGHUP twice, by the shell and by the kernel."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    exit_code = main()
    drop_unwritten_output()
    sys.exit(exit_code)
