"""Label files of annotation tools: what is drawn, by the tools' own rasterisers, and mistakes."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from zlib import compress

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from pycocotools import mask as coco_masks

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.draw import draw
from streetseg.data.annotations.formats import FORMATS, FormatName
from streetseg.data.annotations.masks import decode_brush, decode_coco_counts
from streetseg.data.label_names import LabelNames
from streetseg.data.labels import LabelSpace
from streetseg.images.encode import encode_png
from tests.support import source_layouts as layouts
from tests.unit.data.test_label_tools import LABELS

SPACE = LabelSpace.from_dict(LABELS)
CITYSCAPES = LabelSpace.load("cityscapes")
SIZE = 60, 100
NAMES = ["road", "car", "person", "building"]


def drawn(
    format: FormatName, content: Any, space: LabelSpace = SPACE, size: tuple[int, int] = SIZE
) -> tuple[np.ndarray, dict[str, int]]:
    """The label ids of the only picture in a label file, and the counts of its shapes."""
    text = content if isinstance(content, str) else json.dumps(content)
    (picture,) = FORMATS[format].read(text.encode(), Path("file")).pictures
    assert picture.error == ""
    return draw(picture, LabelNames(space), FORMATS[format], size)


def refusal(format: FormatName, content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(StreetsegError) as caught:
        drawn(format, text)
    assert "\n" not in str(caught.value)
    return getattr(caught.value, "reason", str(caught.value))


def random_polygon(rng: np.random.Generator, whole: bool) -> list[list[float]]:
    """Up to nine corners, some of them outside of the picture."""
    points = rng.uniform(-20, 120, (rng.integers(3, 10), 2))
    return (points.round() if whole else points.round(2)).tolist()


# Cityscapes and IDD


def test_polygons_are_drawn_as_the_script_of_cityscapes_draws_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [label.name for label in CITYSCAPES.labels]  # license plate is never drawn
    for number in range(20):
        objects = [
            {
                "label": str(rng.choice([*labels, "cargroup", "persongroup", "polegroup"])),
                "polygon": random_polygon(rng, whole=bool(number % 4)),
                "deleted": int(rng.random() < 0.2),
            }
            for _ in range(12)
        ]
        content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
        truth = Annotation()
        truth.fromJsonText(json.dumps(content))
        ids, counts = drawn("cityscapes", content, CITYSCAPES)
        np.testing.assert_array_equal(ids, np.array(createLabelImage(truth, "ids")))
        assert counts["read:polygon"] + sum(
            count for key, count in counts.items() if key.startswith("dropped:")
        ) == len(objects)
        assert counts.get("dropped:deleted", 0) == sum(each["deleted"] for each in objects)


def cityscapes_polygons(root: Path, label: str = "road") -> Path:
    """Frames of two splits with polygons alone; ``label`` covers the lower half of each."""
    layouts.cityscapes(root)
    height, width = layouts.SIZE
    lower = [[0, height // 2], [width, height // 2], [width, height], [0, height]]
    for path in [*root.rglob("*_labelIds.png")]:
        objects = [{"label": label, "polygon": lower, "id": 0, "deleted": 0, "draw": True}]
        content = {"imgHeight": height, "imgWidth": width, "objects": objects}
        path.with_name(path.name.replace("labelIds.png", "polygons.json")).write_text(
            json.dumps(content)
        )
        path.unlink()
    return root


POLYGONS = layouts.pair(
    "leftImg8bit/{split}/{city}/{name}_leftImg8bit.png",
    "gtFine/{split}/{city}/{name}_gtFine_polygons.json",
    format="cityscapes",
)


def test_polygons_of_cityscapes_are_prepared(tmp_path: Path) -> None:
    dataset = layouts.prepared("cityscapes-polygons", cityscapes_polygons(tmp_path / "data"))
    ids = dataset.label_ids(int(dataset.rows("val")[0]))
    np.testing.assert_array_equal(np.unique(ids[:16]), [0])  # unlabeled
    np.testing.assert_array_equal(np.unique(ids[16:]), [7])
    assert dataset.shapes == {"read:polygon": len(dataset.index)}
    assert dataset.index["label"][0].endswith("_gtFine_polygons.json")
    assert sorted(dataset.index["label_ids"][0]) == [0, 7]


def test_polygons_of_idd_stand_beside_its_label_images(
    tmp_path: Path,
) -> None:
    root = cityscapes_polygons(tmp_path / "data", "non-drivable fallback")
    for path in root.rglob("*_000010_gtFine_polygons.json"):  # of one frame a label image is there
        label = layouts.filled([7])
        layouts.write(path.with_name(path.name.replace("polygons.json", "labelids.png")), label)
    own = layouts.prepared("idd", root, data__target="own")
    val = own.label_ids(int(own.rows("val")[0]))
    assert (np.unique(val[:16]).tolist(), np.unique(val[16:]).tolist()) == ([35], [5])
    mapped = layouts.prepared("idd", root, data__target="cityscapes")
    val = mapped.label_ids(int(mapped.rows("val")[0]))
    assert (np.unique(val[:16]).tolist(), np.unique(val[16:]).tolist()) == ([0], [22])  # terrain
    assert mapped.shapes == {"read:polygon": 3}


def test_undefined_names_of_all_frames_are_in_one_line(tmp_path: Path) -> None:
    """As of IDD's, whose labels are not those of Cityscapes."""
    root = cityscapes_polygons(tmp_path / "data", "autorickshaw")
    first = next(iter(sorted(root.rglob("*_polygons.json"))))
    first.write_text(first.read_text().replace("autorickshaw", "billboard"))
    source = layouts.own(tmp_path / "recipe", {**POLYGONS, "label_space": "cityscapes"})
    with pytest.raises(StreetsegError) as caught:
        layouts.prepared(source, root)
    said = str(caught.value)
    assert "has the label 'billboard' in aachen_000000_000009" in said
    assert "in all, 4 of 4 frames hold the labels 'autorickshaw', 'billboard': add them" in said


# COCO


def coco(*annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 5, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
        "annotations": [
            {"id": number, "image_id": 5, "category_id": 1, "iscrowd": 0, **each}
            for number, each in enumerate(annotations)
        ],
        **more,
    }


def test_polygons_and_masks_are_drawn_as_pycocotools_draws_them() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth, annotations = np.zeros(SIZE, np.uint8), []
        for number in range(6):
            rings = [
                np.ravel(random_polygon(rng, whole=False)).tolist()
                for _ in range(rng.integers(1, 3))
            ]
            encoded = coco_masks.merge(coco_masks.frPyObjects(rings, *SIZE))
            outline: Any = rings
            if number % 3 == 1:
                outline = {"size": list(SIZE), "counts": encoded["counts"].decode()}
            elif number % 3 == 2:
                (counts,) = decode_coco_counts([encoded["counts"]])
                outline = {"size": list(SIZE), "counts": counts.tolist()}
            category = int(rng.integers(4))
            truth[coco_masks.decode(encoded) == 1] = category + 1
            annotations.append(
                {"category_id": category, "segmentation": outline, "iscrowd": number % 2}
            )
        ids, counts = drawn("coco", coco(*annotations))
        np.testing.assert_array_equal(ids, truth)
        assert (counts["read:polygon"], counts["read:mask"]) == (2, 4)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (64, 96), (300, 2)])
def test_compressed_run_lengths_are_decoded_as_pycocotools_does(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for density in (0, 0.01, 0.5, 1):
        mask = np.asfortranarray(rng.random(shape) < density, np.uint8)
        (counts,) = decode_coco_counts([coco_masks.encode(mask)["counts"]])
        pixels = np.repeat(np.arange(len(counts)) % 2, counts)
        np.testing.assert_array_equal(pixels.reshape(shape[::-1]).T, mask)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"segmentation": {"size": [60, 100], "counts": [5, 5]}}, "runs cover 10 pixels, not 6000"),
        ({"segmentation": {"size": [60, 100], "counts": "~"}}, "damaged RLE mask"),
        ({"segmentation": {"size": [6, 10], "counts": [60]}}, "a mask of 10x6 in an image of 100x"),
        ({"segmentation": [[0, 0, 9e9, 0, 9e9, 9]]}, "a point more than 100000 pixels outside"),
        ({"segmentation": [[0, 0, 9e4, 0] * 30]}, "whose outline is longer than 2000000 pixels"),
        ({"category_id": 9}, "has an annotation of the category 9, which it does not list"),
        ({"segmentation": "x"}, "is not a label file of COCO: 'annotations.0.segmentation"),
    ],
)
def test_an_impossible_annotation_is_refused(annotation: dict[str, Any], said: str) -> None:
    assert said in refusal("coco", coco(annotation))


def test_repeated_ids_that_mix_up_annotations_are_refused() -> None:
    images = [{"id": 5, "file_name": f"{name}.png"} for name in "ab"]
    assert "the image id 5 occurs twice" in refusal("coco", coco(images=images))
    categories = [{"id": 1, "name": name} for name in ("road", "car")]
    assert "the category id 1 occurs twice" in refusal("coco", coco(categories=categories))


# CVAT


def cvat(*shapes: str, image: str = 'name="a.png" height="60" width="100"') -> str:
    return (
        '<?xml version="1.0"?><annotations><version>1.1</version>'
        f"<image {image}>{''.join(shapes)}</image></annotations>"
    )


def test_shapes_of_cvat_are_drawn_by_z_order_and_as_cvat_converts_them() -> None:
    corners = np.array([(20, 20), (60, 20), (60, 30), (20, 30)], float) - (40, 25)
    angle = np.radians(30)
    cosine, sine = np.cos(angle), np.sin(angle)  # CVAT, RotatedBoxesToPolygons
    turned = np.stack(
        [
            40 + cosine * corners[:, 0] - sine * corners[:, 1],
            25 + sine * corners[:, 0] + cosine * corners[:, 1],
        ],
        axis=1,
    )
    truth = np.zeros(SIZE, np.uint8)
    (box,) = coco_masks.frPyObjects([turned.ravel().tolist()], *SIZE)
    truth[coco_masks.decode(box) == 1] = 1
    ellipse = cv2.ellipse(
        truth * 0, (70, 40), (12, 8), 20, 0, 360, 255, -1
    )  # CVAT, EllipsesToMasks
    truth[ellipse == 255] = 2
    truth[10:12, 5:8] = [[0, 3, 3], [3, 0, 0]]
    ids, counts = drawn(
        "cvat",
        cvat(
            '<ellipse label="car" cx="70.2" cy="39.9" rx="12.1" ry="8" rotation="20" z_order="2"/>',
            '<mask label="person" rle="1, 3, 2" left="5" top="10" width="3" height="2" '
            'z_order="3"/>',
            '<box label="road" xtl="20" ytl="20" xbr="60" ybr="30" rotation="30" z_order="1"/>',
            '<polyline label="car" points="1,1;5,5"/>',
            '<points label="nose" points="1,1"/>',
            '<tag label="night"/>',
            '<polygon label="car" points="1,1;5,5"/>',
        ),
    )
    np.testing.assert_array_equal(ids, truth)
    assert counts == {
        "read:box": 1,
        "read:ellipse": 1,
        "read:mask": 1,
        "dropped:polyline": 1,
        "dropped:points": 1,
        "dropped:tag": 1,
        "dropped:polygon without an area": 1,
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<annotations><track/></annotations>", "is 'CVAT for video', .*: export 'CVAT for images"),
        ("<annotation/>", "its root is <annotation>: LabelMe's XML tells no drawing order"),
        ("<annotations><image", "is not valid XML .*: export or copy it again"),
        ("<!DOCTYPE annotations><annotations/>", "declares a document type, which no annotation"),
        (
            cvat('<mask label="car" rle="1,x"/>'),
            "the image a.png cannot be read: .*invalid literal",
        ),
        (cvat('<box label="car" xtl="1"/>'), "the image a.png cannot be read: no 'ytl'"),
        (cvat('<star label="car"/>'), "a shape of the kind <star>, which this version cannot draw"),
        (cvat('<polygon label="car" points="1,nan;2,2;3,3"/>'), "no finite number"),
        (cvat('<mask label="car" rle="5,7" left="0" top="0" width="3" height="2"/>'), "cover 12"),
        (
            cvat('<mask label="car" rle="0,6" left="99" top="0" width="3" height="2"/>'),
            "not inside",
        ),
    ],
)
def test_xml_that_cannot_be_read_is_refused(content: str, said: str) -> None:
    import re

    assert re.search(said, refusal("cvat", content))


# Label Studio


def task(*regions: dict[str, Any], size: tuple[int, int] = SIZE, **more: Any) -> list[Any]:
    result = [
        {"type": f"{kind}labels", "original_height": size[0], "original_width": size[1]}
        | {"value": {f"{kind}labels": ["car"], **value}}
        for region in regions
        for kind, value in region.items()
    ]
    annotation = {"result": result, "was_cancelled": False}
    return [{"id": 1, "data": {"image": "/x/a.png"}, "annotations": [annotation], **more}]


def test_regions_of_label_studio_are_per_cent_and_boxes_turn_about_their_corner() -> None:
    box = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 90}
    ids, counts = drawn(
        "label-studio",
        task(
            {"rectangle": box},
            {"keypoint": {"x": 1, "y": 1}},
            {"polygon": {"points": [[0, 0], [10, 0], [10, 10]], "closed": False}},
        ),
    )
    truth = np.zeros(SIZE, np.uint8)
    truth[30:50, 44:50] = 2  # 20 wide and 6 high before it is turned clockwise about (50, 30)
    np.testing.assert_array_equal(ids, truth)
    assert counts == {"read:box": 1, "dropped:keypoint": 1, "dropped:open polygon": 1}


def test_a_label_may_be_a_region_of_its_own_and_notes_are_no_shapes() -> None:
    outline = {"points": [[0, 0], [10, 0], [10, 10], [0, 10]], "closed": True}
    size = {"original_height": 60, "original_width": 100}
    result = [
        {"id": "a", "type": "polygon", "value": outline, **size},
        {"id": "a", "type": "labels", "value": {**outline, "labels": ["person"]}, **size},
        {"id": "a", "type": "choices", "value": {"choices": ["sharp"]}, **size},
        {"id": "b", "type": "polygon", "value": outline, **size},
    ]
    content = [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": result}]}]
    ids, counts = drawn("label-studio", content)
    assert ids[:6, :10].tolist() == [[3] * 10] * 6
    assert counts == {"read:polygon": 1, "dropped:region without a label": 1}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"caption": "a street", "img": "https://host/up/a%20b.png?X-Amz=1"}, "/up/a b.png"),
        ({"image": "/data/local-files/?d=drive/7.jpg"}, "drive/7.jpg"),
        ({"image": "s3://bucket/drive/7.jpg"}, "/drive/7.jpg"),
        ({"left": "/x/1.png", "right": "/x/2.png"}, "task 1 of Label Studio has 2 pictures"),
    ],
)
def test_the_picture_of_a_task_is_the_address_of_an_image(data: dict[str, str], name: str) -> None:
    content = json.dumps([{"id": 1, "data": data, "annotations": [{"result": []}]}]).encode()
    (picture,) = FORMATS["label-studio"].read(content, Path("file")).pictures
    assert name in (picture.name, picture.error)


def brush_rle(values: np.ndarray) -> list[int]:
    """Run lengths as Label Studio writes them, single values as literals."""
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    for start, end in zip(starts, np.append(starts[1:], values.size), strict=True):
        for length in [65536] * ((end - start) // 65536) + [(end - start) % 65536]:
            if length == 1:
                bits += f"000000{0:b}".zfill(6)[-6:] + f"{values[start]:08b}"
            elif length:
                index = next(i for i, size in enumerate((3, 4, 8, 16)) if length <= 1 << size)
                size = (3, 4, 8, 16)[index]
                bits += f"1{index:02b}{length - 1:0{size}b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_brush_regions_count_from_half_opacity() -> None:
    alpha = np.random.default_rng(3).choice([0, 127, 128, 255], SIZE, p=[0.9, 0.03, 0.03, 0.04])
    alpha[20:40] = 255
    data = brush_rle(np.repeat(alpha.ravel(), 4).astype(np.uint8))
    np.testing.assert_array_equal(decode_brush(bytes(data), 4 * alpha.size)[::4], alpha.ravel())
    ids, counts = drawn("label-studio", task({"brush": {"format": "rle", "rle": data}}))
    np.testing.assert_array_equal(ids, np.where(alpha >= 128, 2, 0))
    assert counts == {"read:brush": 1}
    cut = task({"brush": {"format": "rle", "rle": data[:-9]}})
    assert "holds a brush region that is damaged" in refusal("label-studio", cut)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (
            {"bitmask": {"imageDataURL": "data:,"}},
            "has a region of the type 'bitmasklabels', which cannot be drawn",
        ),
        (
            {"polygon": {"points": [[0, 0], [1, 0], [1, 1]], "polygonlabels": ["a", "b"]}},
            "2 labels",
        ),
        ({"polygon": {"points": "x"}}, "has a damaged region 1: export it again"),
    ],
)
def test_a_region_that_cannot_be_drawn_spoils_its_picture(
    region: dict[str, Any], said: str
) -> None:
    data = json.dumps(task(region)).encode()
    (picture,) = FORMATS["label-studio"].read(data, Path("file")).pictures
    assert said in picture.error


# labelme, Supervisely


def test_supervisely_has_holes_and_bitmaps() -> None:
    def square(first: int, last: int) -> list[list[int]]:
        return [[first, first], [last, first], [last, last], [first, last]]

    bitmap = encode_png(np.array([[255, 0], [255, 255]], np.uint8))
    content = {
        "size": {"height": 60, "width": 100},
        "objects": [
            {
                "classTitle": "car",
                "geometryType": "polygon",
                "points": {"exterior": square(10, 30), "interior": [square(15, 20)]},
            },
            {
                "classTitle": "road",
                "geometryType": "bitmap",
                "bitmap": {"data": b64encode(compress(bitmap)).decode(), "origin": [40, 50]},
            },
            {
                "classTitle": "person",
                "geometryType": "rectangle",
                "points": {"exterior": [[90, 5], [80, 2]], "interior": []},
            },
            {"classTitle": "nose", "geometryType": "point", "points": {"exterior": [[1, 1]]}},
        ],
    }
    truth = np.zeros(SIZE, np.uint8)
    truth[10:31, 10:31] = 2
    truth[15:21, 15:21] = 0
    truth[50:52, 40:42] = [[1, 0], [1, 1]]
    truth[2:6, 80:91] = 3
    ids, counts = drawn("supervisely", content)
    np.testing.assert_array_equal(ids, truth)
    assert counts == {
        "read:polygon": 1,
        "read:bitmap": 1,
        "read:rectangle": 1,
        "dropped:point": 1,
    }


def test_labelme_draws_circles_lines_and_points_as_it_does_itself() -> None:
    from PIL import Image, ImageDraw

    image = Image.new("L", SIZE[::-1])
    canvas = ImageDraw.Draw(image)
    canvas.ellipse([12.0, 12.0, 28.0, 28.0], outline=1, fill=1)
    canvas.line([(40, 10), (60, 20), (50, 50)], fill=2, width=10)
    canvas.ellipse([75, 35, 85, 45], outline=3, fill=3)
    shapes = [
        {"label": "road", "shape_type": "circle", "points": [[20, 20], [28, 20]]},
        {"label": "car", "shape_type": "linestrip", "points": [[40, 10], [60, 20], [50, 50]]},
        {"label": "person", "shape_type": "point", "points": [[80, 40]]},
        {"label": "person", "shape_type": "polygon", "points": [[80, 40], [1, 1]]},
    ]
    ids, counts = drawn("labelme", {"shapes": shapes, "imageHeight": 60, "imageWidth": 100})
    np.testing.assert_array_equal(ids, np.array(image))
    assert counts["dropped:polygon with too few points"] == 1
    unknown = {"shapes": [{"label": "car", "shape_type": "star", "points": [[1, 1], [2, 2]]}]}
    assert "holds a shape of the type 'star', which this version cannot" in refusal(
        "labelme", unknown
    )
