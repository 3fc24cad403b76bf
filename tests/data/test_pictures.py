"""Pictures are read as a viewer shows them, or refused in a sentence that names the file."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_vae.data import again, from_arrays, from_file, load, read_images
from ppl_vae.domain import Domain

RNG = np.random.default_rng(0)


def icon(row, column):
    """Black ink on a transparent ground."""
    made = np.zeros((16, 16, 4), np.uint8)
    made[row : row + 5, column : column + 5, 3] = 255
    return made


def as_mode(made, mode):
    if mode != "P":
        return Image.fromarray(made).convert(mode)
    picture = Image.fromarray((made[..., 3] == 0).astype(np.uint8), "L")
    picture.putpalette([0, 0, 0] * 256)
    picture.info["transparency"] = 1
    return picture


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_laid_on_a_named_ground(tmp_path, mode, ending):
    if (mode, ending) in {("P", "webp"), ("P", "tiff")}:
        pytest.skip("stores no transparent palette")
    made = [icon(*RNG.integers(0, 11, 2)) for _ in range(20)]
    for i, one in enumerate(made):
        saved = as_mode(one, mode)
        saved.save(tmp_path / f"{i:02}.{ending}", **({"lossless": True} if ending == "webp" else {}))
    data = from_file(tmp_path)
    x, _ = read_images(tmp_path)
    expected = 255 - np.stack(made)[:, None, :, :, 3]
    assert np.array_equal(x, np.broadcast_to(expected, x.shape))
    assert "transparent pixels laid on white" in repr(data)
    assert data.provenance["background"] == "white"
    black = load(tmp_path, background="black")
    assert black.train.x.unique().tolist() == [0]
    assert again(black.provenance).train.x.equal(black.train.x)
    assert black.train.identity != data.train.identity


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.fromarray(np.full((4, 4, 4), [255, 0, 0, 51], np.uint8)).save(tmp_path / "a.png")
    x, _ = read_images(tmp_path, background="#0000ff")
    assert x[0, :, 0, 0].tolist() == [51, 0, 204]
    with pytest.raises(ValueError, match="a colour that Pillow knows, got 'glass'; give 'white'"):
        read_images(tmp_path, background="glass")


def test_what_is_opaque_has_no_ground(tmp_path):
    for i in range(9):
        made = np.full((4, 4, 4), 20 * i, np.uint8)
        made[..., 3] = 255
        Image.fromarray(made).save(tmp_path / f"{i}.png")
    assert "transparent" not in repr(from_file(tmp_path))


def test_pictures_are_upright(tmp_path):
    made = np.zeros((4, 6), np.uint8)
    made[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(made).save(tmp_path / "a.png", exif=exif)
    x, _ = read_images(tmp_path)
    assert x.shape == (1, 1, 6, 4)
    assert np.argwhere(x[0, 0] == 255).tolist() == [[0, 3]]


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_16_bits_are_read_as_such(tmp_path, ending):
    made = RNG.integers(0, 2**16, (10, 5, 4)).astype(np.uint16)
    for i, one in enumerate(made):
        Image.fromarray(one).save(tmp_path / f"{i}.{ending}")
    data = from_file(tmp_path)
    assert data.domain == Domain("levels", levels=65536)
    assert data.test.x.equal(torch.from_numpy(made.astype(np.float32))[data.test.index][:, None])
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "z.png")
    with pytest.raises(ValueError, match=rf"of one depth, got 16 bits for .*0.{ending} and 8 bits for .*z.png"):
        from_file(tmp_path)


def test_grey_among_colour_becomes_colour(tmp_path):
    Image.fromarray(np.full((3, 3), 7, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((3, 3, 3), [1, 2, 3], np.uint8)).save(tmp_path / "b.png")
    x, _ = read_images(tmp_path)
    assert x[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def png(path, depth, kind, row, size=4):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + row) * min(size, 99)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))


def frames(path):
    many = [Image.fromarray(np.full((4, 4), 9 * i, np.uint8)) for i in range(3)]
    many[0].save(path, save_all=True, append_images=many[1:])


REFUSED = {
    "a PostScript file": ("a.png", lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    "an icon of another format": ("a.png", lambda p: Image.new("L", (16, 16)).save(p, format="ICO")),
    "zero bytes": ("a.png", lambda p: p.touch()),
    "text": ("a.jpg", lambda p: p.write_text("not found")),
    "a cut JPEG": ("a.jpg", lambda p: (Image.new("L", (99, 99)).save(p), p.write_bytes(p.read_bytes()[:300]))),
    "a bomb": ("a.png", lambda p: png(p, 8, 0, b"\0" * 99, size=60_000)),
    "a pipe": ("a.png", os.mkfifo),
    "a link to nothing": ("a.png", lambda p: p.symlink_to("nowhere.png")),
    "a device": ("a.png", lambda p: p.symlink_to("/dev/zero")),
    "a moving GIF": ("a.gif", frames),
    "a TIFF of pages": ("a.tiff", frames),
    "CMYK": ("a.jpg", lambda p: Image.new("CMYK", (4, 4)).save(p)),
    "floats": ("a.tiff", lambda p: Image.fromarray(np.zeros((4, 4), np.float32)).save(p)),
    "colour of 16 bits": ("a.png", lambda p: png(p, 16, 2, b"\1\2" * 12)),
    "colour PPM of 16 bits": ("a.ppm", lambda p: p.write_bytes(b"P6 4 4 65535\n" + b"\1\2" * 48)),
    "whole numbers of 32 bits": ("a.tiff", lambda p: Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(p)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused_by_name(tmp_path, name):
    called, write = REFUSED[name]
    write(tmp_path / called)
    with pytest.raises(ValueError, match=rf"^expected (a|one|grey) .* got .*{tmp_path / called}; (re|st|co)"):
        read_images(tmp_path)


def test_a_folder_named_like_a_picture_is_a_label(tmp_path):
    for name in ("cat.png", "dog.png"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "0.png")
    assert read_images(tmp_path)[1] == ["cat.png", "dog.png"]


def test_arrays_are_read_from_regular_files(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"a regular file or a folder, got neither at .*x.npy; copy"):
        from_file(tmp_path / "x.npy")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }"
    header = header.ljust(117) + b"\n"
    (tmp_path / "y.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    with pytest.raises(ValueError, match=r"to hold arrays of numbers, got .*; write it anew"):
        from_file(tmp_path / "y.npy")


def save(path, made):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(made).save(path)


def test_folders_of_training_and_test_data(tmp_path):
    """As MVTec AD is laid out: labels below train and test, masks beside them, hidden files among them."""
    for i in range(12):
        save(tmp_path / "train" / "good" / f"{i:02}.png", np.full((4, 4), i, np.uint8))
        save(tmp_path / "test" / ("good" if i < 3 else "crack") / f"{i:02}.png", np.full((4, 4, 3), 100 + i, np.uint8))
        save(tmp_path / "ground_truth" / "crack" / f"{i:02}.png", np.full((9, 9), 255, np.uint8))
    (tmp_path / "train" / "good" / "._00.png").write_bytes(b"no picture")
    (tmp_path / ".cache").mkdir()
    data = load(tmp_path)
    assert [len(split) for split in data.splits.values()] == [11, 1, 12]
    assert data.classes == ("crack", "good")
    assert data.x_shape == (3, 4, 4)
    assert data.test.x.min() == 100
    assert data.test.y.tolist() == [0] * 9 + [1] * 3
    assert "without ground_truth" in repr(data)
    assert again(data.provenance).checksum == data.checksum
    save(tmp_path / "dev" / "good" / "0.png", np.full((4, 4), 50, np.uint8))
    assert load(tmp_path).validation.x.unique().tolist() == [50]


def test_pictures_of_any_sizes_are_cropped_and_scaled(tmp_path):
    save(tmp_path / "a.png", np.repeat(np.array([[0, 200, 200, 0]], np.uint8), 2, 0))  # the middle half is kept
    save(tmp_path / "b.png", np.full((8, 8), 77, np.uint8))
    save(tmp_path / "c.png", np.full((5, 9, 3), [1, 2, 3], np.uint8))
    with pytest.raises(ValueError, match=r"one size, got .* crop and scale them: size=\(64, 64\), --size 64 64"):
        read_images(tmp_path)
    data = load(tmp_path, size=[2, 2])
    assert "cropped and scaled to 2 x 2" in repr(data)
    every = torch.cat([split.x for split in data.splits.values()])[
        torch.cat([split.index for split in data.splits.values()]).argsort()
    ]
    assert every.flatten(1).tolist() == [[200.0] * 12, [77.0] * 12, [1.0] * 4 + [2.0] * 4 + [3.0] * 4]
    assert again(data.provenance).checksum == data.checksum
    with pytest.raises(ValueError, match=r"from_file expects size to be .* got \[2\]"):
        load(tmp_path, size=[2])


def test_arrays_of_pictures_lie_with_channels_first():
    grey, colour = (
        RNG.integers(0, 256, (30, 8, 9)).astype(np.uint8),
        RNG.integers(0, 256, (30, 8, 9, 3)).astype(np.uint8),
    )
    assert from_arrays(grey).x_shape == (1, 8, 9)
    data = from_arrays(colour)
    assert data.x_shape == (3, 8, 9)
    assert "channels moved first" in repr(data)
    assert torch.equal(data.test.x, torch.from_numpy(np.moveaxis(colour, -1, 1)[data.test.index.numpy()]).float())
    assert from_arrays(colour / 255).x_shape == (3, 8, 9)
    masked = from_arrays(grey, mask=grey > 9)
    assert masked.test.mask.shape == masked.test.x.shape
    assert from_arrays(np.moveaxis(colour, -1, 1)).x_shape == (3, 8, 9)
    assert from_arrays(RNG.normal(size=(30, 8, 9))).x_shape == (8, 9)  # a sequence, perhaps


@pytest.mark.parametrize("dtype", ["int64", "float64"])
@pytest.mark.parametrize("shape", [(30, 4, 4), (30, 1, 4, 4), (30, 8, 8, 3)])
def test_whole_numbers_in_the_shape_of_pictures_are_asked_about(dtype, shape):
    x = RNG.integers(0, 256, shape).astype(dtype)
    with pytest.raises(
        ValueError, match=r"whole numbers in the shape of pictures are, got 0 to 25\d in .*64; give domain"
    ):
        from_arrays(x)
    assert from_arrays(x, domain=Domain("levels", 256)).domain.levels == 256
    assert from_arrays(x, domain=Domain("counts")).domain.kind == "counts"
    assert from_arrays(x > 9).domain.kind == "binary"


@pytest.mark.parametrize("width", [784, 3072])
def test_rows_of_grey_levels_are_asked_about_as_pictures_are(width):
    x = RNG.integers(0, 256, (30, width))
    x[0, 0] = 255
    for same in (x, x.astype(float)):
        with pytest.raises(ValueError, match=r"whole numbers in the shape of pictures are, got 0 to 255 in .*64"):
            from_arrays(same)
    assert from_arrays(x, domain=Domain("levels", 256)).domain.levels == 256
    assert from_arrays(x.clip(max=254)).domain.kind == "counts"
    assert from_arrays(x[:, :-1]).domain.kind == "counts"
