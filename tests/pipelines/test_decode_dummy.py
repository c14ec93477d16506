"""The dummy decoder: same interface, no file."""

from pathlib import Path

import numpy as np

from pipelines.decode import DecodeConfig, Decoder


def test_made_up_frames_depend_on_the_path_alone(tmp_path: Path) -> None:
    with Decoder(DecodeConfig(decoder="dummy", size_px=64)) as decoder:
        (first,) = decoder.chunks(tmp_path / "none.mp4")
        (again,) = decoder.chunks(tmp_path / "none.mp4")
        others = [next(decoder.chunks(Path(f"{i}.mp4"))).frames_NHW3 for i in range(8)]
        (short,) = decoder.chunks(tmp_path / "none.mp4", max_frames=2)
    assert first.timestamps_s == [0.0, 0.166667, 0.333333, 0.5]
    assert first.frames_NHW3.shape == (4, 64, 64, 3)
    assert np.array_equal(first.frames_NHW3, again.frames_NHW3)
    assert len({frames.tobytes() for frames in others}) > 2
    assert len(np.unique(first.frames_NHW3[0].reshape(-1, 3), axis=0)) > 16
    assert short.timestamps_s == [0.0, 0.166667]
