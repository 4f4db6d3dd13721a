"""--check_data: what is there, what is missing with the next step, and the contact sheet; through the command line."""

import data_settings
import numpy as np
import pytest
from PIL import Image

from metaaug_tf import main
from metaaug_tf.data.examples import Examples, Splits
from metaaug_tf.data.sources import load as sources
from metaaug_tf.data.sources.contact_sheet import draw_contact_sheet, one_of_each_class_in_turn


def check(monkeypatch, capfd, *arguments):
    """Exit code, stdout and stderr of --check_data with these arguments."""
    own = [name for name in main.FLAGS if name in (*main.OWN_FLAGS, "config") or name.startswith("config.")]
    for name in own:
        delattr(main.FLAGS, name)
    monkeypatch.setattr("sys.argv", ["metaaug_tf", "--check_data", *map(str, arguments)])
    code = main.main()
    return code, *capfd.readouterr()


def test_a_folder_is_counted_and_shown(tmp_path, monkeypatch, capfd):
    for part, count in (("train", 6), ("test", 2)):
        data_settings.write_images(tmp_path / "data" / part, ["ant", "bee"], count)
    data_settings.write_images(tmp_path / "data" / "train", ["bee"], 9)
    code, out, _ = check(
        monkeypatch,
        capfd,
        "--dataset=folder",
        f"--data_dir={tmp_path / 'data'}",
        f"--workdir={tmp_path / 'out'}",
        "--config.image_size=12",
        "--config.validation_fraction=0.2",
    )
    assert code == 0
    assert "training: 12 images" in out and "validation: 3 images" in out and "test: 4 images" in out
    assert "12 x 12, 3 channel(s)" in out and "2 classes: ant, bee" in out and "nothing is missing" in out
    assert "(ant)" in out and "(bee)" in out
    with Image.open(tmp_path / "out" / "contact_sheet_folder.png") as sheet:
        assert np.ptp(np.asarray(sheet.convert("L"))) > 100
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contact_sheet_folder.png"], "no run was started"


def test_a_missing_dataset_tells_the_command_that_makes_it(tmp_path, monkeypatch, capfd):
    code, _, err = check(monkeypatch, capfd, "--dataset=svhn_cropped", f"--data_dir={tmp_path}")
    assert code == 2
    assert "no prepared dataset in" in err and f"run tfds build svhn_cropped --data_dir={tmp_path}" in err
    (tmp_path / "svhn_cropped" / "1.0.0").mkdir(parents=True)
    assert (
        "There is 1.0.0 beside it" in check(monkeypatch, capfd, "--dataset=svhn_cropped", f"--data_dir={tmp_path}")[2]
    )


def test_imagenet_is_to_be_downloaded_by_hand(tmp_path, monkeypatch, capfd):
    manual = tmp_path / "downloads" / "manual"
    arguments = ("--dataset=imagenet2012", f"--data_dir={tmp_path}")
    err = check(monkeypatch, capfd, *arguments)[2]
    assert f"by hand into {manual} (nothing there yet)" in err and "ILSVRC2012_img_train.tar" in err
    manual.mkdir(parents=True)
    (manual / "ILSVRC2012_img_val.tar").touch()
    err = check(monkeypatch, capfd, *arguments)[2]
    assert "(ILSVRC2012_img_val.tar)" in err and f"tfds build imagenet2012 --data_dir={tmp_path}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=svhn_croped"], "nearest: svhn_cropped"),
        (["--dataset=folder"], "--data_dir"),
        (["--config.train_per_class=10", "--config.validation_per_class=10"], "too few"),
        (["--config.stream=True"], "only TFDS datasets"),
    ],
)
def test_what_is_wrong_is_told(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code, _, err = check(monkeypatch, capfd, *arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_one_class_is_refused(tmp_path, monkeypatch, capfd):
    data_settings.write_images(tmp_path / "train", ["ant"], 9)
    data_settings.write_images(tmp_path / "test", ["ant"], 3)
    code, _, err = check(monkeypatch, capfd, "--dataset=folder", f"--data_dir={tmp_path}")
    assert code == 2 and "1 class folder(s) found, at least 2 needed" in err
    one = Examples(np.zeros((3, 8, 8, 3), np.uint8), np.zeros(3, np.int32))
    monkeypatch.setattr(sources, "_load", lambda settings, data_dir: Splits(one, one, one, ("ant",)))
    code, _, err = check(monkeypatch, capfd, "--dataset=glyphs")
    assert code == 2 and "has a single class, 'ant'" in err


@data_settings.needs_omniglot
def test_real_omniglot(tmp_path, monkeypatch, capfd):
    arguments = ("--dataset=omniglot", f"--data_dir={data_settings.PREPARED}", "--config.split=small1")
    code, out, _ = check(monkeypatch, capfd, *arguments, f"--workdir={tmp_path}")
    assert code == 0 and "its splits:" in out and "small1 2,720" in out and "136 classes" in out
    assert "training: 1,768 images" in out and (tmp_path / "contact_sheet_omniglot.png").stat().st_size > 10_000


def test_classes_take_turns_on_the_sheet():
    labels = np.array([2, 2, 2, 0, 0, 1])
    assert one_of_each_class_in_turn(labels, 5).tolist() == [3, 5, 0, 4, 1]
    assert len(one_of_each_class_in_turn(labels, 40)) == 6


def test_the_sheet_of_grey_images_shows_their_levels(tmp_path):
    images = np.full((2, 8, 8, 1), 255, np.uint8)
    images[0] = 0
    draw_contact_sheet(Examples(images, np.array([0, 1], np.int32)), ("black", "white"), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (np.asarray(sheet.convert("L")) < 5).sum() > 2000
