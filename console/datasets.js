// The datasets of a project, each with a strip of its episodes: what they look like and what is said of them.

import { del, get, post } from "/console/api.js";
import { button, counted, element, keep } from "/console/elements.js";
import { EpisodeDialog } from "/console/episode.js";
import { Statistics } from "/console/statistics.js";
import { Trash } from "/console/trash.js";

const THUMBNAIL_WIDTH = 192;
// By the element of each dataset.
const shown = new Map();

export function showDatasets(list, datasets) {
  keep(list, datasets, make, (node, dataset) => shown.get(node).update(dataset), forget);
}

function make(dataset) {
  const made = new DatasetView(dataset);
  shown.set(made.node, made);
  return made.node;
}

function forget(node) {
  shown.get(node).dialog.dialog.remove();
  shown.delete(node);
}

class DatasetView {
  constructor(dataset) {
    this.dataset = { ...dataset };
    this.episodes = [];
    this.node = element("details", "dataset");
    this.strip = element("ol", "strip");
    this.strip.setAttribute("aria-label", `Episodes of ${dataset.name}`);
    this.told = element("p", "told");
    this.told.setAttribute("role", "status");
    this.told.hidden = true;
    this.node.open = true;
    this.statistics = new Statistics(`/api/dataset/${dataset.id}`);
    this.trash = new Trash(`/api/dataset/${dataset.id}`, (text) => {
      this.tell(text);
      return this.refresh();
    });
    this.node.append(element("summary"), this.told, this.strip, this.trash.node, this.statistics.node);
    this.node.addEventListener("toggle", () => this.refresh());
    this.dialog = new EpisodeDialog(dataset, {
      told: () => this.refresh(),
      remove: (episode) => this.delete(episode),
      beside: (id, places) => this.episodes[this.episodes.findIndex((each) => each.id === id) + places]?.id,
    });
  }

  get address() {
    return `/api/dataset/${this.dataset.id}`;
  }

  // The page asks for its projects whenever something changed: a dataset that is the same object is as it was.
  update(dataset) {
    if (dataset === this.dataset) return;
    this.dataset = dataset;
    this.dialog.dataset = dataset;
    this.node.querySelector("summary").textContent = words(dataset);
    this.refresh();
  }

  // What a dataset holds is asked for while it is looked at, and once more if that was wished for meanwhile.
  async refresh() {
    this.wanted = this.node.open;
    if (this.asking) return;
    this.asking = true;
    while (this.wanted) {
      this.wanted = false;
      await this.trying(async () => {
        this.show(await get(`${this.address}/episodes`));
        await this.trash.refresh();
        await this.statistics.refresh();
      });
    }
    this.asking = false;
  }

  async trying(action) {
    try {
      await action();
    } catch (error) {
      this.tell(error.message);
    }
  }

  show(episodes) {
    this.episodes = episodes;
    keep(this.strip, episodes, (episode) => this.card(episode), updateCard);
  }

  card({ id }) {
    const item = element("li");
    const play = button("", "", () => this.dialog.open(id), "play");
    const picture = element("img");
    Object.assign(picture, { loading: "lazy", alt: "", width: THUMBNAIL_WIDTH, src: `${this.address}/episodes/${id}/thumbnail?width=${THUMBNAIL_WIDTH}` });
    picture.addEventListener("error", () => { picture.hidden = true; });
    play.append(picture);
    const remove = button("✕", "", () => this.deleted(id), "delete quiet");
    item.append(play, element("span", "index"), element("span", "length"), element("span", "verdict"), remove);
    item.append(element("p", "suspect"), element("p", "task"), element("p", "tags"));
    return item;
  }

  deleted(id) {
    return this.trying(() => this.delete(this.episodes.find((each) => each.id === id)));
  }

  async delete({ id, episode_index: index }) {
    await del(`${this.address}/episodes`, [id]);
    this.tell(`Episode ${index} is deleted.`, button("Undo", `Undo: restore episode ${index}`, () => this.restore(id)));
    await this.refresh();
  }

  async restore(id) {
    await this.trying(async () => {
      await post(`${this.address}/episodes:restore`, { episode_ids: [id] });
      this.tell("The episode is back.");
    });
    await this.refresh();
  }

  tell(text, ...more) {
    this.told.replaceChildren(text, " ", ...more);
    this.told.hidden = false;
  }
}

const words = ({ name, episodes, frames, fps }) =>
  `${name} · ${counted(episodes, "episode")}${fps ? ` · ${Math.round(frames / fps)} s at ${fps} fps` : ""}`;

function updateCard(item, { episode_index: index, length, duration_s: seconds, success, suspect, rating, tags, tasks, dropped, stale }) {
  const label = `episode ${index}`;
  name(item.querySelector(".play"), `Play ${label}`);
  name(item.querySelector(".delete"), `Delete ${label}`);
  item.querySelector(".index").textContent = `#${index}`;
  item.querySelector(".length").textContent = `${seconds.toFixed(1)} s · ${length} rows`;
  const verdict = item.querySelector(".verdict");
  verdict.dataset.success = String(success);
  verdict.textContent = [{ true: "✓ success", false: "✗ failure" }[success], rating && "★".repeat(rating)].filter(Boolean).join(" ");
  const suspicion = item.querySelector(".suspect");
  suspicion.hidden = !suspect;
  suspicion.textContent = suspect ? `⚠ suspect: ${suspect}` : "";
  item.querySelector(".task").textContent = tasks[0];
  item.querySelector(".task").title = `${tasks[0]}\n${dropped} rows dropped, ${stale} stale`;
  item.querySelector(".tags").textContent = tags.map((tag) => `#${tag}`).join(" ");
}

function name(control, words) {
  control.title = words;
  control.setAttribute("aria-label", words);
}
