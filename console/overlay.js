// The first picture of the dataset's last episode over each live camera of a session, so that a camera that was bumped is
// seen. Off until somebody asks for it.

import { get } from "/console/api.js";
import { button, element } from "/console/elements.js";
import { isBeside, typing } from "/console/takes.js";

export const KEY = "o";
const HALF = 50;
const overlays = new Set();

export class Overlay {
  // `cameras` holds the figures of the project's cameras.
  constructor(cameras) {
    this.cameras = cameras;
    this.on = false;
    this.node = element("p", "overlay");
    this.node.hidden = true;
    this.button = button(`Compare with the last episode (${KEY})`, "Compare with the last episode", () => this.toggle(), "quiet");
    this.opacity = Object.assign(element("input"), { type: "range", min: 0, max: 100, value: HALF });
    this.opacity.setAttribute("aria-label", "Opacity of the last episode's first picture");
    this.opacity.addEventListener("input", () => this.draw());
    // Once the mouse has moved it, the take keys are heard again.
    this.opacity.addEventListener("pointerup", () => this.opacity.blur());
    this.node.append(this.button, this.opacity);
    overlays.add(this);
    this.draw();
  }

  // Only a session that records into a dataset which holds an episode has something to compare with.
  update({ id, session, datasets = [] }) {
    const dataset = session?.dataset_id && datasets.find((each) => each.id === session.dataset_id);
    const offered = Boolean(dataset?.episodes);
    this.node.hidden = !offered;
    if (!offered && this.on) this.toggle();
    if (!offered) return;
    this.project = `/api/projects/${id}`;
    this.session = session;
    this.shows = `${dataset.episodes}-${dataset.frames}`;
    if (this.on) this.place();
  }

  toggle() {
    this.on = !this.on;
    this.draw();
    if (this.on) this.place();
    else for (const picture of this.cameras.querySelectorAll(".reference")) picture.remove();
  }

  draw() {
    this.button.setAttribute("aria-pressed", String(this.on));
    this.opacity.hidden = !this.on;
    this.cameras.style.setProperty("--overlay", this.opacity.value / 100);
  }

  // Cameras that are not in the session have recorded nothing with it.
  async place() {
    const environment = await get(`${this.project}/environments/${this.session.environment_id}`).catch(() => undefined);
    for (const id of environment?.camera_ids ?? []) {
      const figure = this.on && this.cameras.querySelector(`figure[data-id="${id}"]`);
      if (figure) this.lay(figure, `${this.project}/recordings/${this.session.id}/reference?camera=${id}&shows=${this.shows}`);
    }
  }

  lay(figure, address) {
    let picture = figure.querySelector(".reference");
    if (!picture) {
      picture = element("img", "reference");
      picture.alt = "First picture of the last episode";
      picture.addEventListener("error", () => { picture.hidden = true; });
      picture.addEventListener("load", () => { picture.hidden = false; });
      figure.insertBefore(picture, figure.querySelector("figcaption"));
    }
    if (picture.getAttribute("src") !== address) picture.src = address;
  }

  forget() {
    overlays.delete(this);
  }
}

document.addEventListener("keydown", (event) => {
  const isWord = typing(event) && !event.target.matches("[type=range]");
  if (event.key !== KEY || isWord || isBeside()) return;
  for (const overlay of overlays) if (!overlay.node.hidden) overlay.toggle();
});
