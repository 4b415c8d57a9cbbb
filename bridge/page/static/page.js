// Keeps the page up to date: the server sends the pieces that changed. Without this script the page is whole, and still.
"use strict";

const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("clawback", { createHTML: (html) => html })
  : { createHTML: (html) => html };

const lists = [...document.querySelectorAll("[data-pieces]")];
const link = document.querySelector("[data-link]");
const later = new Map(); // What came while somebody was writing in that piece.

function listOf(key) {
  const name = key.startsWith("lane-") ? "lanes" : "";
  return lists.find((list) => list.dataset.pieces === name);
}

function placeOf(key) {
  return document.querySelector(`[data-piece="${CSS.escape(key)}"]`);
}

function isWrittenIn(place) {
  const fields = [...place.querySelectorAll("textarea, input:not([type=hidden]):not([type=checkbox])")];
  return fields.some((field) => field === document.activeElement || field.value !== field.defaultValue);
}

function fill(place, html) {
  const open = [...place.querySelectorAll("details[open]")].map((details) => details.dataset.name);
  const picked = place.querySelector("[name=run]:checked") !== null;
  const hadFocus = place.contains(document.activeElement) ? document.activeElement : null;
  const selector = hadFocus && focusSelector(hadFocus);
  place.innerHTML = policy.createHTML(html);
  for (const details of place.querySelectorAll("details")) {
    if (open.includes(details.dataset.name)) details.open = true;
  }
  const pick = place.querySelector("input[name=run][type=checkbox]");
  if (pick && picked) pick.checked = true;
  if (selector) place.querySelector(selector)?.focus();
  tidy(place);
}

function focusSelector(element) {
  const details = element.closest("details");
  if (element.tagName === "SUMMARY") return `details[data-name="${details.dataset.name}"] > summary`;
  if (element.hasAttribute("href")) return `[href="${CSS.escape(element.getAttribute("href"))}"]`;
  return element.name ? `[name="${element.name}"]` : element.tagName.toLowerCase();
}

function show(key, html) {
  const place = placeOf(key);
  if (place && isWrittenIn(place)) later.set(key, html);
  else if (place) fill(place, html);
  else if (listOf(key)) {
    const item = document.createElement("li");
    item.id = item.dataset.piece = key;
    item.className = "fresh";
    listOf(key).append(item);
    fill(item, html);
  }
}

function change(event) {
  const { order, pieces } = JSON.parse(event.data);
  for (const [key, html] of Object.entries(pieces)) show(key, html);
  announce();
  for (const list of lists) arrange(list, order.filter((key) => listOf(key) === list));
  draw();
}

function arrange(list, order) {
  const kept = new Set(order);
  for (const item of [...list.children]) {
    if (!kept.has(item.dataset.piece) && !isWrittenIn(item)) item.remove();
  }
  let next = list.firstElementChild;
  for (const key of order) {
    const item = placeOf(key);
    if (!item) continue;
    if (item === next) next = next.nextElementSibling;
    else list.insertBefore(item, next);
  }
}

document.addEventListener("focusout", () => {
  setTimeout(() => {
    for (const [key, html] of [...later]) {
      const place = placeOf(key);
      if (place && isWrittenIn(place)) continue;
      later.delete(key);
      if (place) fill(place, html);
    }
  });
});

// Keys of the card that has the focus itself: whoever writes in one of its fields writes.

document.addEventListener("keydown", (event) => {
  const card = event.target;
  if (!card.matches?.("[data-keys]") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "a") card.querySelector("button[value=approve]")?.click();
  if (event.key === "d") {
    card.querySelector(".deny input[name=text]")?.focus();
    event.preventDefault();
  }
});

// What waits for a person: in the title, and as the browser's own notification where somebody asked for these.

const title = document.title;
const asks = document.querySelector("[data-notify]");
let waiting = null;

function announce() {
  const count = document.querySelector(".bar .count");
  const now = count ? Number.parseInt(count.textContent.replace(/\D/g, ""), 10) : 0;
  document.title = now ? `(${now}) ${title}` : title;
  if (waiting !== null && now > waiting && document.hidden && mayNotify()) {
    const notice = new Notification("Clawback", { body: count.title, tag: "clawback", lang: document.documentElement.lang });
    notice.onclick = () => {
      window.focus();
      location.href = "/approvals";
    };
  }
  waiting = now;
}

function mayNotify() {
  return "Notification" in window && Notification.permission === "granted" && localStorage.clawbackNotify === "yes";
}

function offer() {
  if (!asks || !("Notification" in window) || !window.isSecureContext) return;
  asks.hidden = false;
  asks.setAttribute("aria-pressed", String(mayNotify()));
}

asks?.addEventListener("click", async () => {
  localStorage.clawbackNotify = mayNotify() ? "no" : "yes";
  if (Notification.permission === "default") await Notification.requestPermission();
  offer();
});

// The stream. A hidden page lets go of it, unless it is to notify: a browser has few connections to one server.

let stream = null;
let version = document.querySelector("[data-live]")?.dataset.live;

function follow() {
  if (stream || (document.hidden && !mayNotify()) || !version) return;
  const address = new URL(location.href);
  address.searchParams.set("since", version);
  address.hash = "";
  stream = new EventSource(address);
  stream.onopen = () => say("on");
  stream.onerror = () => {
    say("off");
    if (stream.readyState !== EventSource.CLOSED) return;
    // It was refused, and the browser does not ask again by itself: the login may be over.
    leave();
    setTimeout(check, 3000);
  };
  stream.addEventListener("change", (event) => {
    version = event.lastEventId;
    change(event);
  });
}

function leave() {
  stream?.close();
  stream = null;
}

async function check() {
  try {
    const answer = await fetch(location.href, { redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    else follow();
  } catch {
    setTimeout(check, 3000);
  }
}

function say(state) {
  if (!link) return;
  link.hidden = false;
  link.dataset.link = state;
}

document.addEventListener("visibilitychange", () => (document.hidden && !mayNotify() ? leave() : follow()));
addEventListener("pagehide", leave);
addEventListener("pageshow", follow);

// Times of day as they are here, and durations that go on.

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("sv-SE");

function tidy(place) {
  offerCopies(place);
  for (const time of place.querySelectorAll("time[data-clock]")) {
    const at = new Date(time.dateTime);
    const isToday = day.format(at) === day.format(new Date());
    time.textContent = isToday ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
    time.title = at.toLocaleString(document.documentElement.lang);
  }
}

// A button beside each text of a call, which copies it.

function offerCopies(place) {
  const label = document.querySelector("main").dataset.copy;
  if (!label || !navigator.clipboard) return;
  for (const text of place.querySelectorAll(".content pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = label;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "✓";
      setTimeout(() => (button.textContent = label), 1500);
    });
    const around = document.createElement("div");
    around.className = "copied";
    text.replaceWith(around);
    around.append(text, button);
  }
}

function lasted(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// The waterfall, for as long as its time goes by.

function draw() {
  const axis = document.querySelector("[data-begin]");
  if (!axis) return;
  const begin = Number(axis.dataset.begin);
  const end = Number(axis.dataset.end ?? Date.now() / 1000);
  const share = (part, least) => `${Math.min(100, Math.max(least, (100 * part) / (end - begin || 1))).toFixed(3)}%`;
  for (const bar of document.querySelectorAll("rect[data-at]")) {
    const at = Number(bar.dataset.at);
    bar.setAttribute("x", share(at - begin, 0));
    bar.setAttribute("width", share(Number(bar.dataset.until ?? end) - at, 0.4));
  }
  for (const tick of axis.querySelectorAll("[data-tick]")) {
    tick.textContent = lasted((end - begin) * Number(tick.dataset.tick));
  }
}

setInterval(() => {
  if (document.querySelector("[data-begin]:not([data-end])")) draw();
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = lasted(Math.max(0, Date.now() / 1000 - Number(element.dataset.since)));
  }
}, 500);

tidy(document);
announce();
offer();
follow();
