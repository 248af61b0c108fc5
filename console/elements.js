// What everything that is drawn is made of.

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// A button that says what it does also where its face is a sign.
export function button(face, label, press, className = "") {
  const made = element("button", className, face);
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", press);
  return made;
}

// One child of `parent` for each thing, by id and in order; `make` draws a new one, `update` brings it up to date.
export function keep(parent, things, make, update, forget = () => {}) {
  const wanted = new Set(things.map((thing) => thing.id));
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.id)) continue;
    forget(child);
    child.remove();
  }
  const known = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  for (const [index, thing] of things.entries()) {
    const child = known.get(thing.id) ?? make(thing);
    child.dataset.id = thing.id;
    // Only what is out of place is moved: a video that is moved starts anew.
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, thing);
  }
}

export const counted = (count, thing) => `${count} ${count === 1 ? thing : `${thing}s`}`;
