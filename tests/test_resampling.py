"""The bootstrap, where its result is known."""

import numpy as np

from rosd_core.resampling import bootstrap_interval, resampled_means


def test_the_interval_of_equal_values_is_a_point_and_of_others_lies_within():
    assert bootstrap_interval([3.0, 3.0], 0.95, 100, 0) == (3, 3, 3)
    mean, low, high = bootstrap_interval([0.0, 1.0, 2.0, 5.0], 0.95, 1000, 0)
    assert mean == 2
    assert 0 <= low < 2 < high <= 5


def test_the_width_is_that_of_the_normal_approximation():
    # variance 1 over 400 values: standard error 1/20
    mean, low, high = bootstrap_interval([-1.0, 1.0] * 200, 0.95, 4000, 0)
    assert mean == 0
    assert abs(low + 1.96 / 20) < 0.01
    assert abs(high - 1.96 / 20) < 0.01


def test_columns_of_a_problem_stay_together():
    means_RC = resampled_means(np.array([[1.0, 10.0], [2.0, 20.0], [5.0, 50.0]]), 200, 0)
    assert np.allclose(means_RC[:, 1], 10 * means_RC[:, 0])
