import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import open_labels

META = """<meta><task><size>30</size><original_size><width>8</width><height>6</height></original_size>
</task></meta>"""


def opened(tmp_path, *tracks, meta=META):
    path = tmp_path / "cat.xml"
    path.write_text(
        f"<annotations><version>1.1</version>{meta}{''.join(tracks)}</annotations>",
        encoding="utf-8",
    )
    return open_labels(path)


def track(*shapes, id=4, label="car"):
    return f'<track id="{id}" label="{label}">{"".join(shapes)}</track>'


def box(frame, left, outside=0, keyframe=1, more=""):
    return (
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="0" xtl="{left}" '
        f'ytl="1.5" xbr="{left + 4}" ybr="3" {more}><attribute name="a">x</attribute></box>'
    )


def mask(frame, rle, left=2, top=1, width=3, height=2, z_order=0, outside=0):
    return (
        f'<mask frame="{frame}" keyframe="1" outside="{outside}" occluded="0" rle="{rle}" '
        f'left="{left}" top="{top}" width="{width}" height="{height}" z_order="{z_order}"></mask>'
    )


def polygon(frame, text="2,1;5,1;5,3;2,3", keyframe=1, outside=0):
    return f'<polygon frame="{frame}" keyframe="{keyframe}" outside="{outside}" points="{text}"/>'


def test_boxes_move_in_a_straight_line_between_keyframes(tmp_path):
    """The numbers are those of CVAT: points0 + (points1 - points0) * offset, up to a shape outside."""
    shapes = [box(2, 0), box(4, 99, keyframe=0), box(6, 8), box(8, 10, outside=1), box(12, 3)]
    reader = opened(tmp_path, track(*shapes))
    assert reader.frames("cat") == (2, 3, 4, 5, 6, 7, *range(12, 30))
    found = {f: reader.read("cat", f).xywh_px_N4.tolist() for f in reader.frames("cat")}
    lefts = {2: 0, 3: 2, 4: 4, 5: 6, 6: 8, 7: 9, 12: 3, 29: 3}
    assert {f: found[f] for f in lefts} == {f: [[x, 1.5, 4, 1.5]] for f, x in lefts.items()}
    info = reader.info("cat")
    assert info == VideoInfo("cat", (6, 8), 30, {5: "car"})
    with pytest.raises(UserError, match=r"cat\.xml: frame 8 of cat is not annotated"):
        reader.read("cat", 8)


def test_objects_come_and_go_by_themselves(tmp_path):
    reader = opened(
        tmp_path, track(box(0, 0), box(2, 0, outside=1)), track(box(1, 2), box(3, 2, 1), id=0)
    )
    assert [reader.read("cat", f).ids for f in reader.frames("cat")] == [(5,), (1, 5), (1,)]


def test_masks_lie_row_by_row_in_their_boxes(tmp_path):
    below = track(mask(3, "0, 6", z_order=2), mask(4, "0, 6", outside=1), id=9)
    above = track(mask(3, "1, 3, 2", left=0, top=0, z_order=1), mask(4, "6", outside=1), id=1)
    reader = opened(tmp_path, below, above)
    assert reader.frames("cat") == (3,)
    expected = np.zeros((6, 8), int)
    expected[0, 1:3] = expected[1, 0] = 2
    expected[1:3, 2:5] = 10
    assert np.array_equal(reader.read("cat", 3).ids_HW, expected)


def test_polygons_are_filled_and_hold_where_they_do_not_change(tmp_path):
    reader = opened(tmp_path, track(polygon(0), polygon(5), polygon(7, outside=1)))
    assert reader.frames("cat") == tuple(range(7))
    expected = np.zeros((6, 8), int)
    expected[1:3, 2:5] = 5
    for frame in (0, 3, 6):
        assert np.array_equal(reader.read("cat", frame).ids_HW, expected)


def test_polygons_of_an_export_need_no_keyframes(tmp_path):
    shapes = [polygon(0), polygon(1, "0,0;2,0;2,2;0,2", keyframe=0), polygon(2, outside=1)]
    reader = opened(tmp_path, track(*shapes))
    assert np.argwhere(reader.read("cat", 1).ids_HW).max() == 1


def test_a_gap_between_polygons_that_change_is_refused(tmp_path):
    reader = opened(tmp_path, track(polygon(0), polygon(5, "0,0;2,0;2,2;0,2")))
    with pytest.raises(UserError, match=r"cat\.xml: track 4 has no shape in frame 3"):
        reader.read("cat", 3)


def point(frame, xy, outside=0, label=""):
    name = f'label="{label}"' if label else f'frame="{frame}"'
    return f'<points {name} keyframe="1" outside="{outside}" points="{xy}"/>'


def test_points_are_in_pixel_indices(tmp_path):
    reader = opened(tmp_path, track(point(0, "0.5,0.5"), point(2, "4.5,2.5"), point(3, "0,0", 1)))
    found = [reader.read("cat", f) for f in reader.frames("cat")]
    assert [a.xy_px_N2.tolist() for a in found] == [[[0, 0]], [[2, 1]], [[4, 2]]]
    assert [a.ids for a in found] == [(5,)] * 3


def skeleton(frame, *joints):
    return f'<skeleton frame="{frame}" keyframe="1" z_order="0">{"".join(joints)}</skeleton>'


LABELS = """<meta><task><size>9</size><labels>
<label><name>cat</name><type>skeleton</type></label>
<label><name>tail</name><type>points</type><parent>cat</parent></label>
<label><name>nose</name><type>points</type><parent>cat</parent></label></labels></task></meta>"""


def test_skeletons_move_joint_by_joint(tmp_path):
    reader = opened(
        tmp_path,
        track(
            skeleton(0, point(0, "1.5,2.5", label="nose"), point(0, "3.5,3.5", 1, label="tail")),
            skeleton(2, point(0, "5.5,2.5", label="nose"), point(0, "7.5,3.5", label="tail")),
            skeleton(3, *(point(0, "1,1", 1, label=joint) for joint in ("tail", "nose"))),
        ),
        meta=LABELS,
    )
    assert reader.frames("cat") == (0, 1, 2)
    assert reader.info("cat").joint_names == ("tail", "nose")
    found = np.concatenate([reader.read("cat", f).xy_px_NK2 for f in reader.frames("cat")])
    assert found[:, 1].tolist() == [[1, 2], [3, 2], [5, 2]]
    assert np.isnan(found[:2, 0]).all() and found[2, 0].tolist() == [7, 3]


@pytest.mark.parametrize(
    ("shapes", "cause"),
    [
        ([box(0, 0), polygon(1)], "several kinds|only one kind"),
        ([box(0, 0), box(0, 1)], "two shapes in one frame"),
        ([box(30, 0)], "frame 30 of a video of 30 frames"),
        ([box(10**9, 0)], "the frame must be 0 to"),
        ([box(-1, 0)], "the frame must be 0 to"),
        ([box(0, float("nan"))], "xtl must be a finite number"),
        (['<box frame="0" xtl="5" ytl="1" xbr="2" ybr="3"/>'], "-3 x 2 px has no extent"),
        (['<box frame="0" xtl="5" ytl="1"/>'], "xbr must be a finite number"),
        ([box(0, 0, more='rotation="30"')], "rotated shapes"),
        (['<cuboid frame="0"/>'], "kind cuboid are not read"),
        ([mask(0, "0, 7")], "do not fill 3x2 px"),
        ([mask(0, "0, 99999999999")], "a run length must be"),
        ([mask(0, "0, -6, 12")], "a run length must be"),
        ([mask(0, "x")], "a run length must be a whole number"),
        ([mask(0, "0, 6", left=6)], "leaves the frame of 8x6 px"),
        ([mask(0, "0, 6", width=2**30, height=2**30)], "leaves the frame"),
        ([mask(0, "0, 6", width=-3)], "width must be 1 to"),
        ([polygon(0, "1,1;2,2")], "three points"),
        ([polygon(0, "1,1;2,2;1e9,3")], "far outside"),
        ([polygon(0, "1,1;2;3,3")], "points must be x,y;x,y"),
        ([polygon(0, "")], "points must be x,y;x,y"),
        ([point(0, "1,1;2,2")], "2 points in one track"),
        ([point(0, "nan,1")], "a point must be a finite number"),
    ],
)
def test_shapes_that_lie_are_refused(tmp_path, shapes, cause):
    with pytest.raises(UserError, match=rf"cat\.xml.*({cause})"):
        opened(tmp_path, track(*shapes)).read("cat", 0)


def test_files_that_cannot_be_read_as_one_video_are_refused(tmp_path):
    size = "<original_size><width>99999</width><height>99999</height></original_size>"
    for tracks, meta, cause in (
        ([track(box(0, 0)), track(polygon(0), id=1)], META, "boxes and masks in one file"),
        ([track(box(0, 0)), track(box(0, 0))], META, "two tracks have the same id"),
        ([track(box(0, 0), id="x")], META, "the id must be a whole number"),
        ([track(box(0, 0), id=2**31)], META, "the id must be 0 to"),
        ([track(polygon(0))], "", "need an original_size"),
        ([track(box(0, 0))], f"<meta><task>{size}</task></meta>", "more than a frame can have"),
        ([track(box(0, 0))], "<meta><task><size>-1</size></task></meta>", "the size must be 0"),
        ([], "<meta><project/></meta>", "a project of several videos"),
        ([track(skeleton(0, point(0, "1,1", label="ear")))], LABELS, "the same joints"),
    ):
        with pytest.raises(UserError, match=rf"cat\.xml.*{cause}"):
            opened(tmp_path, *tracks, meta=meta).frames("cat")


def test_without_tracks_there_are_no_frames(tmp_path):
    assert opened(tmp_path).frames("cat") == ()
    assert opened(tmp_path, track()).frames("cat") == ()


def test_entities_and_damaged_files_are_refused(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>'
    outside = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>'
    deep = "<annotations>" + "<meta>" * 200_000
    for text in (bomb, outside, deep, "", "<annotations>", "<other/>", "<a>\0</a>", "text"):
        (tmp_path / "cat.xml").write_text(text)
        with pytest.raises(UserError, match=r"cat\.xml: not "):
            open_labels(tmp_path).frames("cat")


@given(st.integers(0, 2**31 - 2))
def test_ids_are_one_more_than_those_of_tracks(tmp_path_factory, number):
    reader = opened(tmp_path_factory.mktemp("labels"), track(box(0, 0), id=number))
    assert reader.read("cat", 0).ids == (number + 1,)
