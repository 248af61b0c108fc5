// The deleted episodes of a dataset: to be brought back, or gone for good.

import { get, post } from "/console/api.js";
import { button, counted, element, keep } from "/console/elements.js";

export class Trash {
  // `told` is called with what happened, once the dataset has to be looked at again.
  constructor(address, told) {
    this.address = address;
    this.told = told;
    this.node = element("details", "trash");
    this.node.hidden = true;
    this.list = element("ul");
    const empty = button("Empty the trash", "Empty the trash: these episodes cannot be restored then", () => this.empty(), "quiet");
    this.node.append(element("summary"), this.list, empty);
  }

  async refresh() {
    const episodes = await get(`${this.address}/trash`);
    this.episodes = episodes;
    this.node.hidden = !episodes.length;
    const bytes = episodes.reduce((sum, episode) => sum + episode.size_bytes, 0);
    this.node.querySelector("summary").textContent = `Trash · ${counted(episodes.length, "episode")} · ${megabytes(bytes)}`;
    keep(this.list, episodes, (episode) => this.item(episode), () => {});
  }

  item({ id, length, tasks, deleted_at: at }) {
    const item = element("li", "", `${tasks[0]} · ${length} rows · deleted ${new Date(at).toLocaleString()} `);
    item.append(button("Restore", `Restore this episode of ${length} rows`, () => this.restore(id), "quiet"));
    return item;
  }

  restore(id) {
    return this.trying(async () => {
      await post(`${this.address}/episodes:restore`, { episode_ids: [id] });
      return "The episode is back.";
    });
  }

  empty() {
    if (!confirm(`Remove ${counted(this.episodes.length, "episode")} for good? Nobody can restore them then.`)) return undefined;
    return this.trying(async () => {
      const { episode_ids: gone, freed_bytes: bytes, kept } = await post(`${this.address}:purge`);
      const reasons = kept.filter((version) => version.episode_ids.length).map(({ version, reason }) => `version ${version}: ${reason}`);
      const stays = reasons.length ? ` Some stay for the sake of ${reasons.join("; ")}.` : "";
      return `${counted(gone.length, "episode")} removed, ${megabytes(bytes)} freed.${stays}`;
    });
  }

  async trying(action) {
    try {
      await this.told(await action());
    } catch (error) {
      await this.told(error.message);
    }
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
