// What is wrong with the server, for whoever stands beside the robot: a disk that runs full is told before it is.

import { get } from "/console/api.js";

const EVERY_MS = 30000;

let timer;

export function watchHealth(list) {
  clearTimeout(timer);
  if (!document.hidden) look(list);
}

async function look(list) {
  try {
    const { problems } = await get("/api/health");
    list.replaceChildren(...problems.map(item));
    list.hidden = !problems.length;
  } catch {
    list.hidden = true; // that the server does not answer is told elsewhere
  }
  clearTimeout(timer);
  timer = setTimeout(() => watchHealth(list), EVERY_MS);
}

function item({ what, detail }) {
  const made = document.createElement("li");
  made.textContent = `${what}: ${detail}.`;
  return made;
}
