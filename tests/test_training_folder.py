"""The folder of a training run: what it must not replace, and what a kill leaves."""

import json
import shutil
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from pigdm_jax.core.locks import locked
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.folder import LOCKS, WRITTEN, begin, check_folder
from pigdm_jax.training.logs import Logs

CONFIG = TrainConfig(steps=6)


@pytest.mark.parametrize("name", WRITTEN[1:])
def test_files_that_no_run_wrote_are_spared(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="belongs to no run"):
        check_folder(tmp_path / "photos", tmp_path, CONFIG)


@pytest.mark.parametrize("text", ["", "7", "null", "[]", '{"name": 1}', "[" * 100_000])
def test_the_configuration_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="not the configuration of a run"):
        check_folder(tmp_path / "photos", tmp_path, CONFIG)


def test_a_run_among_its_photos_is_refused(tmp_path):
    for out in (tmp_path, tmp_path / "run"):
        with pytest.raises(ValueError, match="whose pictures are the photos"):
            check_folder(tmp_path, out, CONFIG)
    check_folder(tmp_path / "photos", tmp_path / "run", CONFIG)


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".prior.7.tmp/params").mkdir(parents=True)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/.0000006.7.tmp.png").touch()
    with locked(tmp_path / LOCKS):
        begin(tmp_path, CONFIG)
        with pytest.raises(ValueError, match="another job"), locked(tmp_path / LOCKS):
            pass
    assert {path.name for path in tmp_path.rglob("*")} == {"samples", "config.json"}
    check_folder(tmp_path / "photos", tmp_path, CONFIG)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 6


@pytest.mark.parametrize("last", ["", "1", "12", "12,0.5", "12,0.5,1,1"])
def test_half_a_row_of_a_log_is_dropped(tmp_path, last):
    path = tmp_path / "metrics.csv"
    with Logs(tmp_path, 0) as logs:
        logs.row(2, loss=0.5)
        whole = path.read_bytes()
        logs.row(13, loss=0.5)
    path.write_bytes(whole + last.encode())
    with Logs(tmp_path, 12):
        assert path.read_bytes() == whole
    shutil.rmtree(tmp_path / "tensorboard")


def test_events_are_what_tensorboard_reads(tmp_path):
    with Logs(tmp_path, 3) as logs:
        logs.row(4, loss=0.5)
        logs.speed(4, 7.0)
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, events = file.read_bytes(), []
    while data:  # TFRecord: a length, its sum, the event, its sum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    version, start, *rows = events
    assert version.file_version == "brain.Event:2"
    assert start.step == 4 and start.session_log.status == SessionLog.START
    values = [(row.step, *row.summary.value) for row in rows]
    assert [(step, v.tag, v.simple_value) for step, v in values] == [
        (4, "loss", 0.5),
        (4, "crops_per_second", 7.0),
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_named(tmp_path):
    with Logs(tmp_path, 0) as logs:
        logs._path = Path("/dev/full")
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            logs.row(1, loss=0.5)
