// A dataset in numbers, as plots.

import { get } from "/console/api.js";
import { element } from "/console/elements.js";
import { barPlot, legend, rangePlot } from "/console/plot.js";

const FEATURES = [["action", "action"], ["observation.state", "state"]];
const BRIGHTNESS = { range: [0, 1], label: "0 is black, 1 is full" };

// Unfolded it shows what the dataset holds then, and `refresh` brings it up to date.
export class Statistics {
  constructor(address) {
    this.address = address;
    this.node = element("details", "statistics");
    this.plots = element("div", "plots");
    this.node.append(element("summary", "", "Statistics"), this.plots);
    this.node.addEventListener("toggle", () => this.refresh().catch((error) => this.plots.replaceChildren(error.message)));
  }

  async refresh() {
    if (!this.node.open) return;
    const [statistics, episodes] = await Promise.all([get(`${this.address}/statistics`), get(`${this.address}/episodes`)]);
    this.plots.replaceChildren(...(statistics.episodes ? plotted(statistics, episodes) : ["There is no episode yet."]));
  }
}

function plotted({ lengths, features, cameras }, episodes) {
  const brightness = Object.entries(cameras).map(([name, values]) => ({ name, ...values }));
  return [
    lengthsPlot(lengths, episodes[0].fps),
    lostPlot(episodes),
    rangesPlot(features),
    ...(brightness.length ? [rangePlot("Brightness of the cameras (least, mean, greatest)", brightness, BRIGHTNESS)] : []),
  ];
}

function lengthsPlot({ histogram, min, max, mean }, fps) {
  const seconds = (rows) => Number((rows / fps).toFixed(2));
  const bars = histogram.map(({ start, end, episodes }) => ({
    start: start / fps, end: end / fps, height: episodes, title: `${seconds(start)} to ${seconds(end)} s: ${episodes} episodes`,
  }));
  const title = `Lengths of the episodes: ${seconds(min)} to ${seconds(max)} s, mean ${seconds(mean)} s`;
  return barPlot(title, bars, { range: [bars[0].start, bars.at(-1).end], label: "length, s" }, { label: "episodes" }).node;
}

// Two bars an episode, beside one another.
function lostPlot(episodes) {
  const bars = episodes.flatMap(({ episode_index: index, dropped, stale }) => [
    { start: index - 0.5, end: index, height: dropped, className: "dropped", title: `Episode ${index}: ${dropped} dropped` },
    { start: index, end: index + 0.5, height: stale, className: "stale", title: `Episode ${index}: ${stale} stale` },
  ]);
  const count = (name) => episodes.reduce((sum, episode) => sum + episode[name], 0);
  const title = `Rows that are not as they should be: ${count("dropped")} dropped, ${count("stale")} stale`;
  const made = barPlot(title, bars, { range: [-0.5, episodes.length - 0.5], label: "episode", whole: true }, { label: "rows" });
  made.node.append(legend([{ name: "dropped", className: "dropped" }, { name: "stale", className: "stale" }]));
  return made.node;
}

function rangesPlot(features) {
  const joints = Object.keys(features[FEATURES[0][0]]);
  const rows = joints.flatMap((joint) => FEATURES.map(([feature, className]) => ({ name: `${joint} ${className}`, className, ...features[feature][joint] })));
  return rangePlot("Action and state (range, and mean ± deviation)", rows, { label: "as the robot counts" });
}
