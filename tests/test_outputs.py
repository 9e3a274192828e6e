"""No file of a user is replaced by surprise: what may be written, and what is refused.

Commands run in process and stop before they compute.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pigdm_jax.cli.degrading import degrade
from pigdm_jax.cli.flags import RestoreFlags
from pigdm_jax.cli.restoring import restore
from pigdm_jax.pictures.outputs import check_outputs, suffixes, with_suffix


class Computed(Exception):
    """Nothing was refused."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a photo and a mask, where the command computes nothing."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save("mask.png")

    def computed(*args, **options):
        raise Computed

    monkeypatch.setattr("pigdm_jax.cli.restoring._drawn", computed)
    monkeypatch.setattr("pigdm_jax.pictures.request.Request.read", computed)
    return tmp_path


def commands(task="inpaint:mask.png", **options):
    """Every command that writes for one picture, with the file that it writes first."""
    flags = RestoreFlags(task, steps=1)
    image = Path("photo.png")
    return {
        "restored": lambda **more: restore(
            image, flags, cache="none", **options, **more
        ),
        "degraded": lambda **more: degrade(image, task, **options, **more),
    }


@pytest.mark.parametrize("kind", ["restored", "degraded"])
def test_a_file_that_exists_is_replaced_only_if_asked_for(place, kind):
    run = commands()[kind]
    Path(f"photo-{kind}.png").write_text("mine")
    with pytest.raises(ValueError, match=r"exists; --overwrite replaces it, --out wri"):
        run()
    for free in ({"overwrite": True}, {"out": Path("other.png")}):
        with pytest.raises(Computed):
            run(**free)
    assert Path(f"photo-{kind}.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["restored-1", "restored-mean", "restored-std"])
def test_every_file_of_a_run_counts(place, name):
    run = commands(samples=2, plot=True)["restored"]
    for path in (f"photo-{name}.png", "photo-trace.png", "photo-figure.png"):
        Path(path).touch()
    with pytest.raises(ValueError, match=f"photo-{name}.png and 2 more files exist"):
        run()


def link_kinds():
    return {"itself": None, "symlink": os.symlink, "hard link": os.link}


@pytest.mark.parametrize("kind", ["restored", "degraded"])
@pytest.mark.parametrize("read", ["photo.png", "mask.png"])
@pytest.mark.parametrize("how", link_kinds())
def test_inputs_are_never_replaced(place, kind, read, how):
    out, link = Path(read), link_kinds()[how]
    if link is not None:
        out = Path("link.png")
        link(place / read, out)
    kept = Path(read).read_bytes()
    for place_of in (out, Path("..") / place.name / out):
        with pytest.raises(ValueError, match="is never replaced"):
            commands()[kind](out=place_of, overwrite=True)
    assert Path(read).read_bytes() == kept


def test_figures_spare_a_mask_too(place):
    Path("mask.png").rename("photo-figure.png")
    run = commands("inpaint:photo-figure.png")["restored"]
    with pytest.raises(ValueError, match=r"photo-figure.png is a file that the task"):
        run(overwrite=True)
    Path("photo-figure.png").rename("photo-figure.PNG")
    os.symlink("photo-figure.PNG", "photo-figure.png")
    with pytest.raises(
        ValueError, match=r"a file that the task names, photo-figure\.P"
    ):
        commands("inpaint:photo-figure.PNG")["restored"](overwrite=True)


def test_a_link_that_leads_nowhere_exists(place):
    os.symlink("nowhere", "photo-restored.png")
    with pytest.raises(ValueError, match=r"photo-restored\.png exists"):
        commands()["restored"]()


def test_a_folder_is_not_replaced(place):
    Path("photo-figure.png").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        commands()["restored"](overwrite=True)


def test_outputs_are_distinct_where_case_does_not_count(tmp_path):
    for one, two in (("a", "A"), ("\u00e9", "e\u0301"), ("stra\u00dfe", "STRASSE")):
        with pytest.raises(ValueError, match="would be the same file"):
            check_outputs([tmp_path / one, tmp_path / two], {}, overwrite=True)
    check_outputs([tmp_path / "a", tmp_path / "b"], {})


def test_a_file_where_a_folder_is_needed_is_found_before_computing(tmp_path):
    (tmp_path / "more").touch()
    for name in ("more/a.png", "more/and/more/a.png"):
        with pytest.raises(ValueError, match="more is no folder"):
            check_outputs([tmp_path / name], {})
    check_outputs([tmp_path / "other/and/more/a.png"], {})


def test_names_of_samples():
    out = Path("x/photo-restored.png")
    assert [with_suffix(out, s).name for s in suffixes(1)] == [out.name]
    names = [with_suffix(out, s).stem for s in suffixes(2)]
    assert names == [f"photo-restored-{s}" for s in ("1", "2", "mean", "std")]
