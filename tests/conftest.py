"""What several test files share: where the reference data lies, small priors."""

import os
from pathlib import Path

import hypothesis
import jaxlib.version
import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

# Machines may be busy.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")

# Types and shapes are checked at run time; an int is as good as a float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
jaxtyping.install_import_hook(["pigdm_jax", "pigdm_convert"], "conftest.check")

# Most tests compile a program to run it once, so LLVM is told not to optimise it, and
# loops are emitted without MLIR and as one LLVM module, which takes half the time.
flags = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if jaxlib.version.__version_info__ < (0, 11):  # From then on there is MLIR alone.
    flags += ["--xla_cpu_use_fusion_emitters=false"]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from pigdm_jax.priors.mixture import gaussian_prior  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference data is not at {SHARED}")
    return SHARED


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Gigabytes of compiled programs, which other test files do not run."""
    yield
    jax.clear_caches()


@pytest.fixture
def smooth_prior():
    """A Gaussian prior of 8 x 8 colour images whose neighbouring pixels agree."""
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    covariance = 0.25 * np.kron(np.kron(line, line), 0.5 * np.eye(3) + 0.5)
    return gaussian_prior(jnp.zeros((8, 8, 3)), covariance)


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs the command: (status, output)."""
    from pigdm_jax.cli import main as cli

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["pigdm", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            if isinstance(end.code, str):
                return 1, end.code
            status = end.code or 0
        return status, "".join(capsys.readouterr())

    return call
