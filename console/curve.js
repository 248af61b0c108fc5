// What a training has logged so far: its loss over the steps. The whole is asked for once, what follows is told.

import { get } from "/console/api.js";
import { element } from "/console/elements.js";
import { linePlot } from "/console/plot.js";

const LINES = [["loss", "training loss", "loss"], ["val_loss", "validation loss", "validation"]];
const DRAW_MS = 500;
// By the id of the job.
const curves = new Map();

// The curve of a job, to be put where it belongs; `forgetCurve` when that is gone.
export function curveOf(job) {
  const curve = new JobCurve(job.id);
  curves.set(job.id, curve);
  return curve.node;
}

export const forgetCurve = (id) => curves.delete(id);

// A message of the topic `job.metrics`.
export const tellCurve = (id, { rows }) => curves.get(id)?.add(rows);

// After live updates were missed, the whole is asked for again.
export const refreshCurves = () => curves.forEach((curve) => curve.refresh());

class JobCurve {
  constructor(id) {
    this.id = id;
    this.rows = new Map();
    this.node = element("details", "curve");
    this.room = element("div");
    this.node.append(element("summary", "", "Loss"), this.room);
    this.node.addEventListener("toggle", () => this.refresh());
  }

  async refresh() {
    if (!this.node.open) return;
    try {
      const rows = await get(`/api/jobs/${this.id}/metrics`);
      this.rows.clear();
      this.add(rows);
      this.draw();
    } catch (error) {
      this.room.replaceChildren(error.message);
    }
  }

  // What is told may have come with the whole already, and a training that was resumed logs some steps again.
  add(rows) {
    if (!this.node.open) return;
    for (const row of rows) this.rows.set(`${row.step} ${"val_loss" in row}`, row);
    this.timer ??= setTimeout(() => this.draw(), DRAW_MS);
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const rows = [...this.rows.values()].sort((one, other) => one.step - other.step);
    const lines = LINES.map(([key, name, className]) => ({ name, className, points: pointsOf(rows, key) }));
    const [{ points }] = lines;
    this.node.dataset.points = String(points.length);
    if (!points.length) return this.room.replaceChildren("Nothing is logged yet.");
    const [step, loss] = points.at(-1);
    const there = lines.filter((line) => line.points.length);
    this.room.replaceChildren(linePlot(`Loss ${loss.toPrecision(3)} at step ${step}`, there, { label: "step", whole: true }, { label: "loss" }).node);
  }
}

const pointsOf = (rows, key) => rows.filter((row) => Number.isFinite(row[key])).map((row) => [row.step, row[key]]);
