// Plots with axes and units. The lines are SVG that is stretched to the room there is; the words stand beside it as
// text, so that they keep their size at any width.

import { element } from "/console/elements.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 100;
const TICKS = 4;
// A line of more points than this looks the same with the least and the greatest of each stretch.
const MOST_POINTS = 1500;

export function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Round numbers from `least` to `greatest`.
export function ticks(least, greatest, about = TICKS, whole = false) {
  const rough = (greatest - least) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
  const step = whole ? Math.max(1, nice) : nice;
  const found = [];
  for (let number = Math.ceil(least / step - 1e-9); number * step <= greatest + step * 1e-9; number++) found.push(number * step);
  return found;
}

// A number as short as its scale allows.
export function short(value, span = Math.abs(value)) {
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(1);
  const digits = Math.max(0, Math.min(4, 2 - Math.floor(Math.log10(span || 1))));
  return String(Number(value.toFixed(digits)));
}

// The range that holds all values, never empty.
export function extent(...lists) {
  let [least, greatest] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
  }
  if (!Number.isFinite(least)) return [0, 1];
  return greatest > least ? [least, greatest] : [least - (Math.abs(least) / 10 || 1), least + (Math.abs(least) / 10 || 1)];
}

const widened = ([least, greatest], by = 0.05) => [least - (greatest - least) * by, greatest + (greatest - least) * by];

// A frame of axes: `x` and `y` are {range, label, whole, ticks}; a tick is {at, text}. Draw into `svg` with `place`.
export function frame(title, x, y) {
  const node = element("figure", "plot");
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  const place = {
    x: (value) => ((value - x.range[0]) / (x.range[1] - x.range[0])) * WIDTH,
    y: (value) => HEIGHT - ((value - y.range[0]) / (y.range[1] - y.range[0])) * HEIGHT,
  };
  const caption = element("figcaption", "title", title);
  node.append(caption, scale("y", y, (at) => (place.y(at) / HEIGHT) * 100), svg, scale("x", x, (at) => (place.x(at) / WIDTH) * 100));
  for (const { at } of scaleTicks(y)) svg.append(drawn("path", { class: "grid", d: `M0 ${place.y(at)}H${WIDTH}` }));
  return { node, svg, place, caption };
}

function scaleTicks({ range, whole, ticks: given }) {
  return given ?? ticks(...range, TICKS, whole).map((at) => ({ at, text: short(at, range[1] - range[0]) }));
}

function scale(name, axis, percent) {
  const made = element("div", `scale ${name}`);
  made.ariaHidden = "true";
  made.append(element("span", "label", axis.label));
  for (const { at, text } of scaleTicks(axis)) {
    const tick = element("span", "tick", text);
    tick.style.setProperty("--at", `${percent(at)}%`);
    made.append(tick);
  }
  return made;
}

function thinned(points) {
  if (points.length <= MOST_POINTS) return points;
  const size = Math.ceil((2 * points.length) / MOST_POINTS);
  const kept = [];
  for (let start = 0; start < points.length; start += size) {
    const part = points.slice(start, start + size).sort((one, other) => one[1] - other[1]);
    kept.push(...[part[0], part.at(-1)].sort((one, other) => one[0] - other[0]));
  }
  return kept;
}

// Lines over a common x. `lines` are {name, className, points: [[x, y]]}.
export function linePlot(title, lines, x, y) {
  const all = lines.map((line) => line.points);
  const range = x.range ?? extent(...all.map((points) => points.map(([at]) => at)));
  const made = frame(title, { ...x, range }, { ...y, range: widened(extent(...all.map((points) => points.map(([, value]) => value)))) });
  for (const { className, points } of lines) {
    const path = thinned(points).map(([at, value]) => `${made.place.x(at).toFixed(2)} ${made.place.y(value).toFixed(2)}`);
    made.svg.append(drawn("path", { class: `line ${className}`, d: path.length ? `M${path.join("L")}` : "" }));
  }
  made.node.append(legend(lines));
  return made;
}

export function legend(entries) {
  const made = element("ul", "legend");
  for (const { name, className } of entries) made.append(element("li", className, name));
  return made;
}

// Bars from the bottom. `bars` are {start, end, height, className, title}.
export function barPlot(title, bars, x, y) {
  const greatest = Math.max(1, ...bars.map((bar) => bar.height));
  const made = frame(title, x, { whole: true, ...y, range: [0, greatest * 1.05] });
  for (const { start, end, height, className = "", title: words } of bars) {
    const gap = (made.place.x(end) - made.place.x(start)) * 0.06;
    const top = made.place.y(height);
    const bar = drawn("rect", {
      class: `bar ${className}`, x: made.place.x(start) + gap, width: made.place.x(end) - made.place.x(start) - 2 * gap, y: top, height: HEIGHT - top,
    });
    bar.append(Object.assign(drawn("title", {}), { textContent: words }));
    made.svg.append(bar);
  }
  return made;
}

// What each of some values ranges over, one line each: {name, className, min, max, mean, std?}, on one scale.
export function rangePlot(title, rows, x) {
  const node = element("figure", "plot ranges");
  const range = x.range ?? widened(extent(rows.flatMap(({ min, max }) => [min, max])));
  const percent = (value) => ((value - range[0]) / (range[1] - range[0])) * 100;
  const list = element("ul");
  for (const row of rows) list.append(ranged(row, percent, range[1] - range[0]));
  node.append(element("figcaption", "title", title), list, scale("x", { ...x, range }, percent));
  return node;
}

function ranged({ name, className = "", min, max, mean, std }, percent, span) {
  const item = element("li", className);
  const [least, greatest, middle] = [min, max, mean].map((value) => short(value, span));
  const spread = std === undefined ? "" : ` ± ${short(std, span)}`;
  item.title = `${name}: ${least} to ${greatest}, mean ${middle}${spread}`;
  const track = element("span", "track");
  track.append(part("whole", percent(min), percent(max)));
  if (std !== undefined) track.append(part("most", percent(Math.max(min, mean - std)), percent(Math.min(max, mean + std))));
  track.append(part("mean", percent(mean), percent(mean)));
  item.append(element("span", "name", name), track, element("span", "words", `${least} … ${greatest}`));
  return item;
}

function part(className, from, to) {
  const made = element("span", className);
  made.style.left = `${from}%`;
  made.style.width = `${to - from}%`;
  return made;
}
