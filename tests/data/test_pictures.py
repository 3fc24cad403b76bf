"""Pictures are read as a viewer shows them, or refused in a sentence that names the file."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_vae.data import again, from_file, load, read_images
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
