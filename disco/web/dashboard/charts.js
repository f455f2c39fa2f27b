// Small line charts over rounds, each with its numbers as a table for those who read rather than look.

import { h, s } from "./dom.js";

const WIDTH = 420;
const HEIGHT = 170;
const LEFT = 58;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 24;

/**
 * Draw one chart.
 * @param {string} name what is shown
 * @param {{name: string, points: [number, number][]}[]} series lines over rounds; the second is dashed
 * @param {(value: number) => string} write how a value is written
 * @param {{xName?: string, top?: number}} options the words for x, and a least upper end of y
 */
export function lineChart(name, series, write, { xName = "Round", top = 0 } = {}) {
  const points = series.flatMap((line) => line.points);
  if (!points.length) return h("figure", { class: "chart" }, h("figcaption", {}, h("strong", {}, name), h("span", { class: "quiet" }, "nothing yet")));
  const [first, last] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  const most = Math.max(top, ...points.map(([, y]) => y));
  const least = Math.min(0, ...points.map(([, y]) => y));
  const high = most > least ? most : least + 1;
  const x = (value) => LEFT + ((value - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - least) / (high - least)) * (HEIGHT - TOP - BOTTOM);
  const newest = series.map((line) => line.points.at(-1)).filter(Boolean);
  const picture = s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${newest.map(([, value]) => write(value)).join(", ")} at ${xName.toLowerCase()} ${last}` },
    [0, 0.5, 1].map((part) => gridLine(y(least + part * (high - least)), write(least + part * (high - least)))),
    s("text", { x: LEFT, y: HEIGHT - 6 }, String(first)),
    s("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, `${xName} ${last}`),
    series.map((line, index) => drawn(line.points, x, y, index ? "second" : "")),
  );
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("strong", {}, name), legend(series, newest, write)),
    picture,
    table(name, series, write, xName),
  );
}

function gridLine(at, text) {
  return s(
    "g",
    { "aria-hidden": "true" },
    s("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }),
    s("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, text),
  );
}

function drawn(points, x, y, style) {
  const path = points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const dots = points.length <= 40 ? points : points.slice(-1);
  return s(
    "g",
    { class: style || null, "aria-hidden": "true" },
    s("path", { class: "line", d: path }),
    dots.map(([a, b]) => s("circle", { class: "dot", cx: x(a), cy: y(b), r: 3 })),
  );
}

function legend(series, newest, write) {
  if (series.length === 1) return h("span", { class: "quiet" }, newest.length ? write(newest[0][1]) : "");
  return h(
    "span",
    { class: "legend" },
    series.map((line, index) =>
      h("span", { class: index ? "key second" : "key" }, line.points.length ? `${line.name} ${write(line.points.at(-1)[1])}` : line.name),
    ),
  );
}

function table(name, series, write, xName) {
  const rows = new Map();
  series.forEach((line, index) =>
    line.points.slice(-50).forEach(([x, value]) => rows.set(x, Object.assign(rows.get(x) ?? {}, { [index]: value }))),
  );
  return h(
    "details",
    { class: "small" },
    h("summary", {}, h("span", { class: "visually-hidden" }, `${name}: `), "numbers"),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, xName), series.map((line) => h("th", { scope: "col" }, line.name)))),
        h(
          "tbody",
          {},
          [...rows].reverse().map(([x, values]) =>
            h("tr", {}, h("td", {}, String(x)), series.map((_, index) => h("td", {}, index in values ? write(values[index]) : ""))),
          ),
        ),
      ),
    ),
  );
}
