// A moment for a large deal that was won just now.
import { el } from "./dom.js";
import { money, named, say, words } from "./words.js";

const SHOWN_FOR = 12_000;
const waiting = [];
let known = null;
let showing = false;

/** Shows the deals that were not there before; those of the first document were. */
export function celebrate(wall) {
  const deals = wall.large.won_deals;
  if (deals === null) return;
  const fresh = known === null ? [] : deals.filter((deal) => !known.has(deal.id) && isRecent(deal, wall));
  known = new Set([...(known ?? []), ...deals.map((deal) => deal.id)]);
  waiting.push(...fresh.slice(0, 3).map((deal) => ({ deal, currency: wall.month.currency })));
  if (!showing) next();
}

// What an import brings of earlier days is no news.
function isRecent(deal, wall) {
  const today = Date.parse(wall.at.slice(0, 10));
  return today - Date.parse(deal.date) <= 24 * 3600 * 1000;
}

function next() {
  const place = document.getElementById("moment");
  const first = waiting.shift();
  showing = first !== undefined;
  place.replaceChildren();
  place.classList.toggle("shown", showing);
  if (!showing) return;
  const value = money(first.deal.value, first.currency);
  const who = first.deal.salesperson;
  place.append(el("strong", {}, words.won), el("span", {}, who === null ? value : say(words.won_by, { value, name: named(who) })));
  setTimeout(next, SHOWN_FOR);
}
