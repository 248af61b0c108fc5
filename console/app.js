// The operator's page: shows projects with live cameras, sessions and jobs. It asks the server when something changed,
// is told what a session's numbers are, and asks once a second for what it does not hear of.

import { get } from "/console/api.js";
import { refreshCurves, tellCurve } from "/console/curve.js";
import { watchHealth } from "/console/health.js";
import { LiveUpdates } from "/console/live.js";
import { sampleOf, startSample, stopSample } from "/console/sample.js";
import { isOpen, isPractice, withNumbers } from "/console/sessions.js";
import { KEYS_SHOWN, cue, listen, recordable, sound } from "/console/takes.js";
import { isUnfolded, resumePlayers, showJobs, showProject, showProjects, stopPlayers } from "/console/view.js";

const EVERY_MS = 1000;
const CALM_EVERY_MS = 15000;
const CHANGED_MS = 50;
const NUMBERS_LAST_MS = 3000;
const LONGEST_WAIT_MS = 10000;
// Of folded projects one line is shown, so they are asked for only when something of theirs has changed, and all of
// them now and then: often where changes are not heard of.
const ALL_EVERY_MS = 60000;
const ALL_UNHEARD_EVERY_MS = 5000;
const SHOWN_IN_PROJECTS = new Set(["camera", "recording"]);

const $ = (id) => document.getElementById(id);
let waitMs = EVERY_MS;
let timer;
let allAt = 0;
let shown = new Map();
let busy = false;
let moving = true;
let numbersAt = 0;
let looking = false;
let stale = false;
const changed = new Set();
const live = new LiveUpdates({
  told,
  changed(change) {
    note(change);
    lookAgain();
  },
  turned() {
    if (live.heard) refreshCurves();
    allAt = 0;
    lookAgain();
  },
});

// Which project has to be asked for anew.
function note({ aggregate, aggregate_id: id, data }) {
  if (!SHOWN_IN_PROJECTS.has(aggregate)) return;
  const isIts = ({ cameras, session }) => session?.id === id || cameras.some((camera) => camera.id === id);
  const project = data.project_id ?? [...shown.values()].find(isIts)?.id;
  if (project) changed.add(project);
  else allAt = 0;
}

// As soon as what is being asked is answered.
function lookAgain() {
  stale = true;
  if (!looking) poll();
}

async function look() {
  const isAnew = asksAnew();
  const [projects, jobs] = await Promise.all([get("/api/projects"), get("/api/jobs")]);
  const details = await Promise.all(projects.map((project) => (isAnew(project.id) ? detailsOf(project) : latest(project))));
  for (const { id, session } of details) {
    const heard = cue(shown.get(id)?.session, session);
    if (heard) sound(heard);
  }
  shown = new Map(details.map((project) => [project.id, project]));
  if (!live.heard) refreshCurves();
  moving = details.some((project) => project.session);
  showProjects(details);
  showJobs(jobs);
  showButtons(sampleOf(details)?.session);
  $("keys").textContent = KEYS_SHOWN;
  $("keys").hidden = !recordable(details);
}

// Whether a project is asked for in this look. What changes meanwhile is for the next one.
function asksAnew() {
  const all = Date.now() - allAt >= (live.heard ? ALL_EVERY_MS : ALL_UNHEARD_EVERY_MS);
  if (all) allAt = Date.now();
  const ids = new Set(changed);
  changed.clear();
  return (id) => all || ids.has(id) || isUnfolded(id);
}

function showButtons(session) {
  if (busy) return;
  $("start-sample").textContent = isPractice(session) ? "Another round" : "Start the sample cell";
  const isTaken = Boolean(session) && !isPractice(session);
  $("start-sample").disabled = isTaken;
  $("start-sample").title = isTaken ? "The sample cell has a session open that records: stop that first." : "";
  $("stop-sample").disabled = !session;
}

async function detailsOf(project) {
  const base = `/api/projects/${project.id}`;
  const [cameras, recordings] = await Promise.all([get(`${base}/cameras`), get(`${base}/recordings`)]);
  return { ...project, cameras, session: recordings.find(isOpen) };
}

async function latest(project) {
  return shown.has(project.id) ? { ...shown.get(project.id), ...project } : detailsOf(project);
}

async function poll() {
  clearTimeout(timer);
  looking = true;
  stale = false;
  try {
    await look();
    waitMs = EVERY_MS;
    $("connection").textContent = live.heard ? "Connected" : "Connected, without live updates: asking every second";
    document.body.dataset.ready = "true";
  } catch (error) {
    allAt = 0;
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    $("connection").textContent = `${error.message} Trying again …`;
  }
  $("connection").dataset.lost = String(waitMs > EVERY_MS);
  looking = false;
  clearTimeout(timer);
  timer = setTimeout(poll, nextMs());
}

function nextMs() {
  if (document.hidden) return CALM_EVERY_MS;
  if (waitMs > EVERY_MS) return waitMs;
  if (stale) return CHANGED_MS;
  const isTold = !moving || Date.now() - numbersAt < NUMBERS_LAST_MS;
  return live.heard && isTold ? CALM_EVERY_MS : EVERY_MS;
}

function told({ type, aggregate_id: id, data }) {
  if (type === "job.metrics") tellCurve(id, data);
  if (type !== "recording.rows") return;
  numbersAt = Date.now();
  const project = [...shown.values()].find(({ session }) => session?.id === id);
  if (!project || looking) return;
  project.session = withNumbers(project.session, data);
  showProjects([...shown.values()]);
}

function watch() {
  watchHealth($("health"));
  if (document.hidden) return live.stop();
  live.start();
  poll();
}

async function press(button, words, action) {
  busy = true;
  for (const each of [$("start-sample"), $("stop-sample")]) each.disabled = true;
  const before = button.textContent;
  button.textContent = words;
  $("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
  button.textContent = before;
  button.blur(); // a disabled button would keep the take keys to itself
  busy = false;
  await poll();
}

function tell(error) {
  $("problem").textContent = error?.message ?? "";
  $("problem").hidden = !error;
  return poll();
}

listen(() => recordable([...shown.values()]), tell);
$("start-sample").addEventListener("click", (event) => press(event.currentTarget, "Starting …", async () => {
  const project = await startSample();
  await look();
  showProject(project.id);
}));
$("stop-sample").addEventListener("click", (event) => press(event.currentTarget, "Stopping …", stopSample));
// A toggle does not bubble, so it is caught on its way down.
$("projects").addEventListener("toggle", ({ target }) => {
  if (!target.matches(".project")) return;
  showProjects([...shown.values()]);
  lookAgain();
}, true);
document.addEventListener("visibilitychange", watch);
window.addEventListener("pagehide", () => { live.stop(); stopPlayers(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) { watch(); resumePlayers(); } });
watch();
