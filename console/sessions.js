// What a recording session is doing, in the words of whoever stands beside the robot.

// Then a person has to do something about the disk during the next episodes.
const SOON_S = 1800;
const ENDED = new Set(["closed", "failed"]);

export const isOpen = (session) => !ENDED.has(session.state);

export const isPractice = (session) => session?.dataset_id === null;

// The session with what its owner says of it now.
export function withNumbers(session, { episode, next_episode_in_s }) {
  const isTheSame = session.episode?.episode_id === episode?.episode_id;
  return { ...session, next_episode_in_s, episode: isTheSame && episode ? { ...session.episode, ...episode } : session.episode };
}

// Rows of {id, value, warn} to show; `id` is the label.
export function describe(session) {
  if (!session) return [{ id: "Session", value: "none open" }];
  return isPractice(session) ? practice(session) : recording(session);
}

function practice({ state, episode }) {
  return [
    { id: "Session", value: state === "opening" ? "opening" : "practice, nothing is written" },
    { id: "Robot", value: robotWords(episode?.robot), warn: Boolean(episode?.robot?.last_error) },
  ];
}

function robotWords(robot) {
  if (!robot) return "waiting";
  if (robot.last_error) return robot.last_error;
  return robot.success ? "done: the block is on its target" : "pushing the block";
}

function disk({ disk_free_bytes: free, recordable_s: seconds }) {
  if (free === undefined || free === null) return [];
  const room = `${(free / 1e9).toFixed(1)} GB free`;
  if (seconds === null) return [{ id: "Disk", value: room }];
  return [{ id: "Disk", value: `${room}, for ${lasting(seconds)}`, warn: seconds < SOON_S }];
}

function lasting(seconds) {
  const hours = seconds / 3600;
  if (hours >= 100) return "days";
  return hours >= 2 ? `${Math.floor(hours)} h` : `${Math.floor(seconds / 60)} min`;
}

function recording({ state, task, episode, episodes_saved, interrupted, episodes, next_episode_in_s: nextS }) {
  const of = episodes ? ` of ${episodes}` : "";
  return [
    { id: "Session", value: state },
    ...(nextS === null || nextS === undefined ? [] : [{ id: "Put things back", value: `next in ${Math.ceil(nextS)} s` }]),
    { id: "Task", value: episode?.task ?? task },
    { id: "Row", value: episode?.row ?? "–" },
    { id: "Measured fps", value: episode?.measured_fps?.toFixed(1) ?? "–" },
    { id: "Dropped", value: episode?.dropped ?? "–", warn: episode?.dropped > 0 },
    { id: "Stale", value: episode?.stale ?? "–", warn: episode?.stale > 0 },
    ...disk(episode ?? {}),
    { id: "Episodes saved", value: `${episodes_saved}${of}` },
    ...(interrupted?.length ? [{ id: "Interrupted", value: interrupted.length, warn: true }] : []),
  ];
}
