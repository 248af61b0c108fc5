// What the robot was told and what it did, row by row: a plot a joint, with the shown row and the rows that are not as
// they should be.

import { element } from "/console/elements.js";
import { drawn, legend, linePlot, short } from "/console/plot.js";

const SHOWN = [{ name: "action", className: "action" }, { name: "state", className: "state" }];
const MARKS = ["dropped", "stale"];

// A plot for each value of `episode`, as GET of one answers it; `seek` is called with the row that is pointed at.
export class Curves {
  constructor(episode, seek) {
    this.episode = episode;
    this.node = element("div", "curves");
    this.plots = episode.action_keys.map((key, place) => this.plot(key, place));
    this.marked = Object.entries(episode.marked).filter(([, rows]) => MARKS.some((mark) => rows[mark].length));
    if (this.marked.length) this.node.append(this.marks());
    this.node.append(...this.plots.map((plot) => plot.node));
    this.node.addEventListener("pointerdown", (event) => this.point(event, seek));
    this.node.addEventListener("pointermove", (event) => event.buttons && this.point(event, seek));
    this.show(0);
  }

  plot(key, place) {
    const { actions, states, length, fps } = this.episode;
    const lines = [actions, states].map((rows, which) => ({ ...SHOWN[which], points: rows.map((row, at) => [at / fps, row[place]]) }));
    const made = linePlot(key, lines, { range: [0, Math.max(1, length - 1) / fps], label: "time, s" }, { label: "" });
    for (const mark of MARKS) made.svg.append(drawn("path", { class: `mark ${mark}`, d: this.ticks(this.marksOf("robot")[mark], made.place.x) }));
    const values = element("output", "values");
    made.caption.append(values);
    return { ...made, values, place, cursor: this.cursor(made.svg) };
  }

  // One lane for each part of the episode that has such rows.
  marks() {
    const lanes = element("ul", "marks");
    for (const [part, rows] of this.marked) {
      const lane = element("li");
      const words = MARKS.map((mark) => `${rows[mark].length} ${mark}`).join(", ");
      const svg = drawn("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": `${part}: ${words}` });
      for (const mark of MARKS) svg.append(drawn("path", { class: `mark ${mark}`, d: this.ticks(rows[mark], (at) => this.across(at)) }));
      lane.append(element("span", "name", `${part}: ${words}`), svg);
      lane.dataset.part = part;
      lanes.append(lane);
    }
    lanes.append(element("li", "key"));
    lanes.lastChild.append(legend(MARKS.map((mark) => ({ name: `${mark} rows`, className: mark }))));
    return lanes;
  }

  marksOf = (part) => this.episode.marked[part] ?? { dropped: [], stale: [] };

  across = (seconds) => (seconds * this.episode.fps * 1000) / Math.max(1, this.episode.length - 1);

  ticks = (rows, x) => rows.map((row) => `M${x(row / this.episode.fps).toFixed(2)} 0V100`).join("");

  cursor(svg) {
    const line = drawn("path", { class: "cursor", d: "M0 0V100" });
    svg.append(line);
    return line;
  }

  show(row) {
    const { actions, states, fps } = this.episode;
    this.node.dataset.row = String(row);
    for (const { cursor, values, place } of this.plots) {
      cursor.setAttribute("transform", `translate(${this.across(row / fps)} 0)`);
      values.textContent = [actions, states].map((rows, which) => `${SHOWN[which].name} ${short(rows[row][place], 100)}`).join(" · ");
    }
  }

  point({ target, clientX }, seek) {
    const box = target.closest("svg")?.getBoundingClientRect();
    if (box) seek(((clientX - box.left) / box.width) * (this.episode.length - 1));
  }
}
