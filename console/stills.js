// Pictures over plain HTTP, one after the other, for a browser that finds no WebRTC way to the server: Chromium opens
// none on a machine without any network, and some companies forbid it. What it showed stands in the image's data.

const EVERY_MS = 100;
const RETRY_MS = 2000;

export class StillPlayer {
  constructor(image, address) {
    this.image = image;
    this.address = address;
    this.running = false;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.image.hidden = false;
    this.next();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    this.image.hidden = true;
  }

  async next() {
    const begun = performance.now();
    const shown = !document.hidden && await this.show();
    if (!this.running) return;
    const waitMs = shown ? Math.max(0, EVERY_MS - (performance.now() - begun)) : RETRY_MS;
    this.timer = setTimeout(() => this.next(), waitMs);
  }

  async show() {
    const response = await fetch(`${this.address}?width=640`, { cache: "no-store" }).catch(() => null);
    if (!response?.ok) return false;
    const url = URL.createObjectURL(await response.blob());
    this.image.src = url;
    await this.image.decode().catch(() => {});
    URL.revokeObjectURL(url);
    this.image.dataset.frames = String(Number(this.image.dataset.frames ?? 0) + 1);
    return true;
  }
}
