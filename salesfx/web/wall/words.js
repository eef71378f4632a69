// Words, numbers, money and time, as the language writes them.

export const words = JSON.parse(document.getElementById("words").textContent);
export const language = document.documentElement.lang;
const plural = new Intl.PluralRules(language);

/** Fills the {places} of a sentence; one with a plural takes the number in `count`. */
export function say(sentence, places = {}, count = null) {
  const chosen = typeof sentence === "string" ? sentence : sentence[plural.select(count)] ?? sentence.other;
  return chosen.replace(/\{(\w+)\}/g, (_, name) => places[name]);
}

const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const points = new Intl.NumberFormat(language, { maximumFractionDigits: 1, signDisplay: "exceptZero" });
const change = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0, signDisplay: "exceptZero" });

export const number = (value) => whole.format(value);
export const percent = (ratio) => (ratio === null ? "–" : oneDigit.format(ratio));
export const inPoints = (difference) => `${points.format(difference * 100)} ${words.points}`;
export const changed = (ratio) => change.format(ratio);

/** Money to the unit: a wall is no account book. A decimal string goes in whole, so no digit is lost. */
export function money(value, currency) {
  return new Intl.NumberFormat(language, { style: "currency", currency, maximumFractionDigits: 0 }).format(value);
}

/** Money to the hundredth. */
export function exactMoney(value, currency) {
  return new Intl.NumberFormat(language, { style: "currency", currency }).format(value);
}

const COMPACT = { notation: "compact", maximumSignificantDigits: 3 };

/** Money in few characters, for small places. */
export const shortMoney = (value, currency) => shortMoneyFormat(currency).format(value);
const shortMoneyFormat = (currency) => new Intl.NumberFormat(language, { style: "currency", currency, ...COMPACT });

/** The same without the currency, where many stand together. */
export const short = (value) => compact.format(value);
const compact = new Intl.NumberFormat(language, COMPACT);

// For the four large numbers: their parts, so that digits can be larger than units.
export const percentParts = (ratio) => (ratio === null ? [{ type: "literal", value: "–" }] : oneDigit.formatToParts(ratio));
export const shortMoneyParts = (value, currency) => shortMoneyFormat(currency).formatToParts(value);
export const numberParts = (value) => whole.formatToParts(value);

const dayOf = (month) => new Date(`${month}-15T12:00:00Z`);
const written = (month, options) => new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format(dayOf(month));
export const monthAndYear = (month) => written(month, { month: "long", year: "numeric" });
export const monthName = (month) => written(month, { month: "long" });
export const shortMonth = (month) => written(month, { month: "short", year: "2-digit" });

const HOUR = language === "en" ? "numeric" : "2-digit"; // 7:05 PM, 07:05
/** Time of day in the business time zone, with the date where that is another than today's. */
export const time = (instant, timeZone) => minute(instant, timeZone, { second: "2-digit" });

/** The same without seconds. */
export function minute(instant, timeZone, further = {}) {
  const parts = { timeZone, hour: HOUR, minute: "2-digit", ...further };
  const day = (when) => new Intl.DateTimeFormat("en", { timeZone, dateStyle: "short" }).format(when);
  if (day(instant) !== day(new Date())) Object.assign(parts, { day: "numeric", month: "short" });
  return new Intl.DateTimeFormat(language, parts).format(instant);
}

/** What the tables have no name for. */
export const named = (name) => (["unknown", "unattributed", "unassigned", "other"].includes(name) ? words[name] : name);
export const capital = (text) => text.charAt(0).toLocaleUpperCase(language) + text.slice(1);

const decimals = /^(\d+)\.(\d\d)$/;
/** Adds decimal strings, exactly: in hundredths. */
export function sum(values) {
  const cents = values.reduce((all, value) => {
    const [, units, rest] = decimals.exec(value);
    return all + BigInt(units) * 100n + BigInt(rest);
  }, 0n);
  return `${cents / 100n}.${String(cents % 100n).padStart(2, "0")}`;
}
