// What people say of an episode, to be changed: its task, verdict, rating, tags and note.

import { button, element } from "/console/elements.js";

const VERDICTS = [["", "not said"], ["true", "success"], ["false", "failure"]];
const RATINGS = [["", "none"], ...[1, 2, 3, 4, 5].map((stars) => [String(stars), "★".repeat(stars)])];

export class Said {
  // `say` is called with what was changed, as PATCH takes it.
  constructor(episode, say, remove) {
    this.node = element("form", "said");
    this.task = field(this.node, "Task", Object.assign(element("input"), { required: true, maxLength: 500 }));
    this.success = field(this.node, "Verdict", choice(VERDICTS));
    this.rating = field(this.node, "Rating", choice(RATINGS));
    this.tags = field(this.node, "Tags, with commas between", element("input"));
    this.note = field(this.node, "Note", Object.assign(element("textarea"), { maxLength: 2000, rows: 2 }));
    const save = Object.assign(element("button", "", "Save"), { type: "submit" });
    this.saved = element("output");
    const buttons = element("p", "buttons");
    buttons.append(save, button("Delete episode", "Delete episode", remove, "quiet"), this.saved);
    this.node.append(buttons);
    this.node.addEventListener("submit", (event) => this.submit(event, say));
    this.node.addEventListener("input", () => { this.saved.textContent = ""; });
    this.fill(episode);
    this.saved.textContent = "";
  }

  fill({ tasks, success, rating, tags, note }) {
    this.known = { task: tasks[0], success, rating, tags, note };
    this.task.value = tasks[0];
    this.success.value = success ?? "";
    this.rating.value = rating ?? "";
    this.tags.value = tags.join(", ");
    this.note.value = note;
    this.saved.textContent = "Saved";
  }

  submit(event, say) {
    event.preventDefault();
    const said = {
      task: this.task.value.trim(),
      success: this.success.value === "" ? null : this.success.value === "true",
      rating: this.rating.value === "" ? null : Number(this.rating.value),
      tags: this.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean),
      note: this.note.value,
    };
    // Only what was changed: somebody else may have changed the rest meanwhile.
    say(Object.fromEntries(Object.entries(said).filter(([name, value]) => String(value) !== String(this.known[name]))));
  }
}

function field(form, words, control) {
  const label = element("label", "", words);
  label.append(control);
  form.append(label);
  return control;
}

function choice(options) {
  const made = element("select");
  for (const [value, words] of options) made.append(new Option(words, value));
  return made;
}
