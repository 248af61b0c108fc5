// One episode in a dialog: all its cameras at the same row, its curves beneath, and what is said of it.

import { get, patch } from "/console/api.js";
import { Curves } from "/console/curves.js";
import { button, element } from "/console/elements.js";
import { Said } from "/console/said.js";
import { Videos } from "/console/videos.js";

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const KEYS = "Keys: space play or pause · ← → a row · shift ← → a second · Home End · + − speed · Esc close";
const typing = "input:not([type=range]), textarea, select";

export class EpisodeDialog {
  // `told` is called when something was changed; `remove` with the episode that shall be deleted; `beside` answers the
  // id of the episode so many places away.
  constructor(dataset, { told, remove, beside }) {
    this.dataset = dataset;
    this.told = told;
    this.remove = remove;
    this.beside = beside;
    this.dialog = element("dialog", "episode");
    this.dialog.setAttribute("aria-labelledby", "episode-title");
    this.dialog.addEventListener("close", () => this.leave());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    document.body.append(this.dialog);
  }

  async open(id) {
    this.wanted = id;
    this.body = element("div", "body");
    this.problem = element("p", "problem");
    this.problem.setAttribute("role", "alert");
    this.problem.hidden = true;
    this.videos?.close();
    this.videos = undefined;
    this.dialog.replaceChildren(this.header("Loading …"), this.problem, this.body);
    if (!this.dialog.open) this.dialog.showModal();
    await this.trying(async () => {
      const episode = await get(`${this.address}/episodes/${id}`);
      if (this.wanted === id) this.show(episode); // else another one was asked for meanwhile
    });
  }

  get address() {
    return `/api/dataset/${this.dataset.id}`;
  }

  async trying(action) {
    this.problem.hidden = true;
    try {
      await action();
    } catch (error) {
      this.problem.textContent = error.message;
      this.problem.hidden = false;
    }
  }

  header(words) {
    const header = element("header");
    this.title = element("h2", "", words);
    this.title.id = "episode-title";
    header.append(
      this.title,
      button("‹", "Previous episode", () => this.go(-1)),
      button("›", "Next episode", () => this.go(1)),
      button("✕", "Close", () => this.dialog.close()),
    );
    return header;
  }

  go(places) {
    const id = this.beside(this.wanted, places);
    if (id) this.open(id);
  }

  show(episode) {
    this.episode = episode;
    this.title.textContent = `Episode ${episode.episode_index} of ${this.dataset.name}`;
    this.curves = new Curves(episode, (row) => this.videos.show(row));
    this.said = new Said(episode, (changes) => this.say(changes), () => this.delete());
    const segments = Object.entries(episode.videos).map(([feature, place]) => this.segment(feature, place));
    this.videos = new Videos(segments, episode.fps, episode.length, () => this.update());
    const cameras = element("div", "cameras");
    cameras.append(...segments.map(({ figure }) => figure));
    this.body.replaceChildren(...(episode.suspect ? [element("p", "suspect", `Suspect: ${episode.suspect}. Training leaves it out.`)] : []));
    this.body.append(cameras, this.controls(), element("p", "keys", KEYS), this.curves.node, this.said.node);
    this.videos.show(0);
    this.playing.focus();
  }

  segment(feature, { start, path }) {
    const figure = element("figure");
    const video = element("video");
    const camera = feature.replace("observation.images.", "");
    video.src = `${this.address}/video/${path}`;
    video.dataset.camera = camera;
    video.setAttribute("aria-label", `Recorded video of camera ${camera}`);
    video.addEventListener("error", () => this.failed(video, camera));
    const caption = element("figcaption");
    caption.append(element("span", "name", camera));
    figure.append(video, caption);
    return { figure, video, start };
  }

  failed(video, camera) {
    if (!video.hasAttribute("src")) return;
    this.problem.textContent = `The video of camera ${camera} cannot be shown: ${video.error?.message || "it does not come"}.`;
    this.problem.hidden = false;
  }

  controls() {
    const made = element("div", "controls");
    this.playing = button("▶", "Play", () => this.toggle(), "play");
    this.scrub = Object.assign(element("input"), { type: "range", min: 0, max: this.episode.length - 1, step: 1, value: 0 });
    this.scrub.setAttribute("aria-label", "Row");
    this.scrub.addEventListener("input", () => this.videos.show(this.scrub.valueAsNumber));
    this.speed = element("select");
    this.speed.setAttribute("aria-label", "Speed");
    for (const speed of SPEEDS) this.speed.append(new Option(`${speed}×`, speed, speed === 1, speed === 1));
    this.speed.addEventListener("change", () => this.videos.setSpeed(Number(this.speed.value)));
    this.at = element("output", "at");
    made.append(
      button("−1", "One row back", () => this.by(-1)),
      this.playing,
      button("+1", "One row on", () => this.by(1)),
      this.scrub, this.at, this.speed,
    );
    return made;
  }

  update() {
    const { row, playing } = this.videos;
    const { length, fps } = this.episode;
    if (this.scrub.valueAsNumber !== row) this.scrub.value = row;
    const words = `row ${row} of ${length} · ${(row / fps).toFixed(2)} s`;
    this.scrub.setAttribute("aria-valuetext", words);
    this.at.textContent = words;
    this.playing.textContent = playing ? "⏸" : "▶";
    this.playing.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.dialog.dataset.playing = String(playing);
    this.curves.show(row);
  }

  toggle() {
    if (this.videos.playing) this.videos.pause();
    else this.videos.play();
    this.update();
  }

  by(rows) {
    if (this.videos.playing) this.videos.pause();
    this.videos.show(this.videos.row + rows);
  }

  faster(places) {
    this.speed.selectedIndex = Math.max(0, Math.min(SPEEDS.length - 1, this.speed.selectedIndex + places));
    this.videos.setSpeed(Number(this.speed.value));
  }

  key(event) {
    const { key, target, shiftKey, ctrlKey, altKey, metaKey } = event;
    if (!this.videos || ctrlKey || altKey || metaKey || target.matches(typing)) return;
    const far = shiftKey ? this.episode.fps : 1;
    const meant = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.by(-far),
      ArrowRight: () => this.by(far),
      Home: () => this.by(-this.episode.length),
      End: () => this.by(this.episode.length),
      "+": () => this.faster(1),
      "-": () => this.faster(-1),
    }[key];
    if (!meant || (key === " " && target.matches("button"))) return;
    event.preventDefault();
    meant();
  }

  say(changes) {
    return this.trying(async () => {
      this.said.fill(await patch(`${this.address}/episodes/${this.episode.id}`, changes));
      this.told();
    });
  }

  delete() {
    const { episode } = this;
    return this.trying(async () => {
      await this.remove(episode);
      this.dialog.close();
    });
  }

  leave() {
    this.wanted = undefined;
    this.videos?.close();
    this.videos = undefined;
    this.dialog.replaceChildren();
  }
}
