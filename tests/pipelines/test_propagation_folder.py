"""The output folder of a propagation: killed at any moment, a video is there whole or as before."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from model.propagation.protocols import get_protocol
from pipelines.propagation_folder import (
    Attempts,
    finished_videos,
    prepare_propagation,
    staged_video,
    tidy,
)

CONFIG = {"protocol": "crw"}


class Killed(BaseException):
    """The run ends here."""


def commit(out: Path, text: str, names: tuple[str, ...], *, part: bool = False) -> None:
    with staged_video(out, "v", part=part) as place:
        for folder in ("masks/v", "overlays", "predictions"):
            (place / folder).mkdir(parents=True)
        for name in names:
            (place / "masks" / "v" / name).write_text(text)
        (place / "overlays" / "v.mp4").write_text(text)
        (place / "predictions" / "v.parquet").write_text(text)


def commit_file(out: Path, text: str, *, replaced: Path) -> None:
    """Labels in one file, in place of others, and predictions."""
    with staged_video(out, "v", part=True, replaced=replaced) as place:
        for name in ("labels/v.json", "predictions/v.parquet"):
            (place / name).parent.mkdir()
            (place / name).write_text(text)


def killed_after(steps: int, patched: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], bool]:
    """Runs something until so many moves and removals are done; whether it came to its end."""
    left = steps

    def counted(real):
        def call(*arguments, **options):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(*arguments, **options)

        return call

    for name in ("rename", "replace"):
        patched.setattr(Path, name, counted(getattr(Path, name)))
    patched.setattr("shutil.rmtree", counted(shutil.rmtree))

    def run(body: Callable[[], None]) -> bool:
        try:
            body()
        except Killed:
            return False
        return True

    return run


def contents(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file() and path.parent != out]
    return {str(path.relative_to(out)): path.read_text() for path in sorted(files)}


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("steps", range(12))
def test_killed_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, part: bool
) -> None:
    """Every move and removal is a step; whoever runs next sees all of the new files or none."""
    out = tmp_path / "out"
    prepare_propagation(out, CONFIG, overwrite=False)
    commit(out, "old", ("0.png", "1.png", "2.png"))
    old = contents(out)
    names = ("1.png", "2.png") if part else ("1.png",)
    with monkeypatch.context() as patched:
        ended = killed_after(steps, patched)(lambda: commit(out, "new", names, part=part))
    prepare_propagation(out, CONFIG, overwrite=False)
    tidy(out)
    new = {f"masks/v/{name}": "new" for name in names}
    new |= {"overlays/v.mp4": "new", "predictions/v.parquet": "new"}
    new = (old if part else {}) | new
    assert contents(out) in ([new] if ended else [old, new])
    assert finished_videos(out) == {"v"}
    if steps < 2:
        assert contents(out) == old  # or the test would kill nothing
    if steps == 11:
        assert ended


def test_a_body_that_fails_leaves_nothing(tmp_path: Path) -> None:
    prepare_propagation(tmp_path / "out", CONFIG, overwrite=False)
    with (
        pytest.raises(OSError, match="No space left"),
        staged_video(tmp_path / "out", "v", part=False) as place,
    ):
        (place / "masks").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert contents(tmp_path / "out") == {}
    assert finished_videos(tmp_path / "out") == set()


def test_a_video_without_predictions_or_without_labels_is_not_finished(tmp_path: Path) -> None:
    prepare_propagation(tmp_path / "out", CONFIG, overwrite=False)
    commit(tmp_path / "out", "old", ("0.png",))
    (tmp_path / "out" / "predictions" / "v.parquet").rename(tmp_path / "aside")
    assert finished_videos(tmp_path / "out") == set()
    (tmp_path / "aside").rename(tmp_path / "out" / "predictions" / "v.parquet")
    assert finished_videos(tmp_path / "out") == {"v"}
    (tmp_path / "out" / "masks" / "v").rename(tmp_path / "aside")
    assert finished_videos(tmp_path / "out") == set()


def test_another_configuration_is_refused_and_overwrite_removes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_propagation(out, CONFIG, overwrite=False)
    commit(out, "old", ("0.png",))
    with pytest.raises(
        UserError, match=r"out: made with another protocol \(crw -> uvc\); use --overwrite"
    ):
        prepare_propagation(out, {"protocol": "uvc"}, overwrite=False)
    assert finished_videos(out) == {"v"}
    prepare_propagation(out, {"protocol": "uvc"}, overwrite=True)
    assert contents(out) == {}


def test_a_refusal_says_in_one_line_what_has_changed(tmp_path: Path) -> None:
    crw, vidcolor = get_protocol("crw"), get_protocol("vidcolor")
    prepare_propagation(tmp_path / "out", {"protocol": crw.describe()}, overwrite=False)
    for other, difference in (
        (vidcolor, "name crw -> vidcolor"),
        (get_protocol("crw", ["top_k=5"]), r"name crw -> crw\(top_k=5\)"),
    ):
        with pytest.raises(UserError, match=difference) as refused:
            prepare_propagation(tmp_path / "out", {"protocol": other.describe()}, overwrite=False)
        assert "\n" not in str(refused.value) and "recent_frames" not in str(refused.value)


def test_names_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="would leave"),
        staged_video(tmp_path, "../v", part=False),
    ):
        pass


def test_attempts_are_counted_until_they_end(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    assert [attempts.begin("v"), Attempts(tmp_path).begin("v"), attempts.begin("w")] == [1, 2, 1]
    attempts.end("v")
    assert attempts.begin("v") == 1


@pytest.mark.parametrize("steps", range(8))
def test_labels_in_another_format_take_the_place_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Wherever the run is killed: the old ones and the new ones are never there together."""
    out = tmp_path / "out"
    prepare_propagation(out, CONFIG, overwrite=False)
    commit(out, "old", ("0.png", "1.png"))
    old = contents(out)
    with monkeypatch.context() as patched:
        ended = killed_after(steps, patched)(
            lambda: commit_file(out, "new", replaced=out / "masks" / "v")
        )
    prepare_propagation(out, CONFIG, overwrite=False)
    tidy(out)
    new = {"labels/v.json": "new", "overlays/v.mp4": "old", "predictions/v.parquet": "new"}
    assert contents(out) in ([new] if ended else [old, new])
    assert finished_videos(out) == {"v"}
    if steps in (0, 7):
        assert ended is (steps == 7)
