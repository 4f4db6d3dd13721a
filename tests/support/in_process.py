"""The command line run within the test's process, which saves importing TensorFlow."""

import sys

from metaaug_tf import main


def in_process(arguments, monkeypatch, capfd):
    """Exit code and stderr of the command line without the seconds that starting TensorFlow again takes."""
    own = (*main.OWN_FLAGS, "config")
    for name in [name for name in main.FLAGS if name in own or name.startswith("config.")]:
        delattr(main.FLAGS, name)
    monkeypatch.setattr(sys, "argv", ["metaaug_tf", *map(str, arguments)])
    code = main.main()
    return code, capfd.readouterr().err
