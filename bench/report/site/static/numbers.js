"use strict";
// Numbers as text, as Python's reports write them: bench.report.measured and bench.report.comparison.

const numbers = (() => {
  const LARGE = 1e9;
  const MOST_DECIMALS = 6;
  const EXACTLY = 100; // digits: the most that JavaScript writes, and more than any half has
  const minus = (text) => text.replaceAll("-", "−");

  // Round as Python does: an exact half goes to the even digit, where toFixed and toExponential go away from zero.
  function rounded(value, decimals, write = "toFixed") {
    const text = value[write](decimals);
    const [digits, exponent] = value[write](EXACTLY).split("e");
    const end = digits.indexOf(".") + 1 + decimals;
    const below = digits.slice(0, end).replace(/\.$/, "");
    const isHalf = /^50*$/.test(digits.slice(end));
    if (!isHalf || Number(below.at(-1)) % 2) return text;
    return exponent === undefined ? below : `${below}e${exponent}`;
  }

  // Format a number as bench.report.measured.fixed does.
  function fixed(value, decimals) {
    const text = rounded(value, decimals);
    if (Math.abs(value) < LARGE && (Number(text) || !value)) return text;
    return rounded(value, 1, "toExponential").replace(/e([+-])(\d)$/, (_, sign, digit) => `e${sign}0${digit}`);
  }

  // Format a value of a metric as bench.report.cells.number does.
  const value = (number) => minus(fixed(number, Math.abs(number) < 1 ? 3 : 2));

  // Format a p-value as bench.report.comparison.significance.shown_p does.
  function p(probability, alpha) {
    if (probability < 1e-4) return "< .0001";
    let decimals = probability >= 0.1 ? 2 : probability >= 0.01 ? 3 : 4;
    while ((Number(rounded(probability, decimals)) < alpha) !== (probability < alpha)) decimals += 1;
    return `= ${rounded(probability, decimals).replace(/^0\./, ".")}`;
  }

  // Format t as a test's text in bench.report.comparison.significance does.
  const t = (number) => minus(rounded(number, 2));

  // Format a difference and the ends of its interval, as bench.report.comparison.text.signed does: an end near zero
  // keeps its side of it.
  function signed(values, error) {
    let decimals = Math.min(MOST_DECIMALS, Math.max(0, -Math.floor(Math.log10(error / 3))));
    const isLost = (end) => end && !Number(rounded(end, decimals));
    while (decimals < MOST_DECIMALS && values.slice(1).some(isLost)) decimals += 1;
    return values.map((number) => `${number < 0 ? "" : "+"}${minus(fixed(number, decimals))}`);
  }

  return { fixed, value, p, t, signed };
})();
