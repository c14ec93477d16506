"""Which pictures are written, and that what is in them follows the numbers."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from model.errors import UserError
from pipelines.evaluation import MaskEvaluation, SequenceScores, evaluate_masks
from pipelines.evaluation_boxes import evaluate_boxes
from pipelines.evaluation_curves import Curves, Line, Panel, picture, write_curves
from pipelines.evaluation_keypoints import evaluate_keypoints
from pipelines.evaluation_parts import evaluate_parts
from pipelines.evaluation_points import evaluate_points
from pipelines.labels.davis import write_mask


def pixels(png):
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return np.array(image.convert("RGB")).astype(int)


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def save_masks(folder, shift):
    for name in ("cat", "$dog_1$"):
        for t in range(4):
            mask = np.zeros((20, 30), np.uint8)
            mask[5:15, 5:15] = 1
            mask[16:19, 2:9] = 2
            write_mask(folder / name / f"{t}.png", np.roll(mask, shift * t, axis=1))


def test_a_line_is_where_its_values_are():
    """Blue ink at the top left and the bottom right for a line that falls from 1 to 0."""
    falling = Line("", [0, 1, 2, 3], [1, 0.66, 0.33, 0])
    image = pixels(picture(Curves("x", "x", (Panel("frame", "J", (falling,)),))))
    blue = (image[..., 2] - image[..., 0] > 80) & (image[..., 2] > 120)
    y, x = np.nonzero(blue)
    assert len(y) > 100
    assert np.corrcoef(x, y)[0, 1] > 0.95  # rows are counted from the top


def test_what_is_not_finite_is_a_gap():
    whole = Line("", [0, 1, 2], [0.5, 0.5, 0.5])
    broken = Line("", [0, 1, 2], [0.5, np.inf, np.nan])
    amounts = []
    for line in (whole, broken):
        image = pixels(picture(Curves("x", "x", (Panel("frame", "J", (line,)),))))
        amounts.append(np.count_nonzero(image[..., 2] - image[..., 0] > 80))
    assert 0 < amounts[1] < amounts[0] / 4


def test_masks_have_a_picture_a_sequence(tmp_path):
    save_masks(tmp_path / "truth", 0)
    save_masks(tmp_path / "pred", 1)
    evaluation = evaluate_masks(tmp_path / "truth", tmp_path / "pred", workers=1)
    assert write_curves(tmp_path / "curves", evaluation) == 2
    assert written(tmp_path / "curves") == ["$dog_1$.png", "cat.png"]


def test_parts_have_a_picture_a_sequence(tmp_path):
    save_masks(tmp_path / "maps", 0)
    evaluation = evaluate_parts(tmp_path / "maps", tmp_path / "maps")
    write_curves(tmp_path / "curves", evaluation)
    assert written(tmp_path / "curves") == ["$dog_1$.png", "cat.png"]


def test_joints_also_have_one_of_all(tmp_path):
    xy = np.random.default_rng(0).uniform(1, 99, (2, 15, 3))
    xy[0, :, 1] = np.nan  # a frame that has no median
    for name in ("a", "class/b"):
        (tmp_path / name).mkdir(parents=True)
        savemat(tmp_path / name / "joint_positions.mat", {"pos_img": xy})
    evaluation = evaluate_keypoints(tmp_path, tmp_path)
    modes = []
    for mode in ("reference", "strict"):
        assert write_curves(tmp_path / mode, evaluation, mode) == 3
        assert written(tmp_path / mode) == ["a.png", "all-sequences.png", "b.png"]
        modes.append(pixels((tmp_path / mode / "a.png").read_bytes()))
    assert modes[0].shape == modes[1].shape


def test_boxes_have_success_plots(tmp_path):
    (tmp_path / "Car.txt").write_text("1 2 3 4\n" * 3)
    write_curves(tmp_path / "curves", evaluate_boxes(tmp_path, tmp_path))
    assert written(tmp_path / "curves") == ["Car.png", "all-sequences.png"]


def test_points_have_a_picture_a_sequence(tmp_path):
    np.savez(tmp_path / "v.npz", points=np.zeros((1, 4, 2)), occluded=np.zeros((1, 4), bool))
    write_curves(tmp_path / "curves", evaluate_points(tmp_path, tmp_path))
    assert written(tmp_path / "curves") == ["v.png"]


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    evaluation = MaskEvaluation((SequenceScores("../up", (), {}),))
    with pytest.raises(UserError, match="would leave"):
        write_curves(tmp_path / "curves", evaluation)
