// Recording with the hands at the robot: take keys for the one open session, and sounds that say what happened.

import { get, post } from "/console/api.js";
import { isOpen, isPractice } from "/console/sessions.js";

export const KEYS_SHOWN = "Keys: → start or save · ← once more · space pause or go on · Esc close";
const KEYS = new Set(["ArrowRight", "ArrowLeft", " ", "Escape"]);
const SOUNDS = { started: [[880, 0.12]], saved: [[660, 0.1], [990, 0.15]], stopped: [[440, 0.15]], trouble: [[220, 0.2], [220, 0.3]] };
const LOUDNESS = 0.15;

// The session that keys speak to; none while there are several, for nobody could know which is meant.
export function recordable(projects) {
  const open = projects.map((project) => project.session).filter((session) => session && isOpen(session) && !isPractice(session));
  return open.length === 1 ? open[0] : undefined;
}

// Whether an episode can start: the one before may still be on its way into the dataset.
const isIdle = (state) => state === "ready" || state === "saving";

// What a key means for a session as it is: the command and its body, or nothing.
export function meaning(key, { state, episode, next_episode_in_s: nextS, reset_time_s: resetS }) {
  const taken = episode && { episode_id: episode.episode_id };
  const followed = resetS !== null && resetS !== undefined;
  switch (key) {
    case "ArrowRight":
      if (state === "recording") return ["save_episode", taken];
      return isIdle(state) ? ["start_episode", {}] : undefined;
    case "ArrowLeft":
      return state === "recording" ? ["discard_episode", taken] : undefined;
    case " ":
      if (followed && (state === "recording" || nextS !== null)) return ["pause", {}];
      return isIdle(state) ? ["start_episode", {}] : undefined;
    case "Escape":
      return ["close", {}];
    default:
      return undefined;
  }
}

// Space presses the button that has the focus; other keys mean nothing to one.
export const typing = ({ key, target, ctrlKey, altKey, metaKey, repeat }) =>
  repeat || ctrlKey || altKey || metaKey || target.matches("input, textarea, select") || (key === " " && target.matches("button, summary, a"));

// A dialog has keys of its own.
export const isBeside = () => document.querySelector("dialog[open]") !== null;

// Listens for take keys; `session` answers the one that is meant, `told` is called with what became of a command.
export function listen(session, told) {
  document.addEventListener("keydown", async (event) => {
    const shown = typing(event) || !KEYS.has(event.key) || isBeside() ? undefined : session();
    if (!shown) return;
    event.preventDefault();
    const address = `/api/projects/${shown.project_id}/recordings/${shown.id}`;
    try {
      // As it is now: what the page shows may be a second old, and the same key starts and saves.
      const [command, body] = meaning(event.key, await get(address)) ?? [];
      if (command) await post(`${address}:${command}`, body);
      told(null);
    } catch (error) {
      sound("trouble");
      told(error);
    }
  });
}

// Which sound a session calls for that was as `before` and is as `now`.
export function cue(before, now) {
  if (!before || !now || before.id !== now.id || isPractice(now)) return undefined;
  if ((now.interrupted?.length ?? 0) > (before.interrupted?.length ?? 0)) return "trouble";
  if (now.episodes_saved > before.episodes_saved) return "saved";
  if (now.state === before.state) return undefined;
  if (now.state === "recording") return "started";
  if (now.state === "failed") return "trouble";
  return before.state === "recording" ? "stopped" : undefined;
}

let audio;

// A browser lets a page be heard only once somebody has pressed something on it.
export function sound(name) {
  document.body.dataset.heard = name;
  if (!navigator.userActivation?.hasBeenActive) return;
  audio ??= new AudioContext();
  let at = audio.currentTime;
  for (const [frequency, seconds] of SOUNDS[name]) {
    const tone = new OscillatorNode(audio, { frequency });
    const gain = new GainNode(audio, { gain: LOUDNESS });
    tone.connect(gain).connect(audio.destination);
    tone.start(at);
    tone.stop(at += seconds);
    tone.onended = () => gain.disconnect();
  }
}
