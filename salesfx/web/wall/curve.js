// A small curve of 13 months, of which the last is not over.
import { svg } from "./dom.js";
import { monthName, say, shortMonth, words } from "./words.js";

const WIDTH = 320, HEIGHT = 120, EDGE = 10;

/** Draws values of months; those that are null are left out. `write` puts a value into words. */
export function curve(what, months, values, write) {
  const most = Math.max(...values.filter((value) => value !== null), 0) || 1;
  const x = (place) => EDGE + (place * (WIDTH - 2 * EDGE)) / (values.length - 1);
  const y = (value) => HEIGHT - EDGE - (value * (HEIGHT - 2 * EDGE)) / most;
  const points = values.map((value, place) => (value === null ? null : [x(place), y(value)]));
  const past = points.slice(0, -1).filter((point) => point !== null);
  const now = points.at(-1);
  const joined = (list) => list.map((point) => point.map((part) => part.toFixed(1)).join(",")).join(" ");
  const drawn = [svg("line", { class: "ground", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 })];
  if (past.length > 1) {
    const area = [[past[0][0], HEIGHT], ...past, [past.at(-1)[0], HEIGHT]];
    drawn.push(svg("polygon", { class: "area", points: joined(area) }), svg("polyline", { class: "line", points: joined(past) }));
  }
  if (now && past.length) drawn.push(svg("polyline", { class: "line running", points: joined([past.at(-1), now]) }));
  if (now) drawn.push(svg("line", { class: "now", x1: now[0].toFixed(1), x2: now[0].toFixed(1), y1: now[1].toFixed(1), y2: now[1].toFixed(1) }));
  return svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": inWords(what, months, values, write) },
    ...drawn,
  );
}

function inWords(what, months, values, write) {
  const most = values.reduce((best, value, place) => (value !== null && value > (values[best] ?? -1) ? place : best), 0);
  return say(words.curve, {
    what, first: write(values[0]), first_month: shortMonth(months[0]), last: write(values.at(-1)), last_month: monthName(months.at(-1)),
    most: write(values[most]), most_month: shortMonth(months[most]),
  });
}
