"""Options that would have no effect are refused, or the command says so."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pigdm_jax.cli.compiling import compile_ahead
from pigdm_jax.cli.degrading import degrade
from pigdm_jax.cli.flags import FolderFlags, RestoreFlags, output_folder, output_path
from pigdm_jax.cli.restoring import restore
from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import Hosts
from pigdm_jax.folder.listing import list_folder
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.weights.names import find_prior


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((16, 16, 3), 100, np.uint8)).save(path)
    return path


def refused(message, function, *args, **options):
    with pytest.raises(ValueError, match=message) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "folder_flags",
    [FolderFlags(batch=4), FolderFlags(pad=3), FolderFlags(recursive=True)],
)
@pytest.mark.parametrize("command", [restore, compile_ahead])
def test_flags_of_folders_are_refused_for_a_picture(photo, command, folder_flags):
    flags = RestoreFlags("jpeg:9")
    refused("are for a folder", command, photo, flags, folder_flags)


@pytest.mark.parametrize(
    "hosts", [Hosts(distributed=True), Hosts(process=1), Hosts(coordinator="a:1")]
)
def test_several_processes_are_refused_for_a_picture(photo, hosts):
    refused("restore a folder", restore, photo, RestoreFlags("jpeg:9"), hosts=hosts)


@pytest.mark.parametrize(
    "hosts, message",
    [
        (Hosts(processes=2), "go together"),
        (Hosts(False, "a", 2, 0), "HOST:PORT, got a"),
        (Hosts(False, "a:99999", 2, 0), "HOST:PORT"),
        (Hosts(False, "a:1", 0, 0), "--processes must be from 1"),
        (Hosts(False, "a:1", 10**30, 0), "--processes must be from 1"),
        (Hosts(False, "a:1", 2, 2), "--process must be from 0 to 1, got 2"),
        (Hosts(False, "a:1", 2, -1), "--process must be from 0 to 1, got -1"),
    ],
)
def test_processes_that_would_wait_forever_are_refused(hosts, message):
    refused(message, hosts.join)


def test_options_of_samplers_are_refused_where_there_is_nothing_to_choose(photo):
    fidelity = RestoreFlags("denoise:0.1", aim="fidelity", steps=3)
    refused("has no steps", restore, photo, fidelity, cache="none")
    denoising = RestoreFlags("denoise:0.1")
    refused(
        "no effect; add --aim detail",
        restore,
        photo,
        denoising,
        samples=2,
        cache="none",
    )
    for flags, message in (
        (RestoreFlags("jpeg:9", sampler="denoiser", steps=3), "takes no steps"),
        (RestoreFlags("jpeg:9", sampler="dps", guidance="moment"), "no guidance"),
        (RestoreFlags("jpeg:9", sampler="ddim", aim="detail"), "leave out --sampler"),
        (RestoreFlags("jpeg:9", label=3), "no classes"),
        (RestoreFlags("inpaint"), "needs the mask of your picture"),
        (RestoreFlags("jpeg:9", tile=-8), "tile must be"),
    ):
        refused(message, restore, photo, flags, cache="none")
    for samples in (0, 10**30):
        refused("from 1 to 1000", restore, photo, denoising, samples=samples)


def test_a_tile_larger_than_the_picture_is_said(photo):
    request = RestoreFlags("grayscale", tile=64).request()
    assert "one window of --tile 64" in request.prepare(photo).case.remarks[-1]


def test_a_seed_without_noise_is_refused(photo):
    refused("there is none; see --noise", degrade, photo, "grayscale", seed=3)
    degrade(photo, "denoise:0.1", seed=10**30)
    degrade(photo, "denoise:0.1 | jpeg:30", seed=3, overwrite=True)


CONFIGS = [
    *({"seed": 10**30}, {"seed": -1}, {"warmup": -1}, {"steps": 10**30}),
    *({"weight_decay": float("nan")}, {"clip": float("nan")}, {"lr": float("inf")}),
    *({"blocks": 0}, {"channel_mult": ()}, {"channel_mult": (0,)}, {"crop": ()}),
    *({"crop": (10**30,)}, {"attention": (-1,)}, {"channels": 10**30 * 32}),
]


@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_trainings_that_cannot_be_are_refused(changes):
    config = dataclasses.replace(TrainConfig(), **changes)
    (name, *_) = reversed(changes)
    refused(name.replace("_", "."), config.check)


def test_flags_of_the_network_are_refused_where_a_prior_gives_it():
    for changes in ({"channels": 64}, {"blocks": 2}, {"attention": ()}):
        config = TrainConfig(init="photos-64", **changes)
        refused("no effect with --init", config.check_unused)
    TrainConfig(init="photos-64").check_unused()


def test_pipes_devices_and_broken_links_are_no_input(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, message in (
        (tmp_path / "pipe", "a pipe or device"),
        ("/dev/zero", "a pipe or device"),
        (tmp_path / "loop", "Too many levels"),
        (tmp_path / "dangling", "a link to nothing"),
        (tmp_path / "nowhere", "there is no file"),
        (tmp_path / ("a" * 300), "too long"),
        (tmp_path / "a\0b", "null"),
    ):
        refused(message, check_readable, path)
    check_readable(tmp_path)


def test_names_that_do_not_fit_are_refused_before_the_work(photo):
    long = photo.with_name("b" * 250 + ".png")
    photo.rename(long)
    refused(
        "cannot be written: File name too long", output_path, None, long, "restored"
    )
    assert output_path(None, photo, "restored").name == "photo-restored.png"


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_prior_is_not_the_working_folder(name):
    refused("no prior", find_prior, name)


@pytest.mark.parametrize("task", ["inpaint:{}", "blur:{}", "jpeg:{}"])
def test_files_that_a_task_names_are_regular(photo, task):
    os.mkfifo("pipe.png")
    for path in ("pipe.png", "/dev/zero", "/dev/stdin"):
        flags = RestoreFlags(task.format(path))
        refused("a pipe or device", restore, photo, flags, cache="none")


def test_links_in_a_circle_are_no_place_and_no_picture(photo):
    os.symlink("loop.png", "loop.png")
    listing = list_folder(photo.parent, photo.parent / "out")
    assert len(listing.broken) == 1 and len(listing.groups) == 1
    assert output_folder(Path("loop.png"), photo.parent) == Path("loop.png")
