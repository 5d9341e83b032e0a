// Charts of lines, which a learner's progress does not have.

import { chart, rules } from './charts.js';
import { s } from './dom.js';

export const frame = { viewBox: '0 0 100 100', preserveAspectRatio: 'none' };

/**
 * A chart with one line for each of the `series`, which are { name, values, isStepped }, and its last value at the end
 * of each line. The points of a line are at equal horizontal distances; before its first value and after its last one,
 * a line has null. A stepped line keeps a value until the next point. `range` has the values at the lower and the upper
 * edge of the chart, and `show` writes a value. `below` is the axis, if any.
 */
export function lines(series, range, label, show, below) {
  const steps = series[0].values.length;
  const x = (index) => round((100 * (index + 0.5)) / steps);
  const point = (value, index) => `${x(index)},${round(height(value, range))}`;
  const last = ({ values }) => values.findLastIndex((value) => value != null);
  return chart(
    s('svg', { class: 'lines', role: 'img', 'aria-label': label, ...frame },
      rules(),
      series.map(({ name, values, isStepped }) =>
        drawLine(name, values, point, isStepped))),
    range, show, below,
    ends(series.filter((one) => last(one) >= 0).map((one) => [x(last(one)), one.values[last(one)]]), range, show));
}

export const round = (value) => Math.round(100 * value) / 100;

/** The distance of a value from the upper edge of a chart, in percent. */
const height = (value, [low, high]) => 100 - (100 * (value - low)) / (high - low || 1);

/** The last values beside the ends of their lines, which are [x, value]; close labels are moved apart. */
export function ends(points, range, show) {
  const taken = [];
  return s('svg', { class: 'ends', 'aria-hidden': 'true' },
    points.toSorted(([, one], [, other]) => other - one).map(([x, value]) => {
      const close = taken.filter((one) => Math.abs(one.x - x) < 8);
      const y = Math.max(height(value, range), ...close.map((one) => one.y + 10));
      taken.push({ x, y });
      return s('text', { x: `${x}%`, dx: 6, y: `${y}%`, dy: '.35em' }, show(value));
    }));
}

/** A line through the values. A single one is a dot. */
function drawLine(name, values, point, isStepped) {
  const [first, ...rest] = values.map((value, index) => value != null && point(value, index)).filter(Boolean);
  if (!rest.length) return s('path', { class: `${name} dot`, d: first ? `M${first}h0` : '' });
  const steps = rest.map((at) => (isStepped ? `H${at.replace(',', 'V')}` : `L${at}`));
  return s('path', { class: name, d: `M${first}${steps.join('')}` });
}
