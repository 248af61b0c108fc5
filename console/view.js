// Draws what the server says, changing only what changed: a video must not restart because a number moved.

import { curveOf, forgetCurve } from "/console/curve.js";
import { showDatasets } from "/console/datasets.js";
import { element, keep } from "/console/elements.js";
import { Overlay } from "/console/overlay.js";
import { describe, isPractice } from "/console/sessions.js";
import { StillPlayer } from "/console/stills.js";
import { WhepPlayer } from "/console/whep.js";

const $ = (id) => document.getElementById(id);
const players = new Map();
const overlays = new Map();
const JOBS_SHOWN = 8;

export function showProjects(projects) {
  $("no-projects").hidden = projects.length > 0;
  keep($("projects"), projects, makeProject, updateProject, forgetProject);
}

function forgetProject(card) {
  card.querySelectorAll(".cameras > figure").forEach(forgetCamera);
  showDatasets(card.querySelector(".datasets"), []);
  overlays.get(card).forget();
  overlays.delete(card);
}

export const isUnfolded = (id) => document.querySelector(`details[data-id="${id}"]`)?.open ?? false;

// Open a project's card and bring it into view.
export function showProject(id) {
  const card = document.querySelector(`details[data-id="${id}"]`);
  if (!card) return;
  card.open = true;
  card.scrollIntoView({ block: "nearest" });
}

function makeProject() {
  const card = element("details", "project");
  card.open = $("projects").children.length === 0;
  const cameras = element("div", "cameras");
  const overlay = new Overlay(cameras);
  overlays.set(card, overlay);
  card.append(element("summary"), element("dl", "session"), overlay.node, cameras, element("div", "datasets"));
  return card;
}

// Closed projects show no video, so that a server with many cameras is not asked for all of them at once.
function updateProject(card, project) {
  if (project.session && card.dataset.session !== project.session.id) card.open = true;
  card.dataset.session = project.session?.id ?? "";
  card.querySelector("summary").textContent = project.name;
  showSession(card.querySelector(".session"), project.session);
  const cameras = card.open ? project.cameras.map((camera) => ({ ...camera, project: project.id })) : [];
  keep(card.querySelector(".cameras"), cameras, makeCamera, updateCamera, forgetCamera);
  overlays.get(card).update(card.open ? project : {});
  showDatasets(card.querySelector(".datasets"), card.open ? project.datasets ?? [] : []);
}

function showSession(list, session) {
  list.dataset.state = session?.state ?? "none";
  list.dataset.practice = String(isPractice(session));
  keep(list, describe(session), makeEntry, updateEntry);
}

function makeEntry({ id }) {
  const entry = element("div");
  entry.append(element("dt", "", id), element("dd"));
  return entry;
}

function updateEntry(entry, { value, warn }) {
  const shown = entry.querySelector("dd");
  shown.textContent = String(value);
  shown.dataset.warn = String(Boolean(warn));
}

function makeCamera(camera) {
  const figure = element("figure");
  const video = element("video");
  Object.assign(video, { autoplay: true, muted: true, playsInline: true });
  const image = element("img");
  image.hidden = true;
  const caption = element("figcaption");
  caption.append(element("span", "name"), element("span", "note"));
  figure.append(video, image, caption);
  const player = play(figure, `/api/projects/${camera.project}/cameras/${camera.id}`);
  players.set(figure, player);
  player.start();
  return figure;
}

// Still pictures stand in while the browser finds no way for video, which is tried again all the time.
function play(figure, address) {
  const video = figure.querySelector("video");
  const note = figure.querySelector(".note");
  const stills = new StillPlayer(figure.querySelector("img"), `${address}/snapshot`);
  return new WhepPlayer(video, `${address}/whep`, (state, text) => {
    if (state === "unreachable") stills.start();
    else if (state !== "connecting") stills.stop();
    if (state === "connecting" && stills.running) return;
    note.dataset.state = state;
    note.textContent = text;
  });
}

function updateCamera(figure, camera) {
  figure.querySelector(".name").textContent = camera.name;
  figure.querySelector("video").dataset.camera = camera.name;
  figure.querySelector("video").setAttribute("aria-label", `Live video of camera ${camera.name}`);
  figure.querySelector("img").alt = `Still pictures of camera ${camera.name}`;
}

function forgetCamera(figure) {
  players.get(figure)?.stop();
  players.delete(figure);
}

export const stopPlayers = () => players.forEach((player) => player.stop());

export const resumePlayers = () => players.forEach((player) => player.start());

export function showJobs(jobs) {
  $("no-jobs").hidden = jobs.length > 0;
  keep($("jobs"), jobs.slice(-JOBS_SHOWN).reverse(), makeJob, updateJob, (item) => forgetCurve(item.dataset.id));
}

function makeJob(job) {
  const item = element("li");
  const bar = element("progress");
  bar.max = 100;
  bar.setAttribute("aria-label", `Progress of ${job.type} job`);
  item.append(element("span", "name"), element("span", "status"), bar, element("span", "percent"), element("span", "message"));
  if (job.type === "training") item.append(curveOf(job));
  return item;
}

function updateJob(item, job) {
  const curve = item.querySelector(".curve");
  if (curve && job.status === "running" && item.dataset.status !== "running") curve.open = true;
  item.dataset.status = job.status;
  item.querySelector(".name").textContent = job.payload?.model_name ?? job.type;
  item.querySelector(".status").textContent = job.status;
  item.querySelector("progress").value = job.progress;
  item.querySelector(".percent").textContent = `${Math.round(job.progress)} %`;
  item.querySelector(".message").textContent = jobWords(job);
}

// Why it ended, or else what it is doing.
function jobWords({ reason, message, extra_info }) {
  if (reason) return reason;
  const loss = extra_info?.["train/loss_step"];
  return Number.isFinite(loss) ? `${message} · loss ${loss.toPrecision(3)}` : message;
}
