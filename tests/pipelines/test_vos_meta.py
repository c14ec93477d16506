import json
from pathlib import Path

import numpy as np

from pipelines.labels.davis import write_mask
from pipelines.labels.formats import open_labels
from pipelines.labels.mask_folders import seen_in_masks
from pipelines.vos_meta import write_vos_meta
from tests.predictions import write_predictions

HERE, GONE = {"box_xywh_px": [1.0, 0.0, 1.0, 1.0]}, {"box_xywh_px": None}


def test_objects_are_listed_from_the_frame_on_in_which_they_appear(tmp_path: Path) -> None:
    """The same as the masks say, and read back as the format means it."""
    masks = ([[3, 0, 0]], [[3, 0, 7]], [[0, 0, 7]])
    frames = ("00005", "00010", "00015")
    for stem, mask in zip(frames, masks, strict=True):
        write_mask(tmp_path / "masks" / "_cat" / f"{stem}.png", np.array(mask, np.uint8))
    write_predictions(
        tmp_path,
        "_cat",
        np.ones((2, 3)),
        ids=(3, 7),
        labels=((HERE, HERE, GONE), (GONE, HERE, HERE)),
        frames=frames,
        names={7: "penguin"},
    )
    write_vos_meta(tmp_path)
    meta = json.loads((tmp_path / "masks" / "meta.json").read_text())
    assert meta["videos"]["_cat"]["objects"] == {
        "3": {"category": "object", "frames": ["00005", "00010"]},
        "7": {"category": "penguin", "frames": ["00010", "00015"]},
    }
    reader = open_labels(tmp_path / "masks")
    info = reader.info("_cat")
    assert info.first_frames == {3: "00005", 7: "00010"}
    assert info.object_names[7] == "penguin"
    read = {frame: reader.read("_cat", frame).ids_HW.tolist() for frame in reader.frames("_cat")}
    assert read == dict(zip(frames, masks, strict=True))
    seen = seen_in_masks(tmp_path / "masks", {"_cat": {7: "penguin"}})
    assert {i: list(each.frames) for i, each in seen["_cat"].items()} == {
        3: ["00005", "00010"],
        7: ["00010", "00015"],
    }
