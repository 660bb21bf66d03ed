"use strict";
// Student's t distribution and the tests of comparisons, as in bench.report.comparison.

const statistics = (() => {
  const ROUNDING = 8 * Number.EPSILON;
  const mean = (values) => values.reduce((sum, value) => sum + value / values.length, 0);
  const largest = (values) => Math.max(...values.map(Math.abs));

  // Return the standard error of the mean; 0 for values that are equal up to rounding (bench.metrics.intervals).
  // `size` is that of the numbers from which the values were computed, where they are differences.
  function errorOf(values, size = 0) {
    const scale = largest(values);
    if (Math.max(...values) - Math.min(...values) <= ROUNDING * Math.max(scale, size)) return 0;
    const middle = mean(values);
    const squares = values.reduce((sum, value) => sum + ((value - middle) / scale) ** 2, 0);
    return scale * Math.sqrt(squares / (values.length - 1) / values.length);
  }

  // Return the logarithm of the gamma function for x > 0: Stirling's series, after shifting x to 10 or more.
  function logGamma(x) {
    let shift = 0;
    for (; x < 10; x += 1) shift += Math.log(x);
    const series = 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5) - 1 / (1680 * x ** 7) + 1 / (1188 * x ** 9);
    return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - shift;
  }

  // Return the regularised incomplete beta function I_x(a, b); `y` is 1 - x, given apart to keep its digits.
  function beta(x, y, a, b) {
    if (x <= 0 || y <= 0) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - beta(y, x, b, a);
    const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(y)) / a;
    return front * fraction(x, a, b);
  }

  // Return the continued fraction of the incomplete beta function (DLMF 8.17.22) by the modified Lentz method.
  function fraction(x, a, b) {
    const tiny = 1e-300;
    const safe = (value) => (Math.abs(value) < tiny ? tiny : value);
    let c = 1;
    let d = 1 / safe(1 - ((a + b) * x) / (a + 1));
    let value = d;
    for (let m = 1; m <= 1000; m += 1) {
      const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
      const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
      let factor = 1;
      for (const term of [even, odd]) {
        d = 1 / safe(1 + term * d);
        c = safe(1 + term / c);
        factor = c * d;
        value *= factor;
      }
      if (Math.abs(factor - 1) < 1e-15) break;
    }
    return value;
  }

  // Return the probability of a |t| as great or greater.
  function twoSided(t, degrees) {
    const square = t * t;
    return beta(degrees / (degrees + square), square / (degrees + square), degrees / 2, 0.5);
  }

  // Return a test: the difference of two means, its standard error, t, p, and the function `interval`.
  function tested(name, difference, error, degrees, n) {
    const t = difference / error;
    const interval = (level) => {
      const half = quantile(1 - level, degrees) * error;
      return [difference - half, difference + half];
    };
    return { name, difference, error, degrees, n, t, p: twoSided(t, degrees), interval };
  }

  // Return the t whose two-sided p is this, by halving.
  function quantile(p, degrees) {
    let [low, high] = [0, 1];
    while (twoSided(high, degrees) > p) high *= 2;
    for (let step = 0; step < 100; step += 1) {
      const middle = (low + high) / 2;
      if (twoSided(middle, degrees) > p) low = middle;
      else high = middle;
    }
    return high;
  }

  // Compare the means of independent values: Welch's statistic, with one less than the smaller count as degrees of
  // freedom (bench.report.comparison says why). Null for fewer than two of either, or no spread; so below.
  function welch(first, second) {
    if (first.length < 2 || second.length < 2) return null;
    const error = Math.hypot(errorOf(first), errorOf(second));
    if (error === 0) return null;
    const n = [first.length, second.length];
    return tested("Welch's t", mean(first) - mean(second), error, Math.min(...n) - 1, n);
  }

  // Compare the mean of independent values with a number.
  function oneSample(values, number, name = "one-sample t", size = 0) {
    if (values.length < 2) return null;
    const error = errorOf(values, size);
    return error === 0 ? null : tested(name, mean(values) - number, error, values.length - 1, [values.length]);
  }

  // Compare values that belong together in pairs.
  function paired(first, second) {
    if (first.length !== second.length) return null;
    return oneSample(first.map((value, place) => value - second[place]), 0, "paired t", largest([...first, ...second]));
  }

  // Return p-values adjusted for their number (Holm 1979).
  function holm(values) {
    const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
    const adjusted = [];
    let least = 0;
    order.forEach((place, rank) => {
      least = Math.max(least, Math.min(1, (values.length - rank) * values[place]));
      adjusted[place] = least;
    });
    return adjusted;
  }

  return { mean, twoSided, quantile, welch, oneSample, paired, holm };
})();
