"""Where the mask files of a set of videos are: four folder layouts, told apart by what is there."""

from pathlib import Path

from model.errors import UserError

DAVIS_RESOLUTIONS = ("480p", "Full-Resolution")
LAYOUTS = (
    "Annotations[/480p|/Full-Resolution]/VIDEO/*.png (DAVIS)",
    "masks/VIDEO/*.png (an output of huetrack propagate)",
    "VIDEO/masks/*.png",
    "VIDEO/*.png",
)


def mask_files(root: Path) -> dict[str, dict[str, Path]]:
    """The PNG files below `root` by video id and frame stem, both in string order.

    The first of these layouts that holds a PNG file is taken, for all videos::

        root/Annotations/480p/<video>/*.png    or Full-Resolution, or Annotations/<video>
        root/masks/<video>/*.png
        root/<video>/masks/*.png
        root/<video>/*.png

    A video id is a folder's whole name. Names beginning with a dot do not count, all others do. A
    video folder of the layout taken that holds no PNG file stands there with no frames.

    Raises:
        UserError: `root` is missing, not a folder, or has no PNG file in any layout.
    """
    if not root.is_dir():
        raise UserError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    candidates = [
        *(_videos(root / "Annotations" / resolution) for resolution in DAVIS_RESOLUTIONS),
        _videos(root / "Annotations"),
        _videos(root / "masks"),
        {name: folder / "masks" for name, folder in _videos(root).items()},
        _videos(root),
    ]
    for videos in candidates:
        files = {name: _frames(folder) for name, folder in videos.items() if folder.is_dir()}
        if any(files.values()):
            return files
    raise UserError(f"{root}: no mask files; understood are {', '.join(LAYOUTS)}")


def _videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {entry.name: entry for entry in _visible(folder) if entry.is_dir()}


def _frames(folder: Path) -> dict[str, Path]:
    frames: dict[str, Path] = {}
    for entry in _visible(folder):
        if entry.suffix.lower() != ".png" or not entry.is_file():
            continue
        if entry.stem in frames:
            raise UserError(f"{entry}: the same frame as {frames[entry.stem].name}")
        frames[entry.stem] = entry
    return dict(sorted(frames.items()))


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
