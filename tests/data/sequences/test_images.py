"""Images pixel by pixel: no two shapes alike, an order that stays, and files that are no MNIST."""

import gzip
import math
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest

from harness.data import DataError
from harness.data.sequences import dataset
from harness.data.sequences.images import LEAST_RADIUS, NOISE, SHAPES, Pixels
from harness.data.sequences.memory import make
from harness.settings import Settings


def drawing(shape, radius):
    """A shape as a set of pixels around its centre, written down anew."""
    line = range(-radius, radius + 1)
    return {
        "horizontal line": {(0, x) for x in line},
        "vertical line": {(y, 0) for y in line},
        "plus": {(0, x) for x in line} | {(y, 0) for y in line},
        "square": {(y, x) for y in line for x in line if radius in (abs(y), abs(x))},
        "diamond": {(y, x) for y in line for x in line if abs(y) + abs(x) == radius},
        "falling diagonal": {(x, x) for x in line},
        "rising diagonal": {(x, -x) for x in line},
        "cross": {(x, x) for x in line} | {(x, -x) for x in line},
    }[shape]


def test_every_image_shows_the_shape_of_its_label_and_no_other():
    """Of an image without its noise the shape's class, place and size can be told."""
    side = 7
    shown = {}
    for number, shape in enumerate(SHAPES):
        for radius in range(LEAST_RADIUS, 4):
            for down in range(radius, side - radius):
                for right in range(radius, side - radius):
                    pixels = {(down + y, right + x) for y, x in drawing(shape, radius)}
                    assert shown.setdefault(frozenset(pixels), number) == number
    sequences = Pixels(classes=8, side=side).draw(("a",), 3_000, 49)
    images = sequences.inputs[..., 0].reshape(-1, side, side)
    assert np.abs(images - (images > 0.5)).max() <= NOISE
    seen = set()
    for image, label in zip(images, sequences.targets[:, -1], strict=True):
        pixels = frozenset(zip(*map(np.ndarray.tolist, np.nonzero(image > 0.5)), strict=True))
        assert shown[pixels] == label
        seen.add(pixels)
    assert seen == set(shown)  # nothing that can be drawn is never drawn


def test_a_permutation_is_one_and_stays():
    plain, permuted = (
        Pixels(side=8, permuted=permuted).draw(("a",), 5, 70).inputs for permuted in (False, True)
    )
    assert not np.array_equal(plain, permuted)
    assert np.array_equal(np.sort(plain, axis=1), np.sort(permuted, axis=1))
    # Noise makes each pixel of an image unlike all others, so the order can be read off.
    orders = [
        [row.tolist().index(pixel) for pixel in read[:64]]
        for row, read in zip(plain[..., 0], permuted[..., 0], strict=True)
    ]
    assert orders == [orders[0]] * 5


def test_zeros_follow_an_image():
    sequences = Pixels(side=6).draw(("a",), 50, 60)
    assert (sequences.inputs[:, 36:] == 0.0).all() and (sequences.inputs[:, :36] != 0.0).all()
    assert (sequences.weights == (np.arange(60) == 59)).all()


IMAGES = np.random.default_rng(0).integers(0, 256, (26, 3, 4), dtype=np.uint8)
LABELS = np.arange(26, dtype=np.uint8) % 10


def idx(array, kind=0x08):
    return struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Files as published, half of them unpacked: 24 images to train on, 2 to test."""
    packed = {"train-images-idx3-ubyte": IMAGES[:24], "t10k-labels-idx1-ubyte": LABELS[24:]}
    plain = {"train-labels.idx1-ubyte": LABELS[:24], "t10k-images-idx3-ubyte": IMAGES[24:]}
    for name, array in packed.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    for name, array in plain.items():
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path


def shown(sequences):
    """The numbers of the images that were drawn."""
    pixels = np.round(sequences.inputs[:, :12, 0] * 255.0).reshape(-1, 3, 4)
    return [int(np.flatnonzero((IMAGES == image).all(axis=(1, 2)))[0]) for image in pixels]


def test_every_image_is_drawn_once_before_any_is_drawn_again(folder):
    drawn = {}
    for split, expected in (
        ("train", range(20)),
        ("validation", range(20, 24)),
        ("test", range(24, 26)),
    ):
        task = make("mnist", {"path": str(folder)}, split)
        size = len(expected)
        sequences = task.draw(("a",), 2 * size, 15)
        numbers = shown(sequences)
        assert sorted(numbers[:size]) == sorted(numbers[size:]) == list(expected)
        assert sequences.targets[:, -1].tolist() == LABELS[numbers].tolist()
        assert (sequences.inputs[:, 12:] == 0.0).all() and sequences.inputs.max() <= 1.0
        drawn[split] = numbers
    assert drawn["train"][:20] != drawn["train"][20:]


def test_chance_is_the_entropy_of_the_labels(folder):
    task = make("mnist", {"path": str(folder), "permuted": True}, "test")
    assert (task.chance(12).loss, task.chance(12).accuracy) == pytest.approx((math.log(2), 0.5))
    assert task.floor(12) is None
    with pytest.raises(DataError, match="mnist: length >= 12 must hold, since an image has 12"):
        task.draw(("a",), 1, 11)


IMAGE_FILE, LABEL_FILE = "train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte"


@pytest.mark.parametrize(
    "file, content, message",
    [
        (IMAGE_FILE, None, "path: must be a folder with the file train-images-idx3-ubyte or"),
        (LABEL_FILE, b"no labels", "must begin with the bytes 00000801 and 1 sizes, as labels"),
        (LABEL_FILE, idx(LABELS[:24, None, None]), "00000801 .*, but got '00000803'"),
        (LABEL_FILE, idx(LABELS[:24], 0x0D), "00000801 .*, but got '00000d01'"),
        (LABEL_FILE, idx(LABELS[:24])[:-1], r"24 bytes after its sizes \(24,\), but got 23. It"),
        (LABEL_FILE, idx(LABELS[:24])[:6], "1 sizes, .* and 6 bytes"),
        (LABEL_FILE, idx(LABELS[:23]), r"train must have as many .* 23 labels and images=\(24, 3"),
        (LABEL_FILE, idx(LABELS[:24] + np.uint8(1)), "labels from 0 to 9 must .* label=10"),
        (IMAGE_FILE, gzip.compress(idx(IMAGES))[:-9], "must be a readable file, but got error="),
        (IMAGE_FILE, b"\x1f\x8bno", "must be a readable file, but got error="),
    ],
)
def test_a_wrong_file_is_told_at_once(folder, file, content, message):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        make("mnist", {"path": str(folder)})


def test_both_files_are_told(tmp_path):
    with pytest.raises(DataError) as error:
        make("mnist", {"path": str(tmp_path / "none")})
    assert len(str(error.value).splitlines()) == 2


def test_the_files_are_data_of_a_study_wherever_they_lie(folder):
    paths = folder, shutil.copytree(folder, folder / "elsewhere")
    own = Settings("lstm", task="memory", corpus="mnist", bptt_length=12, batch_size=4)
    own = replace(own, num_held_out=4)
    first, second = (dataset.load(replace(own, path=str(path))) for path in paths)
    assert first.fingerprint == second.fingerprint
    sizes = {name: len(part) for name, part in first.splits.items()}
    assert sizes == {"validation": 4, "test": 4}
    assert first.num_outputs == 10 and first.generator.split == "train"
