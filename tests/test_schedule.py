"""Schedules against their defining formulas, and which levels are visited."""

import jax
import numpy as np
import pytest

from pigdm_jax import Schedule
from pigdm_jax.priors.schedule import r2, step_at, step_table
from pigdm_jax.samplers import ddim_coefficients


def test_linear_is_that_of_adm():
    schedule = Schedule.linear()
    betas = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(schedule.alpha_bar, np.cumprod(1 - betas), rtol=1e-12)
    assert schedule.alpha_bar_at_level[0] == 1 and schedule.num_steps == 1000
    # Fewer steps end at about the same noise.
    assert abs(np.log(Schedule.linear(250).alpha_bar[-1] / schedule.alpha_bar[-1])) < 1


def test_cosine_follows_its_curve_until_the_cap():
    schedule = Schedule.cosine()
    u = (np.arange(1, 1001) / 1000 + 0.008) / 1.008
    start = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    curve = np.cos(u * np.pi / 2) ** 2 / start
    np.testing.assert_allclose(schedule.alpha_bar[:990], curve[:990], rtol=1e-9)
    assert max(schedule.betas) == 0.999


def test_sigma_and_r2_are_functions_of_alpha_bar():
    schedule = Schedule.linear()
    a = schedule.alpha_bar
    np.testing.assert_allclose(schedule.sigma**2, (1 - a) / a, rtol=1e-10)
    np.testing.assert_allclose(schedule.r2(), 1 - a, rtol=1e-10)
    np.testing.assert_allclose(
        schedule.r2(0.25), 1 / (1 / 0.25 + a / (1 - a)), rtol=1e-10
    )
    table = step_table(schedule, schedule.levels(1000))
    for d in (1.0, 0.25):
        found = jax.vmap(r2, (0, None))(table, d)
        np.testing.assert_allclose(found, schedule.r2(d)[::-1], rtol=1e-5)


def test_levels_are_those_of_the_design():
    schedule = Schedule.linear()
    levels = schedule.levels(100)
    assert levels[0] == 0 and levels[-1] == 1000
    np.testing.assert_array_equal(levels[:0:-1][:2] - 1, [999, 989])
    assert levels[1] - 1 == 9
    np.testing.assert_array_equal(schedule.levels(3, 10), [0, 3, 7, 10])
    np.testing.assert_array_equal(schedule.levels(1), [0, 1000])


@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
@pytest.mark.parametrize("n, start", [(1, 1), (20, None), (999, 1000), (50, 50)])
def test_levels_rise_strictly_from_clean_to_start(spacing, n, start):
    levels = Schedule.linear().levels(n, start, spacing)
    assert len(levels) == n + 1
    assert levels[0] == 0 and levels[-1] == (start or 1000)
    assert (np.diff(levels) > 0).all()


def test_quadratic_is_denser_at_low_noise():
    steps = np.diff(Schedule.linear().levels(20, spacing="quadratic"))
    assert (np.diff(steps) >= -1).all() and steps[-1] > 5 * steps[0]


def test_step_table_ends_clean_and_keeps_its_digits():
    schedule = Schedule.linear()
    table = step_table(schedule, schedule.levels(1000))
    assert table.a_s[-1] == 1 and table.b_s[-1] == 0
    np.testing.assert_allclose(table.b_t[-1], 1e-4, rtol=1e-6)
    np.testing.assert_allclose(table.fresh + table.kept, 1, atol=1e-6)
    np.testing.assert_array_equal(table.t, np.arange(999, -1, -1))
    np.testing.assert_array_equal(table.index, np.arange(1, 1001))


def test_one_step_is_a_row_of_the_table():
    schedule = Schedule.linear()
    table = step_table(schedule, np.array([0, 300, 700]))
    for row, step in enumerate((step_at(schedule, 700, 300), step_at(schedule, 300))):
        own = jax.tree.map(lambda column, row=row: column[row], table)
        jax.tree.map(np.testing.assert_array_equal, own._replace(index=1), step)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_coefficients_are_those_of_algorithm_1(eta):
    schedule = Schedule.linear()
    levels = schedule.levels(20)
    a = schedule.alpha_bar_at_level[levels][::-1]
    a_t, a_s = a[:-1], a[1:]
    table = step_table(schedule, levels)
    c1, c2 = jax.vmap(ddim_coefficients, (0, None))(table, eta)
    expected = eta * np.sqrt((1 - a_t / a_s) * (1 - a_s) / (1 - a_t))
    np.testing.assert_allclose(c1, expected, rtol=1e-5)
    np.testing.assert_allclose(c2**2, 1 - a_s - expected**2, rtol=1e-4, atol=1e-9)


def test_schedules_are_configuration():
    assert Schedule.linear() == Schedule.named("linear")
    assert hash(Schedule.linear()) == hash(Schedule.linear())
    assert Schedule.linear() != Schedule.cosine()
    assert Schedule.from_betas([0.1, 0.2]).num_steps == 2


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Schedule.from_betas([]), "between 0 and 1"),
        (lambda: Schedule.from_betas([0.1, 1.0]), "between 0 and 1"),
        (lambda: Schedule.named("sigmoid"), "linear or cosine"),
        (lambda: Schedule.linear().levels(0), "from 1 to the starting level 1000"),
        (lambda: Schedule.linear().levels(11, 10), "starting level 10"),
        (lambda: Schedule.linear().levels(5, 1001), "noise level from 1 to 1000"),
        (lambda: Schedule.linear().levels(5, spacing="log"), "uniform"),
    ],
)
def test_a_bad_request_is_answered(make, message):
    with pytest.raises(ValueError, match=message):
        make()
