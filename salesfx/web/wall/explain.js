// The definition of a number, and the leads and deals behind it.
import { el } from "./dom.js";
import { exactMoney, language, monthAndYear, named, number, percent, say, words } from "./words.js";

const LISTED = 100;
const TITLES = { leads: "leads", qualified_leads_value: "qualified", conversion: "conversion", booked_sales_value: "booked", planned_sales_value: "planned" };

/** Shows what makes up a metric of the shown month. */
export async function explain(metric, wall) {
  const dialog = document.getElementById("explain");
  const answer = el("div.answer", { "aria-live": "polite" }, el("p", {}, words.loading));
  dialog.replaceChildren(
    el("h2", { id: "explain-title" }, `${words[TITLES[metric]]}, ${monthAndYear(wall.month.month)}`),
    el("p", {}, words.defined[metric]),
    answer,
    el("form", { method: "dialog" }, el("button", { autofocus: "" }, words.close)),
  );
  dialog.showModal();
  try {
    const response = await fetch(`/api/explain?${new URLSearchParams({ month: wall.month.month, metric, limit: LISTED, lang: language })}`);
    const told = await response.json();
    if (!response.ok) throw new Error(told.error);
    answer.replaceChildren(...(told.metric === "conversion" ? conversion(told, wall) : [listed(told, wall)]));
  } catch (error) {
    answer.replaceChildren(el("p", {}, say(words.failed, { why: error.message })));
  }
}

function conversion(told, wall) {
  const parts = ["new_customers", "qualified_leads"];
  return [el("p.second", {}, percent(told.ratio)), ...parts.flatMap((part) => [el("h3", {}, words.parts[part]), listed(told[part], wall)])];
}

function listed(told, wall) {
  const inMoney = told.metric.endsWith("_value");
  const write = (value) => (inMoney ? exactMoney(value, told.currency) : number(value));
  const columns = {
    id: (each) => each.id,
    date: (each) => each.date,
    number: (each) => write(each.number),
    source: (each) => named(each.source),
    ...(inMoney && told.metric !== "qualified_leads_value" ? { category: (each) => words[each.category] } : {}),
    ...(wall.show_salespeople ? { salesperson: (each) => named(each.salesperson) } : {}),
    why: (each) => each.why.filter((reason) => wall.show_salespeople || reason.about !== "salesperson").map((reason) => reason.says).join("; "),
  };
  const shown = told.contributions;
  return el("div", {},
    el("p.soft", {}, say(words.shown_of, { shown: number(shown.length), count: number(told.count), sum: write(told.sum) }, told.count)),
    el("div.scroll", { tabindex: "0", role: "region", "aria-label": words.explain },
      // Roles, because a table that a phone shows as a list would be none to a screen reader.
      el("table", { role: "table" },
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...Object.keys(columns).map((name) => el(`th.of-${name}`, { scope: "col", role: "columnheader" }, words.columns[name])))),
        el("tbody", { role: "rowgroup" }, ...shown.map((each) => el("tr", { role: "row" }, ...Object.entries(columns).map(([name, cell]) => el(`td.of-${name}`, { role: "cell" }, cell(each)))))))));
}
