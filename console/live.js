// The server's live updates: tells what has changed, which numbers moved, and whether changes are heard of at all. A
// browser opens few connections to one server, so only a page that is seen keeps one for this.

const AGAIN_MS = 5000;
// A connection that ends is soon followed by the next one, and nothing is lost between them.
const LOST_MS = 2000;

export class LiveUpdates {
  // `changed` is called with every change, `told` with numbers that move without being changes, and `turned` when both
  // are heard of again (what was said meanwhile is not known), or no longer.
  constructor({ changed, told, turned }) {
    this.changed = changed;
    this.told = told;
    this.turned = turned;
    this.heard = false;
  }

  start() {
    this.stop();
    this.source = new EventSource("/api/live");
    this.source.addEventListener("hello", () => this.found());
    this.source.addEventListener("telemetry", (message) => this.told(JSON.parse(message.data)));
    this.source.onmessage = (message) => this.changed(JSON.parse(message.data));
    this.source.onerror = () => this.cut();
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.heard = false;
  }

  found() {
    clearTimeout(this.timer);
    this.heard = true;
    this.turned();
  }

  // The browser comes back by itself after a connection that ended, but not after a refusal.
  cut() {
    const refused = this.source.readyState === EventSource.CLOSED;
    if (!refused && !this.heard) return;
    this.heard = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.turned();
      if (refused) this.start();
    }, refused ? AGAIN_MS : LOST_MS);
  }
}
