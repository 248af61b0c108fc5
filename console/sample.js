// The sample cell of sample.json: a simulated PushT robot that a script drives, seen by two simulated cameras. The ids
// are those of SEED_DB, so pressing the button finds what is there; it makes what is missing.

import { ensure, get, known, post } from "/console/api.js";
import { isOpen } from "/console/sessions.js";

const FPS = 30;
const TAKEN = [409, 423];
const sample = await get("/console/sample.json");

export const sampleOf = (projects) => known(projects, sample.project);

const sessionsOf = (project) => `/api/projects/${project.id}/recordings`;

const openSession = async (project) => (await get(sessionsOf(project))).find(isOpen);

// Everything the cell needs, a practice session (nothing is written), and a new round in it. Answers the project.
export async function startSample() {
  const project = await ensure("/api/projects", sample.project);
  const environment = await ensureCell(project);
  const theirs = () => openSession(project);
  const wanted = { environment_id: environment.id, dataset_id: null, fps: FPS };
  const session = await theirs() ?? await orTheirs(post(sessionsOf(project), wanted), theirs);
  if (session.dataset_id === null) {
    const round = beginRound(`${sessionsOf(project)}/${session.id}`, session.episode);
    await orTheirs(round, async () => (await theirs())?.episode);
  }
  return project;
}

export async function stopSample() {
  const project = sampleOf(await get("/api/projects"));
  const session = project && await openSession(project);
  if (session) await post(`${sessionsOf(project)}/${session.id}:close`);
}

async function ensureCell(project) {
  const base = `/api/projects/${project.id}`;
  const [robot, ...cameras] = await Promise.all([
    ensure(`${base}/robots`, sample.robot),
    ...sample.cameras.map((camera) => ensure(`${base}/cameras`, camera)),
  ]);
  const environment = await ensure(`${base}/environments`, {
    ...sample.environment,
    robots: sample.environment.robots.map((used) => ({ ...used, robot_id: robot.id })),
    camera_ids: cameras.map((camera) => camera.id),
  });
  const dataset = { ...sample.dataset, project_id: project.id, environment_id: environment.id };
  await ensure(`${base}/datasets`, dataset, "/api/dataset");
  return environment;
}

// What somebody who pressed at the same moment has begun is as good.
async function orTheirs(ours, theirs) {
  try {
    return await ours;
  } catch (error) {
    const begun = TAKEN.includes(error.status) && await theirs();
    if (!begun) throw error;
    return begun;
  }
}

// The cell is set up anew and the script pushes again.
async function beginRound(session, episode) {
  if (episode) await post(`${session}:discard_episode`, { episode_id: episode.episode_id });
  await post(`${session}:start_episode`);
}
