/**
 * What every page of the examples has: who looks at it, its one realtime connection, and the status pill.
 *
 * A module runs once a page, so all panels of a page that import `realtime` share one WebSocket.
 */

import { Realtime } from "/shared/realtime.js";

const ADJECTIVES = ["Amber", "Brisk", "Calm", "Clever", "Gentle", "Lucky", "Mellow", "Quiet", "Sunny", "Vivid"];
const ANIMALS = ["Badger", "Crane", "Falcon", "Fox", "Heron", "Lynx", "Otter", "Panda", "Robin", "Wren"];
const STATUS_TEXT = {
  idle: "Connecting",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  closed: "Closed",
};

/** The value of a query parameter, trimmed and bounded, or `fallback`. */
export function parameter(name, fallback, longest = 40) {
  return new URLSearchParams(location.search).get(name)?.trim().slice(0, longest) || fallback;
}

/** A query parameter that becomes part of a topic's name: letters, digits, "-", "_" and "." only. */
export function topicParameter(name, fallback) {
  return parameter(name, fallback).replace(/[^\w.-]+/g, "-");
}

/** Who looks at the page: `?user=NAME`, or a guest who stays the same in this window. */
export const user = identify();

export const realtime = new Realtime({ projectId: document.documentElement.dataset.project, userId: user.id });

/** Make an element: `element("p", { className: "hint" }, "text", child)`. Text stays text, whatever is in it. */
export function element(name, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const node = Object.assign(document.createElement(name), rest);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

/** A round mark with a person's initials, in a colour that follows from the id. Decoration: the name stands beside it. */
export function avatar(id, name) {
  const words = name.split(/\s+/).filter(Boolean);
  const initials = words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...name].slice(0, 2).join("");
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) % 9973;
  const mark = element("span", { className: "avatar", dataset: { hue: hash % 8 } }, initials.toUpperCase());
  mark.setAttribute("aria-hidden", "true");
  return mark;
}

function identify() {
  const asked = parameter("user", "");
  if (asked) return { id: asked, name: asked };
  const kept = recall();
  if (kept) return kept;
  const pick = (words) => words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];
  const name = `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
  const guest = { id: `${name.toLowerCase().replace(" ", "-")}-${crypto.randomUUID().slice(0, 4)}`, name };
  remember(guest);
  return guest;
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem("flarelet-guest"));
  } catch {
    return null; // storage may be forbidden; a new guest is no harm
  }
}

function remember(guest) {
  try {
    sessionStorage.setItem("flarelet-guest", JSON.stringify(guest));
  } catch {
    // see recall
  }
}

const pill = document.querySelector("[data-testid=status]");
realtime.onStatus((status) => {
  pill.dataset.state = status;
  pill.textContent = STATUS_TEXT[status];
});

// A page that goes away says so, and its user leaves the room at once; a page that comes back from the cache connects.
addEventListener("pagehide", () => realtime.close());
addEventListener("pageshow", (event) => event.persisted && realtime.connect());

// Links to the other examples keep the query, so that one keeps one's name.
for (const link of document.querySelectorAll("a[data-keep-query]")) link.search = location.search;

// A second window is somebody else in the same room.
for (const link of document.querySelectorAll("a[data-second-window]")) {
  const query = new URLSearchParams(location.search);
  query.delete("user");
  link.href = `${location.pathname}?${query}`;
}

realtime.connect();
