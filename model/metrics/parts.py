"""Mean intersection over union of part maps, as the script for VIP computes it.

The script is that of CycleTime and UVC (github.com/Liusifei/UVC, eval_vip.py): one table of confusions
summed over the pixels of all frames of all videos, the IoU of each class, background included, and the
mean over the classes that occur. There, a prediction with an index too many breaks the table; here it
is refused.

Shape suffixes: H rows, W columns, C classes (true ones first, predicted ones second).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

VIP_CLASSES = (
    "background",
    "hat",
    "hair",
    "sun-glasses",
    "upper-clothes",
    "dress",
    "coat",
    "socks",
    "pants",
    "gloves",
    "scarf",
    "skirt",
    "torso-skin",
    "face",
    "right-arm",
    "left-arm",
    "right-leg",
    "left-leg",
    "right-shoe",
    "left-shoe",
)
"""What the 20 indices of VIP mean."""


def confusion(
    truth_HW: NDArray[Any], pred_HW: NDArray[Any], classes: int = len(VIP_CLASSES)
) -> NDArray[np.int64]:
    """How many pixels of each true class were given each class, [C, C].

    A prediction of another size is brought to the truth's with the nearest pixel. Pixels whose true
    index is no class (255 for void, say) do not count.

    Raises:
        UserError: an array is not [H, W], or the prediction holds an index that is no class.
    """
    if truth_HW.ndim != 2 or pred_HW.ndim != 2 or truth_HW.size == 0 or pred_HW.size == 0:
        raise UserError(f"part maps must be [H, W], got {truth_HW.shape} and {pred_HW.shape}")
    if pred_HW.shape != truth_HW.shape:
        pred_HW = nearest(pred_HW, truth_HW.shape)
    counts = (truth_HW >= 0) & (truth_HW < classes)
    true_N, given_N = truth_HW[counts].astype(np.int64), pred_HW[counts].astype(np.int64)
    if given_N.size and (given_N.max() >= classes or given_N.min() < 0):
        wrong = given_N.max() if given_N.max() >= classes else given_N.min()
        raise UserError(f"index {wrong} is predicted, but the classes are 0 to {classes - 1}")
    return np.bincount(classes * true_N + given_N, minlength=classes**2).reshape(classes, classes)


def class_iou(confusion_CC: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of each class, float [C]; NaN for one that neither truth nor prediction has."""
    both = np.diag(confusion_CC)
    either = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - both
    iou = np.full(len(both), np.nan)
    return np.divide(both, either, out=iou, where=either > 0)


def mean_iou(confusion_CC: NDArray[np.int64]) -> float:
    """Mean IoU of the classes that occur; NaN if there is no pixel."""
    iou = class_iou(confusion_CC)
    iou = iou[~np.isnan(iou)]
    return float(iou.mean()) if iou.size else float("nan")


def nearest(map_HW: NDArray[Any], size_hw: tuple[int, ...]) -> NDArray[Any]:
    """Another size by the nearest pixel: the one under the centre of the new pixel, as in Pillow."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for old, new in zip(map_HW.shape, size_hw, strict=True)
    )
    return map_HW[np.ix_(rows, columns)]
