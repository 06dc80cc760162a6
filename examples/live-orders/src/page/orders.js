/**
 * The orders panel. The buttons only ask the server; what is on the screen follows the committed row changes.
 *
 * After each (re)connect the whole board is fetched. Changes that arrive meanwhile wait and are applied to it: they
 * carry whole rows, so applying one that the board already contains changes nothing.
 */

import { element, realtime } from "/shared/page.js";

const NEXT = { new: "Pack", packed: "Ship", shipped: "Deliver" };
const FEED_LENGTH = 30;

const panel = document.getElementById("orders");
const find = (testId) => panel.querySelector(`[data-testid=${testId}]`);
const list = find("orders");
const form = panel.querySelector("form");
const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

const orders = new Map(); // id -> row
const rows = new Map(); // id -> <li>
const topic = realtime.channel("table/orders");
let waiting = null; // changes that arrived while the board is being fetched

// --- the board --------------------------------------------------------------------------------------------------

function apply({ operation, data, old }) {
  const before = orders.get(data.id);
  if (operation === "DELETE") remove(data.id);
  else put(data, { isFresh: true });
  report(operation, data, before ?? old);
}

function put(order, { isFresh = false } = {}) {
  const known = orders.get(order.id);
  if (known && Object.keys(order).every((column) => known[column] === order[column])) return;
  orders.set(order.id, order);
  let row = rows.get(order.id);
  if (!row) {
    row = makeRow(order.id);
    rows.set(order.id, row);
    list.insertBefore(row, [...list.children].find((other) => Number(other.dataset.id) < order.id) ?? null);
  }
  fill(row, order);
  if (isFresh) flash(row);
}

function remove(id) {
  if (!orders.delete(id)) return;
  const row = rows.get(id);
  // Who works with the keyboard is not thrown back to the top of the page.
  if (row.contains(document.activeElement)) (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button:enabled")?.focus();
  row.remove();
  rows.delete(id);
}

function makeRow(id) {
  const row = element(
    "li",
    { className: "order", dataset: { testid: "order", id } },
    element("p", { className: "order-who" }, element("span", { className: "order-id" }, `#${id}`), element("span", { className: "order-customer" })),
    element("p", { className: "order-status" }),
    element("p", { className: "order-amount" }),
    element(
      "div",
      { className: "order-actions" },
      element("button", { className: "button button-quiet button-small", type: "button", dataset: { testid: "advance" } }),
      element("button", { className: "button button-quiet button-small", type: "button", dataset: { testid: "delete" } }, "Delete"),
    ),
  );
  row.querySelector("[data-testid=advance]").addEventListener("click", () => advance(id));
  row.querySelector("[data-testid=delete]").addEventListener("click", () => ask(`/api/orders/${id}`, "DELETE"));
  return row;
}

function fill(row, { id, customer, amount_cents, status }) {
  const text = (selector, value) => (row.querySelector(selector).textContent = value);
  row.dataset.status = status;
  text(".order-customer", customer);
  text(".order-status", status[0].toUpperCase() + status.slice(1));
  text(".order-amount", money.format(amount_cents / 100));
  const button = row.querySelector("[data-testid=advance]");
  button.textContent = NEXT[status] ?? "Done";
  button.disabled = !(status in NEXT);
  button.setAttribute("aria-label", status in NEXT ? `${NEXT[status]} order ${id}` : `Order ${id} is delivered`);
  row.querySelector("[data-testid=delete]").setAttribute("aria-label", `Delete order ${id}`);
}

function flash(row) {
  row.dataset.fresh = "false";
  void row.offsetWidth; // start the animation anew when a row changes twice in a moment
  row.dataset.fresh = "true";
}

function showFigures() {
  const all = [...orders.values()];
  find("order-count").textContent = String(all.length);
  find("revenue").textContent = money.format(all.reduce((sum, order) => sum + order.amount_cents, 0) / 100);
  find("open-count").textContent = String(all.filter(({ status }) => status !== "delivered").length);
  panel.querySelector(".empty").hidden = all.length > 0;
}

function report(operation, order, before) {
  let what = `#${order.id}`;
  if (operation === "INSERT") what += ` ${order.customer}, ${money.format(order.amount_cents / 100)}`;
  else if (operation === "UPDATE") what += before ? ` ${before.status} → ${order.status}` : ` ${order.status}`;
  panel.querySelector(".orders-quiet").hidden = true;
  const feed = find("changes");
  feed.prepend(element("li", { dataset: { operation } }, element("b", {}, operation), ` ${what}`));
  if (feed.children.length > FEED_LENGTH) feed.lastElementChild.remove();
}

// --- keeping up -------------------------------------------------------------------------------------------------

async function load() {
  const changes = (waiting = []);
  try {
    const response = await fetch("/api/orders");
    if (!response.ok) throw new Error(`GET /api/orders: HTTP ${response.status}`);
    const board = (await response.json()).orders;
    if (waiting !== changes) return; // a later reconnect fetches anew
    const present = new Set(board.map(({ id }) => id));
    for (const id of [...orders.keys()]) if (!present.has(id)) remove(id);
    for (const order of board) put(order);
  } finally {
    if (waiting === changes) {
      waiting = null;
      changes.forEach(apply);
    }
  }
  showFigures();
}

topic.onChange((change) => {
  if (waiting) return void waiting.push(change);
  apply(change);
  showFigures();
});
topic.onReady(() => load().catch((error) => say(error.message)));
// The first request also creates the table, which must be there before its changes can be followed.
load().catch((error) => say(error.message)).then(() => topic.subscribe());

// --- asking the server ------------------------------------------------------------------------------------------

function advance(id) {
  return ask(`/api/orders/${id}/advance`, "POST", { from: orders.get(id)?.status });
}

/** Send a request; show what the server has against it. Returns whether it was accepted. */
async function ask(path, method, body) {
  say("");
  try {
    const response = await fetch(path, {
      method,
      body: body && JSON.stringify(body),
      headers: body && { "content-type": "application/json" },
    });
    if (response.ok) return true;
    const { error } = await response.json();
    say(error[0].toUpperCase() + error.slice(1) + ".");
  } catch {
    say("The server cannot be reached.");
  }
  return false;
}

function say(problem) {
  find("problem").textContent = problem;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [customer, amount] = [find("new-customer"), find("new-amount")];
  const order = { customer: customer.value, amount: amount.value.trim().replace(",", ".") };
  if (!(await ask("/api/orders", "POST", order))) return;
  customer.value = amount.value = "";
  customer.focus();
});
