// The videos of one episode, of one mind: the slowest decides which row is shown, and those ahead of it wait.

const AHEAD_ROWS = 1.5;
// Enough of the pictures to come for the video to go on.
const HAS_MORE = HTMLMediaElement.HAVE_FUTURE_DATA;

export class Videos {
  // `segments` are {video, start}: where the episode begins in the video. `changed` is called with every row shown and
  // whenever it begins or ends to play.
  constructor(segments, fps, rows, changed) {
    this.segments = segments;
    this.fps = fps;
    this.rows = rows;
    this.changed = changed;
    this.playing = false;
    this.row = 0;
    this.speed = 1;
    for (const { video } of segments) {
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", loop: false });
      video.addEventListener("seeked", () => this.changed());
    }
  }

  play() {
    if (this.playing) return;
    if (this.row >= this.rows - 1) this.show(0);
    this.playing = true;
    this.began = performance.now();
    this.from = this.row;
    for (const { video } of this.segments) video.playbackRate = this.speed;
    this.step();
  }

  // All cameras show the same row once it stands still.
  pause() {
    this.playing = false;
    cancelAnimationFrame(this.next);
    for (const { video } of this.segments) video.pause();
    this.show(this.row);
  }

  // Show a row; playing goes on from there.
  show(row) {
    this.row = Math.max(0, Math.min(this.rows - 1, Math.round(row)));
    // The middle of its time: at its very beginning the one before would show as often.
    for (const { video, start } of this.segments) video.currentTime = start + (this.row + 0.5) / this.fps;
    this.from = this.row;
    this.began = performance.now();
    this.changed();
  }

  setSpeed(speed) {
    this.speed = speed;
    this.from = this.row;
    this.began = performance.now();
    for (const { video } of this.segments) video.playbackRate = speed;
  }

  step() {
    if (!this.playing) return;
    this.row = Math.max(0, Math.min(this.rows - 1, Math.floor(this.now())));
    if (this.row >= this.rows - 1) return this.pause();
    this.holdBack();
    this.changed();
    this.next = requestAnimationFrame(() => this.step());
  }

  // In rows, of the slowest; an episode without cameras goes by the clock.
  now() {
    if (!this.segments.length) return this.from + ((performance.now() - this.began) / 1000) * this.fps * this.speed;
    return Math.min(...this.segments.map((segment) => this.rowOf(segment)));
  }

  rowOf({ video, start }) {
    return video.ended ? this.rows : (video.currentTime - start) * this.fps;
  }

  holdBack() {
    const now = this.now();
    const waiting = this.segments.some(({ video }) => video.seeking || (video.readyState < HAS_MORE && !video.ended));
    for (const segment of this.segments) {
      const ahead = this.rowOf(segment) - now;
      const { video } = segment;
      const isLast = ahead <= 0;
      if (!isLast && (waiting || ahead > AHEAD_ROWS * Math.max(1, this.speed))) video.pause();
      else if (video.paused && !video.ended && (!waiting || isLast)) video.play().catch(() => {});
    }
  }

  // Lets the server's connections go: a browser opens few to one server.
  close() {
    this.playing = false;
    cancelAnimationFrame(this.next);
    for (const { video } of this.segments) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  }
}
