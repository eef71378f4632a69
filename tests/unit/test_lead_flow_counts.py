"""How likely it is that so few come by chance."""

from fractions import Fraction
from math import exp, lgamma, log, sqrt

import pytest

from salesfx.lead_flow.counts import bound, lower_tail


def summed(count: int, mean: float, variance: float) -> float:
    """Add up the probabilities one by one."""
    if variance == mean:
        return sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(count + 1))
    size = mean * mean / (variance - mean)
    p = size / (size + mean)
    return sum(
        exp(lgamma(k + size) - lgamma(size) - lgamma(k + 1) + size * log(p) + k * log(1 - p)) for k in range(count + 1)
    )


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.0, 70.0, 3000.0, 42_000.0])
@pytest.mark.parametrize("dispersion", [1.0, 1.001, 1.5, 8.0, 400.0])
def test_the_tail_is_the_sum_of_the_probabilities(mean: float, dispersion: float) -> None:
    """From counts that hardly ever happen to those above the mean."""
    variance = mean * dispersion
    for deviations in (-6, -4, -2, -0.5, 0, 1, 3):
        count = int(mean + deviations * sqrt(variance))
        if count >= 0:
            assert lower_tail(count, mean, variance) == pytest.approx(
                summed(count, mean, variance), rel=1e-6, abs=1e-15
            )


def test_a_few_by_hand() -> None:
    """Poisson with 2 expected: e^-2 (1 + 2 + 2); the geometric distribution with 1 expected: 1 - 2^-(k+1)."""
    assert lower_tail(2, 2.0, 2.0) == pytest.approx(5 * exp(-2))
    for count in range(5):
        assert lower_tail(count, 1.0, 2.0) == pytest.approx(float(1 - Fraction(1, 2) ** (count + 1)))


@pytest.mark.parametrize(("count", "mean", "tail"), [(-1, 3.0, 0.0), (0, 0.0, 1.0), (4, 0.0, 1.0)])
def test_the_edges(count: int, mean: float, tail: float) -> None:
    """Fewer than none never come, and where none is expected none is no wonder."""
    assert lower_tail(count, mean, 2 * mean) == tail


@pytest.mark.parametrize("mean", [2.0, 9.0, 70.0, 3000.0])
@pytest.mark.parametrize("dispersion", [1.0, 4.0])
@pytest.mark.parametrize("probability", [1e-6, 1e-3, 0.05, 0.9])
def test_the_bound_is_the_greatest_count_as_unlikely(mean: float, dispersion: float, probability: float) -> None:
    """One more would be likelier; -1 says that not even none would be as unlikely."""
    variance = mean * dispersion
    found = bound(probability, mean, variance)
    assert lower_tail(found, mean, variance) <= probability < lower_tail(found + 1, mean, variance)
