// The wall: shows the document that came with the page, then each that the server sends.
import { draw, fitNumbers } from "./cards.js";
import { el } from "./dom.js";
import { explain } from "./explain.js";
import { Feed } from "./feed.js";
import { celebrate } from "./moment.js";
import { language, minute, monthAndYear, named, number, say, time, words } from "./words.js";

const BEHIND_AFTER = 60;
const RELOAD_AFTER = 5_000;
const NAMED = 3;
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const build = document.querySelector("meta[name=build]").content;
let wall = JSON.parse(byId("first").textContent);
let peopleHidden = localStorage.getItem("salesfx-people") === "hidden";

byId("wall").hidden = false;
byId("about").textContent = words.about;
byId("keys").textContent = words.keys;
if (root.dataset.theme === "auto" && localStorage.getItem("salesfx-theme")) root.dataset.theme = localStorage.getItem("salesfx-theme");

const feed = new Feed({ wall: arrived, state: showState });
if (wall !== null) arrived(wall);
else showState();
new ResizeObserver(fitNumbers).observe(byId("cards"));
document.fonts.ready.then(fitNumbers);

function arrived(document_) {
  wall = document_;
  // A server of another version has another page.
  if (wall.build !== build) setTimeout(() => location.reload(), RELOAD_AFTER * (1 + Math.random()));
  byId("month").textContent = monthAndYear(wall.month.month);
  showPeople();
  draw(wall, (metric) => explain(metric, wall));
  showFlow();
  celebrate(wall);
  showState();
  // For whoever measures how long an event takes to get here.
  requestAnimationFrame(() => requestAnimationFrame(() => { root.dataset.painted = String(Date.now()); }));
}

function showPeople() {
  byId("people").hidden = peopleHidden || !wall.show_salespeople;
}

/** Says how the lead flow is, and names the sources from which nothing, or little, comes. */
function showFlow() {
  const flow = wall.lead_flow;
  const place = byId("flow");
  place.dataset.state = flow.state;
  place.title = language === "en" ? flow.sentence : "";
  place.replaceChildren(el("b", {}, sentence(flow)), ...quietSources(flow));
}

function sentence(flow) {
  const window = flow.windows.find((each) => each.rings && (flow.state !== "silent" || each.window === "since_last_lead")) ?? flow.windows[0];
  if (flow.state === "feed_broken") return feedTroubles() || words.flow.feed_broken;
  if (flow.state === "silent") {
    return say(words.flow.silent, { time: minute(Date.parse(flow.last_lead_before), wall.timezone), expected: number(window?.expected ?? 0) });
  }
  if (flow.state !== "low") return words.flow[flow.state];
  const days = parseInt(window.window, 10);
  return say(days === 1 ? words.flow.low_day : words.flow.low, { observed: number(window.observed), expected: number(window.expected), days });
}

/** Names the feeds that went silent, and what does not get through, each with since when. */
function feedTroubles() {
  return ["stuck", "silent", "refused"].flatMap((kind) => {
    const found = wall.feed.troubles.filter((each) => each.kind === kind);
    if (!found.length) return [];
    const names = found.map((each) => words.topics[each.name] ?? each.name);
    const since = Math.min(...found.map((each) => Date.parse(each.since)));
    return [say(words.feed[kind], { names: listed(names), time: minute(since, wall.timezone) }, names.length)];
  }).join(" · ");
}

function listed(names) {
  if (names.length <= NAMED) return names.join(", ");
  return `${names.slice(0, NAMED - 1).join(", ")} ${say(words.more, { count: names.length - NAMED + 1 })}`;
}

function quietSources(flow) {
  const inState = (state) => Object.entries(flow.by_source).filter(([, each]) => each.state === state).map(([name]) => named(name));
  return ["silent", "low"].flatMap((state) => {
    const sources = inState(state);
    return sources.length ? [el("span.quiet", {}, ` ${say(words[`${state}_sources`], { sources: listed(sources) })}`)] : [];
  });
}

/** Says whether the numbers are of now, and if not, since when not and why. */
function showState() {
  const [kind, text] = connection();
  const place = byId("connection");
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = kind;
  document.body.classList.toggle("stale", kind === "stale");
}

function connection() {
  const zone = wall?.timezone;
  const asOf = wall === null ? "" : ` · ${say(words.as_of, { time: time(Date.parse(wall.at), zone) })}`;
  if (feed.lostAt !== null) return [feed.stale ? "stale" : "waiting", say(words.lost, { time: time(feed.heardAt, zone) })];
  if (feed.trouble !== null) return ["stale", words.trouble[feed.trouble] + asOf];
  if (wall === null) return ["waiting", words.connecting];
  const { kafka_answers, lag, last_commit } = wall.feed;
  if (kafka_answers === false) return ["stale", words.kafka_away + asOf];
  if (lag > 0 && Date.now() / 1000 - (last_commit ?? 0) > BEHIND_AFTER) {
    return ["stale", say(words.behind, { lag: number(lag), time: last_commit === null ? "–" : time(last_commit * 1000, zone) }, lag)];
  }
  if (wall.lead_flow.state === "feed_broken") return ["stale", words.incomplete + asOf];
  return ["live", words.live];
}

const KEYS = {
  s() {
    peopleHidden = !peopleHidden;
    localStorage.setItem("salesfx-people", peopleHidden ? "hidden" : "shown");
    if (wall !== null) showPeople();
    fitNumbers();
  },
  t() {
    const dark = root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("salesfx-theme", root.dataset.theme);
  },
  l() {
    const address = new URL(location);
    address.searchParams.set("lang", language === "bg" ? "en" : "bg");
    location.assign(address);
  },
};
const KEY_CODES = { KeyS: "s", KeyT: "t", KeyL: "l" }; // where the key is, so that a Cyrillic keyboard has them too

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("explain").open) return;
  KEYS[KEY_CODES[event.code]]?.();
});
