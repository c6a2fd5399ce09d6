// Searches the site without a server: every word that was typed begins a word of what is found.
"use strict";
const own = document.currentScript.dataset;
const field = document.getElementById("search");
const list = document.getElementById("found");
const MOST = 12;

// The index is a script, since pages that were opened from disk may read no other file.
const index = () => new Promise((ready, failed) => {
  if (window.searchable) return ready(window.searchable);
  const script = document.createElement("script");
  script.src = own.index;
  script.onload = () => ready(window.searchable);
  script.onerror = failed;
  document.head.append(script);
});

const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);

// Words of a title count ten times, a title that is what was typed comes first.
const worth = (entry, typed) => {
  const title = words(entry.title), text = words(entry.text);
  let sum = title.join(" ") === typed.join(" ") ? 1000 : 0;
  for (const word of typed) {
    const inTitle = title.some((t) => t.startsWith(word));
    if (!inTitle && !text.some((t) => t.startsWith(word))) return 0;
    sum += inTitle ? 10 : 1;
  }
  return sum;
};

const shown = (entry, typed) => {
  const item = document.createElement("li"), link = document.createElement("a"), said = document.createElement("small");
  link.href = own.base + entry.location;
  link.textContent = entry.title;
  const at = entry.text.toLowerCase().indexOf(typed[0]);
  said.textContent = entry.text.slice(Math.max(0, at - 30), Math.max(0, at - 30) + 120);
  link.append(said);
  item.append(link);
  return item;
};

const look = async () => {
  const entries = await index(), typed = words(field.value);
  const found = typed.length === 0 ? [] : entries.map((entry) => [worth(entry, typed), entry]).filter(([sum]) => sum > 0);
  found.sort(([a], [b]) => b - a);
  list.replaceChildren(...found.slice(0, MOST).map(([, entry]) => shown(entry, typed)));
  if (typed.length && found.length === 0) list.replaceChildren(document.createTextNode("nothing has all of these words"));
  list.hidden = typed.length === 0;
};

field.addEventListener("input", look);
field.form.addEventListener("submit", (event) => {
  event.preventDefault();
  list.querySelector("a")?.click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  }
  if (event.key === "Escape") list.hidden = true;
});
document.addEventListener("click", (event) => {
  if (!field.form.contains(event.target)) list.hidden = true;
});
