"""Executables on disk: same results, loaded without tracing, never for another call."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import pytree_class, restore, samplers, static_field
from pigdm_jax.core import compilation, executables
from pigdm_jax.core.program_keys import Unkeyed, describe
from pigdm_jax.operators import inpaint, random_mask
from pigdm_jax.restoration import consistency
from pigdm_jax.simulation import measure

SHAPE = (8, 8, 3)


@pytest.fixture
def folder(tmp_path):
    kept = jax.config.jax_compilation_cache_dir
    yield compilation.keep_compiled(str(tmp_path / "cache"))
    compilation.keep_compiled("none")
    jax.config.update("jax_compilation_cache_dir", kept)


def files(folder):
    return sorted((folder / "executables").glob("*"))


def problem_with(seed):
    operator = inpaint(SHAPE, random_mask(SHAPE, 0.5, seed))
    x = jax.random.uniform(jax.random.key(seed), SHAPE, minval=-1)
    return measure(operator, x)


def test_restorations_are_the_same_with_and_without(smooth_prior, folder):
    sampler, key = samplers.DDIM(steps=3, eta=0.5), jax.random.key(0)
    stored = restore(smooth_prior, problem_with(0), key, sampler)
    stepwise = restore(
        smooth_prior, problem_with(0), key, sampler, on_step=lambda i, info: None
    )
    count = len(files(folder))
    assert count
    # Another mask, key and eta are the same program.
    other = samplers.DDIM(steps=3, eta=0.2)
    restore(smooth_prior, problem_with(1), jax.random.key(1), other)
    assert len(files(folder)) == count
    compilation.keep_compiled("none")
    plain = restore(smooth_prior, problem_with(0), key, sampler)
    np.testing.assert_allclose(stored, plain, atol=1e-5)
    np.testing.assert_allclose(stepwise, plain, atol=1e-5)


PROCESS = """
import sys
import jax, jax.numpy as jnp, numpy as np
import pigdm_jax as pj
from pigdm_jax.core import compilation

compilation.keep_compiled(sys.argv[1])
jax.config.update("jax_log_compiles", True)
prior = pj.gaussian_prior(np.zeros((2, 2, 1)), np.eye(4))
problem = pj.Problem(pj.operators.identity((2, 2, 1)), jnp.ones((2, 2, 1)), 0.1)
print(float(pj.restore(prior, problem, jax.random.key(0)).sum()))
"""


@pytree_class
class Scaled(samplers.Fitted):
    """Whose steps read their number."""

    def step(self, prior, problem, state, step, key):
        state, info = super().step(prior, problem, state, step, key)
        return state * (1 - 0.1 * self.steps), info


@pytest.mark.parametrize("sampler", [samplers.Fitted(3), samplers.DDIM(3), Scaled(3)])
def test_separate_steps_are_those_of_one_program(smooth_prior, sampler):
    problem, key = problem_with(0), jax.random.key(1)
    alone = restore(smooth_prior, problem, key, sampler, on_step=lambda i, info: None)
    together = restore(smooth_prior, problem, key, sampler)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_another_process_does_not_trace(tmp_path):
    def run():
        command = [sys.executable, "-c", PROCESS, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    first, second = run(), run()
    assert first.stdout == second.stdout
    assert "jit(_denoise)" in first.stderr
    assert "jit(_denoise)" not in second.stderr


TWO_DEVICES = """
import sys
from pathlib import Path
import jax, numpy as np
import pigdm_jax as pj
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.devices.programs import blank_problem, compile_batch
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task
keep_compiled(sys.argv[1])
prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
problem = blank_problem(pj.operators.super_resolution((4, 4, 1), 2))
keys = Request(Task.parse("grayscale")).keys("0123456789")
mesh = pj.make_mesh()
batch = compile_batch(prior, problem, 2, pj.samplers.DDIM(2), mesh=mesh)
images = batch(None, np.zeros((2, 2, 2, 1), np.float32), jax.numpy.stack(keys))
files = list((Path(sys.argv[1]) / "executables").iterdir())
print(len(jax.devices()), len(files), float(abs(images).max()))
"""


def test_programs_for_one_device_and_for_all_are_loaded_as_such(tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    command = [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "cache")]
    one, two = (
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        ).stdout
        for _ in range(2)
    )
    assert one == two and one.startswith("2 2 ")


def test_a_damaged_file_is_compiled_again(folder):
    first = consistency(problem_with(0))
    (path,) = files(folder)
    whole = path.read_bytes()
    flipped = [bytearray(whole) for _ in range(4)]
    for i, content in enumerate(flipped):
        content[len(content) * i // 4] ^= 1
    for damaged in (b"", b"no pickle", whole[: len(whole) // 2], *flipped):
        path.write_bytes(damaged)
        compilation.keep_compiled(str(folder))
        assert consistency(problem_with(0)) == first
        assert path.read_bytes() != damaged and compilation.cache_problem() is None
    path.unlink()
    os.mkfifo(path)
    compilation.keep_compiled(str(folder))
    assert consistency(problem_with(0)) == first and path.is_file()


def no_folder(folder):
    folder.write_text("a file")


def in_a_file(folder):
    folder.parent.chmod(0o700)
    folder.symlink_to("/dev/null/x")


def open_to_all(folder):
    (folder / "executables").mkdir(parents=True)
    (folder / "executables").chmod(0o777)


@pytest.mark.parametrize("make", [no_folder, in_a_file, open_to_all])
def test_a_folder_that_cannot_be_used_is_said_in_a_line(make, tmp_path, recwarn):
    place = tmp_path / "here"
    make(place)
    compilation.keep_compiled(str(place))
    first = consistency(problem_with(0))
    problem = compilation.cache_problem()
    assert f"not kept in {place}: " in problem and problem.isprintable()
    assert compilation.cache_problem(tried=True) == problem
    compilation.keep_compiled("none")
    assert compilation.cache_problem(tried=True) is None
    assert consistency(problem_with(0)) == first and not recwarn


def test_threads_that_keep_the_same_program_do_not_disturb_each_other(tmp_path):
    path, content = tmp_path / "kept" / "program", b"0" * 2**20

    def write(_):
        executables._write(path, content)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(200)))
    assert path.read_bytes() == content and list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_said_in_a_line(folder, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    consistency(problem_with(0))
    compilation.remember("a run")
    assert compilation.cache_problem().endswith("No space left on device")
    assert not files(folder)


def test_a_folder_that_can_only_be_read_is_used(folder, monkeypatch):
    first = consistency(problem_with(0))
    compilation.remember("a run")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *a: 1 / 0)
    compilation.keep_compiled(str(folder))
    assert consistency(problem_with(0)) == first
    compilation.remember("a run")
    assert compilation.cache_problem() is None


def test_a_folder_that_others_can_write_to_is_not_read(folder):
    first = consistency(problem_with(0))
    (path,) = files(folder)
    path.write_bytes(b"no pickle")
    path.parent.chmod(0o777)
    compilation.keep_compiled(str(folder))
    assert consistency(problem_with(0)) == first


def test_what_is_not_the_packages_is_not_kept(folder):
    doubled = compilation.typed_jit(lambda x: 2 * x)
    assert doubled(jnp.float32(21)) == 42
    assert not files(folder)


def test_a_remembered_run_is_prefetched(folder):
    first = consistency(problem_with(0))
    compilation.remember("a run")
    compilation.keep_compiled(str(folder))
    compilation.prefetch("a run")
    compilation.prefetch("a run that never was")
    assert consistency(problem_with(0)) == first


@pytree_class
class Foreign:
    x: object
    name: str = static_field(default="a")


def test_only_what_has_a_text_is_kept():
    with pytest.raises(Unkeyed):
        describe(jax.tree.structure(Foreign(1.0)))
    function = jax.tree_util.Partial(lambda x: x)
    with pytest.raises(Unkeyed):
        describe(jax.tree.structure(function))


def test_static_fields_are_part_of_the_key(smooth_prior):
    def key(value):
        return describe(jax.tree.structure(value))

    assert key(samplers.DDIM(steps=3)) == key(samplers.DDIM(steps=3, eta=0.1))
    assert key(samplers.DDIM(steps=3)) != key(samplers.DDIM(steps=4))
    assert key(samplers.DDIM(steps=3)) != key(samplers.PnP(steps=3))
    assert key(problem_with(0)) == key(problem_with(1))
    assert key(problem_with(0)) != key(problem_with(0).operator)
