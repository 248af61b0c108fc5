// A WHEP player: one camera's live video in one <video>, reconnecting with back-off until it is stopped.
// What it measures stands in the element's data attributes: state, fps, frames. The states are connecting, playing,
// failed (the server said why, or the pictures stopped), unreachable (it answered, but no path was found) and stopped.

import { ask } from "/console/api.js";

const GATHER_MS = 1500;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const STALLED_MS = 10000;
const CONNECT_MS = 5000;
const MEASURE_MS = 500;
const WINDOW = 4;

export class WhepPlayer {
  constructor(video, endpoint, onChange) {
    this.video = video;
    this.endpoint = endpoint;
    this.onChange = onChange;
    this.running = false;
    this.waitMs = FIRST_WAIT_MS;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.measuring = setInterval(() => this.measure(), MEASURE_MS);
    this.connect();
  }

  // Tell the server too, so that it need not wait for us to fall silent. Survives the page being closed.
  stop() {
    this.running = false;
    clearTimeout(this.retry);
    clearInterval(this.measuring);
    this.leave();
    this.show("stopped", "");
  }

  async connect() {
    const peer = new RTCPeerConnection();
    this.peer = peer;
    this.samples = [];
    this.show("connecting", "connecting …");
    try {
      await this.negotiate(peer);
    } catch (error) {
      if (this.peer === peer) this.again(error.message);
    }
  }

  async negotiate(peer) {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.ontrack = (event) => { this.video.srcObject = new MediaStream([event.track]); };
    peer.onconnectionstatechange = () => {
      if (this.peer === peer && peer.connectionState === "failed") this.again("the connection was lost");
    };
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const response = await ask(this.endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
    });
    await this.accept(peer, response.headers.get("Location"), await response.text());
  }

  async accept(peer, session, answer) {
    if (this.peer !== peer) {
      leaveSession(session);
      return;
    }
    this.session = session;
    this.aliveAt = performance.now();
    await peer.setRemoteDescription({ type: "answer", sdp: answer });
  }

  again(reason, state = "failed") {
    this.leave();
    if (!this.running) return;
    this.show(state, reason);
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  // The server hears of it before the peer says goodbye: that would end the session, which is then not there any more.
  leave() {
    const { peer, session } = this;
    this.peer = this.session = null;
    leaveSession(session).finally(() => peer?.close());
  }

  measure() {
    if (!this.session) return;
    const now = performance.now();
    const frames = this.video.getVideoPlaybackQuality().totalVideoFrames;
    if (document.hidden || frames !== this.samples.at(-1)?.frames) this.aliveAt = now;
    this.samples.push({ now, frames });
    if (this.samples.length > WINDOW) this.samples.shift();
    this.report(now, frames);
  }

  report(now, frames) {
    const connected = this.peer.connectionState === "connected";
    const oldest = this.samples[0];
    const fps = now > oldest.now ? Math.max(0, (frames - oldest.frames) * 1000 / (now - oldest.now)) : 0;
    this.video.dataset.frames = String(frames);
    this.video.dataset.fps = fps.toFixed(1);
    if (fps > 0) {
      this.waitMs = FIRST_WAIT_MS;
      this.show("playing", `${this.video.videoWidth}×${this.video.videoHeight} · ${fps.toFixed(0)} fps`);
    } else if (!connected && now - this.aliveAt > CONNECT_MS) {
      this.again("no direct way to the server: still pictures", "unreachable");
    } else if (now - this.aliveAt > STALLED_MS) {
      this.again("no picture arrives");
    }
  }

  show(state, note) {
    this.video.dataset.state = state;
    this.onChange(state, note);
  }
}

// The server takes no candidates later, so all of them go with the offer; a slow network does not hold it up for ever.
function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
  });
}

async function leaveSession(session) {
  // An error here has no reader: the session ends by itself when its viewer is silent.
  if (session) await fetch(session, { method: "DELETE", keepalive: true }).catch(() => {});
}
