"""Synthetic scenes: the same for a seed, masks that follow the pictures, objects that cross."""

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model.errors import UserError
from pipelines.synthetic import SceneConfig, render_scene, write_annotated, write_corpus
from pipelines.video import read_frames

# Few frames over the whole duration: the motion is the same, only sampled more coarsely.
SPARSE = SceneConfig(fps_hz=4.0)
SEEDS = range(8)


@pytest.fixture(scope="module")
def scenes() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    return [list(render_scene(replace(SPARSE, seed=seed))) for seed in SEEDS]


def jaccard(a_HW: np.ndarray, b_HW: np.ndarray) -> float:
    union = np.count_nonzero(a_HW | b_HW)
    return np.count_nonzero(a_HW & b_HW) / union if union else 1.0


def objects_in(mask_HW: np.ndarray) -> list[int]:
    return [int(number) for number in np.unique(mask_HW) if number]


def test_frames_have_the_promised_shape_and_number() -> None:
    config = SceneConfig(seed=3, height_px=96, width_px=160, fps_hz=10, duration_s=0.7)
    frames = list(render_scene(config))
    assert len(frames) == config.frames == 7
    for rgb_HW3, mask_HW in frames:
        assert rgb_HW3.shape == (96, 160, 3)
        assert mask_HW.shape == (96, 160)
        assert rgb_HW3.dtype == mask_HW.dtype == np.uint8


def test_a_scene_is_a_function_of_its_configuration() -> None:
    config = SceneConfig(seed=11, fps_hz=2.0)
    first, again = list(render_scene(config)), list(render_scene(config))
    for (rgb, mask), (rgb_again, mask_again) in zip(first, again, strict=True):
        assert np.array_equal(rgb, rgb_again)
        assert np.array_equal(mask, mask_again)
    other = next(render_scene(replace(config, seed=12)))
    assert not np.array_equal(first[0][0], other[0])
    assert not np.array_equal(first[0][1], other[1])


def test_a_scene_does_not_depend_on_opencv_threads() -> None:
    config = SceneConfig(seed=2, fps_hz=2.0)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        single = list(render_scene(config))
        cv2.setNumThreads(4)
        several = list(render_scene(config))
    finally:
        cv2.setNumThreads(threads)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(single, several, strict=True))


def test_the_rate_samples_one_and_the_same_motion() -> None:
    """First and last frame are those of the motion's ends, however many lie between."""
    slow = list(render_scene(SceneConfig(seed=5, fps_hz=2.0)))
    fast = list(render_scene(SceneConfig(seed=5, fps_hz=6.0)))
    assert np.array_equal(slow[0][1], fast[0][1])
    assert np.array_equal(slow[-1][1], fast[-1][1])


def test_every_object_is_visible_at_the_start(
    scenes: list[list[tuple[np.ndarray, np.ndarray]]],
) -> None:
    counts = set()
    for frames in scenes:
        mask_HW = frames[0][1]
        numbers = objects_in(mask_HW)
        counts.add(len(numbers))
        assert numbers == list(range(1, len(numbers) + 1))
        for number in numbers:
            assert np.mean(mask_HW == number) >= 0.01
    assert counts == {2, 3}


def test_no_object_leaves_for_good(scenes: list[list[tuple[np.ndarray, np.ndarray]]]) -> None:
    for frames in scenes:
        for number in objects_in(frames[0][1]):
            assert np.mean([(mask == number).any() for _, mask in frames]) > 0.7
            assert (frames[-1][1] == number).any()


def test_the_first_mask_repeated_is_a_poor_answer(
    scenes: list[list[tuple[np.ndarray, np.ndarray]]],
) -> None:
    scores = [
        jaccard(frames[0][1] == number, mask == number)
        for frames in scenes
        for number in objects_in(frames[0][1])
        for _, mask in frames[1:]
    ]
    assert np.mean(scores) < 0.4


def test_objects_hide_one_another(scenes: list[list[tuple[np.ndarray, np.ndarray]]]) -> None:
    """Alone, an object's visible area changes by its scale only; here some lose over a third."""
    hidden = 0
    for frames in scenes:
        for number in objects_in(frames[0][1]):
            areas = np.array([np.count_nonzero(mask == number) for _, mask in frames])
            touching = [
                np.isin(cv2.dilate((mask == number).astype(np.uint8), np.ones((5, 5))) * mask,
                        [0, number], invert=True).any()
                for _, mask in frames
            ]  # fmt: skip
            hidden += bool(areas.min() < 0.6 * areas[0] and touching[int(areas.argmin())])
    assert hidden >= len(scenes) / 2


def test_masks_follow_the_pictures() -> None:
    """Dense optical flow, which sees the pictures only, carries each mask to the next frame."""
    scores = []
    for seed in range(3):
        frames = itertools.islice(render_scene(SceneConfig(seed=seed)), 0, 12, 1)
        for (rgb, mask), (rgb_next, mask_next) in itertools.pairwise(frames):
            grey, grey_next = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (rgb, rgb_next))
            solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            flow_HW2 = solver.calc(grey_next, grey, None)  # type: ignore[call-overload]
            y_HW, x_HW = np.mgrid[0:256, 0:256].astype(np.float32)
            carried_HW = cv2.remap(
                mask, x_HW + flow_HW2[..., 0], y_HW + flow_HW2[..., 1], cv2.INTER_NEAREST
            )
            for number in objects_in(mask):
                moved = jaccard(carried_HW == number, mask_next == number)
                scores.append((moved, jaccard(mask == number, mask_next == number)))
    carried, stayed = np.mean(scores, axis=0)
    assert carried > 0.95
    assert 1 - carried < 0.6 * (1 - stayed)


def test_edges_of_the_masks_lie_on_edges_of_the_pictures(
    scenes: list[list[tuple[np.ndarray, np.ndarray]]],
) -> None:
    gradients_on, gradients_off = [], []
    for frames in scenes:
        rgb, mask = frames[0]
        gradient = cv2.morphologyEx(cv2.GaussianBlur(rgb, (0, 0), 1), cv2.MORPH_GRADIENT,
                                    np.ones((3, 3))).max(axis=2)  # fmt: skip
        edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
        gradients_on.append(gradient[edge].mean())
        gradients_off.append(gradient[~edge].mean())
    assert np.mean(gradients_on) > 1.8 * np.mean(gradients_off)


def test_brightness_does_not_tell_objects_from_the_background(
    scenes: list[list[tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Area under the ROC curve of a pixel's grey value as a detector of objects: near a half."""
    curves = []
    for frames in scenes:
        rgb, mask = frames[0]
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        inside, outside = (
            np.bincount(grey[part].ravel(), minlength=256) for part in (mask > 0, mask == 0)
        )
        below = np.cumsum(outside) - outside / 2
        curves.append(float(np.sum(inside * below) / (inside.sum() * outside.sum())))
    assert 0.3 < np.mean(curves) < 0.7
    assert np.mean(np.abs(np.array(curves) - 0.5)) < 0.25


def test_objects_show_several_hues(scenes: list[list[tuple[np.ndarray, np.ndarray]]]) -> None:
    for frames in scenes:
        rgb, mask = frames[0]
        lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        for number in objects_in(mask):
            ab = lab[mask == number][:, 1:]
            assert np.hypot(*ab.std(axis=0)) > 12


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"height_px": 16}, "smaller than 32"),
        ({"width_px": 600}, "2:1"),
        ({"min_objects": 0}, "objects"),
        ({"min_objects": 3, "max_objects": 2}, "objects"),
        ({"max_objects": 7}, "objects"),
        ({"fps_hz": 0.0}, "no frame"),
        ({"duration_s": 0.0}, "no frame"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_scenes_are_refused(changes: dict[str, float], cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        SceneConfig(**changes)  # type: ignore[arg-type]


SMALL = SceneConfig(height_px=64, width_px=96, fps_hz=8.0, duration_s=0.5)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_annotated_videos_have_a_mask_for_every_frame(tmp_path: Path) -> None:
    write_annotated(tmp_path, videos=2, seed=4, scene=SMALL)
    names = sorted(path.stem for path in (tmp_path / "videos").glob("*.mp4"))
    assert names == ["scene-00000", "scene-00001"]
    for name in names:
        frames = list(read_frames(tmp_path / "videos" / f"{name}.mp4"))
        masks = sorted((tmp_path / "masks" / name).iterdir())
        assert [mask.name for mask in masks] == [f"{i:05d}.png" for i in range(4)]
        assert [time for time, _ in frames] == pytest.approx([0, 0.125, 0.25, 0.375])
        with Image.open(masks[0]) as picture:
            assert picture.mode == "P"
            mask_HW = np.array(picture)
        assert mask_HW.shape == frames[0][1].shape[:2] == (64, 96)
        assert set(np.unique(mask_HW)) in ({0, 1, 2}, {0, 1, 2, 3})


def test_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    write_annotated(tmp_path / "one", videos=3, seed=4, scene=SMALL)
    write_annotated(tmp_path / "two", videos=3, seed=4, scene=SMALL, processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_corpus_holds_different_videos_and_none_of_the_annotated_ones(tmp_path: Path) -> None:
    write_corpus(tmp_path / "train", videos=3, seed=4, scene=SMALL)
    write_annotated(tmp_path / "test", videos=3, seed=4, scene=SMALL)
    train = contents(tmp_path / "train")
    assert list(train) == [f"scene-{index:05d}.mp4" for index in range(3)]
    assert len(set(train.values())) == 3
    assert not set(train.values()) & set(contents(tmp_path / "test" / "videos").values())
    # More videos only add to those there are.
    write_corpus(tmp_path / "more", videos=4, seed=4, scene=SMALL)
    assert train.items() <= contents(tmp_path / "more").items()
    write_corpus(tmp_path / "other", videos=3, seed=5, scene=SMALL)
    assert not set(train.values()) & set(contents(tmp_path / "other").values())
