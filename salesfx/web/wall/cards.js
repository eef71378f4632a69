// The four KPIs and the salespeople, drawn from a document of the server.
import { curve } from "./curve.js";
import { el } from "./dom.js";
import {
  capital, changed, inPoints, monthName, named, number, numberParts, percent, percentParts, say, short, shortMoney,
  shortMoneyParts, sum, words,
} from "./words.js";

const CATEGORIES = ["new_account", "expansion", "returning"];
const ROWS = 5;
const ROWS_WITH_TARGET = 4;
const PEOPLE = 13;
const NOT_JUDGED_BEFORE = 0.2; // as JUDGED_FROM of salesfx/reading/progress.py

/** Draws all of a document. `explain(metric)` shows what makes a number up. */
export function draw(wall, explain) {
  const { month, history } = wall;
  const currency = month.currency;
  const progress = (kpi) => wall.progress.kpis[kpi];
  const rows = (kpi) => (progress(kpi).target === null ? ROWS : ROWS_WITH_TARGET);
  const months = history.map((each) => each.month);
  const last = months.at(-2);
  const inShort = (value) => shortMoney(value, currency);
  const booked = sum(CATEGORIES.map((category) => month.sales.booked[category].value));

  card("leads", {
    number: numberParts(month.lead_flow.total),
    compare: compared(progress("leads"), last, number),
    target: target(progress("leads"), number),
    detail: bars(Object.entries(month.lead_flow.by_source), rows("leads"), number),
    curve: curve(words.leads, months, history.map((each) => each.leads), number),
    explain: () => explain("leads"),
  });
  card("qualified", {
    number: numberParts(month.qualified_leads.count),
    beside: inShort(month.qualified_leads.value),
    compare: compared(progress("qualified_leads"), last, number),
    target: target(progress("qualified_leads"), number),
    detail: largest(wall, rows("qualified_leads") - 1),
    curve: curve(words.qualified, months, history.map((each) => each.qualified_leads), number),
    explain: () => explain("qualified_leads_value"),
  });
  const { conversion } = month;
  const ratios = history.map((each) => (each.qualified_leads ? each.new_customers / each.qualified_leads : null));
  card("conversion", {
    number: percentParts(conversion.ratio),
    compare: comparedRatio(progress("conversion"), last),
    target: target(progress("conversion"), percent),
    detail: cohort(conversion),
    curve: curve(words.conversion, months, ratios, percent),
    explain: () => explain("conversion"),
  });
  card("booked", {
    number: shortMoneyParts(booked, currency),
    compare: compared(progress("booked_sales_value"), last, inShort),
    target: target(progress("booked_sales_value"), inShort),
    detail: categories(month.sales, () => explain("planned_sales_value")),
    curve: curve(words.booked, months, history.map((each) => Number(each.booked_value)), inShort),
    explain: () => explain("booked_sales_value"),
  });
  people(wall);
  // A month that has just begun is neither good nor bad.
  document.getElementById("cards").classList.toggle("early", wall.progress.working_time_gone < NOT_JUDGED_BEFORE);
  fitNumbers();
}

/** Puts a number down with its digits larger than what stands around them. */
function large(parts) {
  const digits = new Set(["integer", "group", "decimal", "fraction", "minusSign"]);
  return el("span", {}, ...parts.map(({ type, value }) => (digits.has(type) || parts.length === 1 ? value : el("small", {}, value))));
}

function card(name, parts) {
  const place = document.getElementById(`card-${name}`);
  if (!place.firstChild) {
    // The heading stays what it is, so that whoever has the focus on it keeps it.
    place.append(
      el("h2", { id: `title-${name}` }, el("button", { type: "button", "aria-haspopup": "dialog" }, words[name])),
      el("div.body"),
    );
  }
  place.querySelector("h2 button").onclick = parts.explain;
  const focused = place.querySelector(".body").contains(document.activeElement);
  place.querySelector(".body").replaceChildren(
    el("div.top", {}, el("p.number", {}, large(parts.number)), el("div.beside", {}, parts.beside ? el("p.worth", {}, parts.beside) : "", parts.compare)),
    parts.target,
    el("div.detail", {}, parts.detail, el("div.curve-box", {}, parts.curve)),
  );
  if (focused) place.querySelector(".body button")?.focus();
}

/** Against the same days of last month; money comes as a decimal string, and is only compared here. */
function compared({ so_far, same_days_last_month }, month, write) {
  const [now, before] = [Number(so_far), Number(same_days_last_month)];
  if (!before) return compare("flat", "", say(words.nothing_before, { month: monthName(month) }));
  return compare(Math.sign(now - before), changed(now / before - 1), say(words.same_days, { number: write(before), month: monthName(month) }));
}

function comparedRatio({ so_far: now, same_days_last_month: before }, month) {
  if (before === null || now === null) return compare(0, "", now === null ? words.no_ratio : say(words.nothing_before, { month: monthName(month) }));
  return compare(Math.sign(now - before), inPoints(now - before), say(words.same_days, { number: percent(before), month: monthName(month) }));
}

const ARROWS = { 1: ["up", "▲"], "-1": ["down", "▼"] };

function compare(sign, change, text) {
  const [kind, arrow] = ARROWS[sign] ?? ["flat", ""];
  return el(`p.compare.${kind}`, {}, el("b", {}, el("span", { "aria-hidden": "true" }, arrow), ` ${change} `), el("span.soft", {}, text));
}

/** The target, how far it is, and where it should be by now. */
function target(progress, write) {
  if (progress.target === null) return "";
  const goal = Number(progress.target);
  const share = goal > 0 ? Number(progress.so_far ?? 0) / goal : 0;
  const filled = el("i");
  filled.style.width = `${Math.min(100, share * 100)}%`;
  const bar = el("span.bar", { "aria-hidden": "true" }, filled);
  const hasPace = progress.expected_by_now !== null && progress.expected_by_now !== progress.target;
  if (hasPace) {
    const tick = el("i.tick");
    tick.style.left = `${Math.min(99.4, (Number(progress.expected_by_now) / goal) * 100)}%`;
    bar.append(tick);
  }
  const verdict = words.verdict[progress.verdict];
  return el(`div.target.${progress.verdict}`, {}, bar,
    el("p", {}, say(words.target, { target: write(goal) }),
      hasPace ? ` · ${say(words.expected_by_now, { number: write(Number(progress.expected_by_now)) })}` : "",
      verdict ? " · " : "", verdict ? el("b", {}, verdict) : ""));
}

function bars(entries, most_rows, write) {
  if (!entries.length) return el("p.soft", {}, words.none_yet);
  const most = Math.max(...entries.map(([, value]) => value), 1);
  const rows = entries.slice(0, entries.length > most_rows ? most_rows - 1 : most_rows);
  const list = el("ul.bars", {}, ...rows.map(([name, value]) => {
    const bar = el("i");
    bar.style.width = `${(100 * value) / most}%`;
    return el("li", {}, el("span.name", {}, named(name)), el("span.bar", { "aria-hidden": "true" }, bar), el("b", {}, write(value)));
  }));
  const rest = entries.slice(rows.length);
  if (rest.length) {
    list.append(el("li.soft", {}, el("span.name", {}, say(words.more, { count: rest.length })), el("span"), el("b", {}, write(rest.reduce((all, [, value]) => all + value, 0)))));
  }
  return list;
}

function largest(wall, rows) {
  const leads = wall.large.qualified_leads;
  if (!leads.length) return el("p.soft", {}, words.none_yet);
  return el("div", {}, el("h3", {}, words.largest), el("ol.large", {}, ...leads.slice(0, rows).map((lead) =>
    el("li", {}, el("span.name", {}, wall.show_salespeople && lead.salesperson !== null ? named(lead.salesperson) : lead.id), el("b", {}, shortMoney(lead.value, wall.month.currency))))));
}

function cohort({ cohort: { ratio, customers, qualified_leads: qualified }, new_customers, qualified_leads }) {
  return el("div.cohort", {},
    el("p", {}, say(words.new_customers, { number: number(new_customers) }, new_customers), " ", say(words.of_qualified, { number: number(qualified_leads) }, qualified_leads)),
    el("p", {}, el("span.soft", {}, words.cohort), " ", el("b.second", {}, percent(ratio))),
    el("p.soft", {}, say(words.cohort_text, { customers: number(customers), qualified: number(qualified) })));
}

function categories(sales, explainPlanned) {
  const all = (part) => el("td", {}, short(sum(CATEGORIES.map((category) => part[category].value))));
  const cell = (part, category) => el("td", {}, short(part[category].value));
  return el("table", {},
    el("thead", {}, el("tr", {}, el("td"), el("th", { scope: "col" }, words.booked_short), el("th", { scope: "col" }, el("button", { type: "button", "aria-haspopup": "dialog", onclick: explainPlanned }, words.planned)))),
    el("tbody", {},
      ...CATEGORIES.map((category) => el("tr", {}, el("th", { scope: "row" }, words[category]), cell(sales.booked, category), cell(sales.planned, category))),
      el("tr.all", {}, el("th", { scope: "row" }, words.all), all(sales.booked), all(sales.planned))));
}

function people(wall) {
  const place = document.getElementById("people");
  const { sales, qualified_leads: qualified } = wall.month;
  const booked = (name) => sum(Object.values(sales.by_salesperson[name]?.booked ?? {}).map((part) => part.value));
  const names = [...new Set([...Object.keys(sales.by_salesperson), ...Object.keys(qualified.by_salesperson)])];
  const rows = names.map((name) => ({ name, booked: booked(name), qualified: qualified.by_salesperson[name]?.count ?? 0 }))
    .sort((one, other) => Number(other.booked) - Number(one.booked) || other.qualified - one.qualified || one.name.localeCompare(other.name));
  const most = Math.max(...rows.map((row) => Number(row.booked)), 1);
  const shown = rows.slice(0, rows.length > PEOPLE ? PEOPLE - 1 : PEOPLE);
  const body = el("tbody", {}, ...shown.map((row) => {
    const bar = el("i");
    bar.style.width = `${(100 * Number(row.booked)) / most}%`;
    return el("tr", {}, el("th", { scope: "row" }, el("span.name", {}, capital(named(row.name))), el("span.bar", { "aria-hidden": "true" }, bar)),
      el("td", {}, short(row.booked)), el("td", {}, number(row.qualified)));
  }));
  place.replaceChildren(
    el("h2", { id: "title-people" }, words.people),
    el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, words.name), el("th", { scope: "col" }, words.people_booked), el("th", { scope: "col" }, words.people_qualified))), body),
    rows.length > shown.length ? el("p.soft", {}, say(words.more, { count: rows.length - shown.length })) : "",
  );
}

/** Makes each number as large as its box allows. */
export function fitNumbers() {
  for (const place of document.querySelectorAll(".number")) {
    const text = place.firstChild;
    place.style.fontSize = "";
    const size = parseFloat(getComputedStyle(place).fontSize);
    const factor = Math.min(1, place.clientWidth / text.getBoundingClientRect().width);
    if (factor < 1) place.style.fontSize = `${Math.floor(size * factor * 0.99)}px`;
  }
}
