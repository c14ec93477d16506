"""Which joints of a person are joined by a bone, for pictures.

J-HMDB: Jhuang et al., *Towards understanding action recognition*, ICCV 2013, figure 2. COCO: the
`skeleton` of the category `person` in `person_keypoints_*.json`.
"""

from itertools import pairwise

from pipelines.labels.jhmdb import JOINTS

Bone = tuple[int, int]
"""Two places in the list of joints, from 0 on."""


def _bones(names: tuple[str, ...], chains: tuple[tuple[str, ...], ...]) -> tuple[Bone, ...]:
    place = {name: index for index, name in enumerate(names)}
    return tuple((place[a], place[b]) for chain in chains for a, b in pairwise(chain))


COCO_JOINTS = (
    "nose",
    *(f"{side}_{part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
      for side in ("left", "right")),
)  # fmt: skip

_ARMS_AND_LEGS = tuple(
    chain
    for side in ("left", "right")
    for chain in (
        (f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"),
        (f"{side}_hip", f"{side}_knee", f"{side}_ankle"),
    )
)
JHMDB_BONES = _bones(
    JOINTS,
    (
        ("face", "neck", "belly"),
        ("right_shoulder", "neck", "left_shoulder"),
        ("right_hip", "belly", "left_hip"),
        *_ARMS_AND_LEGS,
    ),
)
COCO_BONES = _bones(
    COCO_JOINTS,
    (
        ("right_ear", "right_eye", "nose", "left_eye", "left_ear"),
        ("right_eye", "left_eye"),
        ("right_ear", "right_shoulder", "left_shoulder", "left_ear"),
        ("right_shoulder", "right_hip", "left_hip", "left_shoulder"),
        *_ARMS_AND_LEGS,
    ),
)


def bones_between(joints: int) -> tuple[Bone, ...]:
    """The bones of a person with J-HMDB's 15 or COCO's 17 joints; none for another number."""
    return {len(JOINTS): JHMDB_BONES, len(COCO_JOINTS): COCO_BONES}.get(joints, ())


def joint_names_of(joints: int) -> tuple[str, ...]:
    """The names of J-HMDB's 15 or COCO's 17 joints; none for another number."""
    return {len(JOINTS): JOINTS, len(COCO_JOINTS): COCO_JOINTS}.get(joints, ())
