"""Where the mask files of a set of videos are: four folder layouts, told apart by what is there."""

from concurrent.futures import ThreadPoolExecutor

from model.errors import UserError
from pipelines.storage import Location, files_in, folders_in

DAVIS_RESOLUTIONS = ("480p", "Full-Resolution")
_LISTINGS_AT_ONCE = 16
LAYOUTS = (
    "Annotations[/480p|/Full-Resolution]/VIDEO/*.png (DAVIS)",
    "masks/VIDEO/*.png (an output of huetrack propagate)",
    "VIDEO/masks/*.png",
    "VIDEO/*.png",
)


def mask_files(root: Location) -> dict[str, dict[str, Location]]:
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
    found = find_masks(root)
    if not found:
        raise UserError(f"{root}: no mask files; understood are {', '.join(LAYOUTS)}")
    return found


def find_masks(root: Location) -> dict[str, dict[str, Location]]:
    """What `mask_files` gives, or nothing where no layout of a folder holds a PNG file."""
    candidates = [
        *(_videos(root / "Annotations" / resolution) for resolution in DAVIS_RESOLUTIONS),
        _videos(root / "Annotations"),
        _videos(root / "masks"),
        {name: folder / "masks" for name, folder in _videos(root).items()},
        _videos(root),
    ]
    for videos in candidates:
        folders = {name: folder for name, folder in videos.items() if folder.is_dir()}
        with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
            files = dict(zip(folders, pool.map(_frames, folders.values()), strict=True))
        if any(files.values()):
            return files
    return {}


def _videos(folder: Location) -> dict[str, Location]:
    return {n: entry for n, entry in folders_in(folder).items() if not n.startswith(".")}


def _frames(folder: Location) -> dict[str, Location]:
    frames: dict[str, Location] = {}
    for name, entry in files_in(folder).items():
        if name.startswith(".") or entry.suffix.lower() != ".png":
            continue
        if entry.stem in frames:
            raise UserError(f"{entry}: the same frame as {frames[entry.stem].name}")
        frames[entry.stem] = entry
    return dict(sorted(frames.items()))
