"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const data = JSON.parse(one("data").textContent);

  // Age of the page
  const age = one("age"), minutes = Math.floor((Date.now() / 1000 - age.dataset.made) / 60);
  if (minutes > 0) {
    age.textContent = `, ${minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} hours`} ago`;
    age.classList.toggle("old", minutes * 60 > age.dataset.old);
  }

  // Rows that open. Their details are made when they are first seen, because a fleet has thousands of them.
  const table = one("table");
  const make = (name, parent, text) => {
    const element = parent.appendChild(document.createElement(name));
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const open = (body) => {
    const row = body.insertRow(), cell = row.insertCell(), list = make("dl", cell);
    Object.assign(row, {className: "details", id: `d${body.dataset.row}`});
    row.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    cell.colSpan = table.tHead.rows[0].cells.length;
    for (const {label, lines} of data.details[body.dataset.row]) {
      const group = make("div", list);
      make("dt", group, label);
      lines.forEach((line) => make("dd", group, line));
    }
    return row;
  };
  table.addEventListener("click", ({target}) => {
    const button = target.closest(".more");
    if (!button) return;
    const body = button.closest("tbody"), isOpen = button.getAttribute("aria-expanded") === "true";
    (body.rows[1] ?? open(body)).hidden = isOpen;
    button.setAttribute("aria-expanded", !isOpen);
  });

  // Sorting
  const compare = new Intl.Collator("en", {numeric: true}).compare;
  const value = (body, column) => {
    const cell = body.rows[0].cells[column];
    const shown = cell.textContent.trim();
    return cell.dataset.value !== undefined ? Number(cell.dataset.value) : shown === "\u2013" ? null : shown;
  };
  const rank = {bad: 0, warn: 1, note: 2, ok: 3};
  const sort = (header, column) => {
    const up = header.getAttribute("aria-sort") !== "ascending", way = up ? 1 : -1;
    const isHealth = column === 2;
    const rows = [...table.tBodies].map((body) => [isHealth ? rank[body.dataset.level] : value(body, column), body]);
    rows.sort(([a, one], [b, two]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b));
      return order * way || one.dataset.row - two.dataset.row;
    });
    all("th", table).forEach((cell) => cell.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.append(...rows.map(([, body]) => body));
  };
  all("th button", table).forEach((button, column) => {
    button.addEventListener("click", () => sort(button.parentElement, column));
  });

  // Filtering
  const filter = one("filter"), trouble = one("trouble"), found = all("[data-find]");
  const texts = new Map();
  const text = (element) => {
    if (!texts.has(element)) {
      const details = data.details[element.dataset.row] ?? [];
      texts.set(element, [element.textContent, ...details.flatMap(({lines}) => lines)].join(" ").toLowerCase());
    }
    return texts.get(element);
  };
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const element of found) {
      const isFine = trouble.checked && !["warn", "bad"].includes(element.dataset.level);
      element.hidden = isFine || !words.every((word) => text(element).includes(word));
    }
    for (const section of all(".day")) section.hidden = !section.querySelector("li:not([hidden])");
    const shown = [...table.tBodies].filter((body) => !body.hidden).length;
    one("shown").textContent = words.length || trouble.checked ? `${shown} of ${table.tBodies.length} instances` : "";
  };
  filter.addEventListener("input", apply);
  trouble.addEventListener("change", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== filter && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      filter.focus();
    } else if (event.key === "Escape" && (filter.value || trouble.checked)) {
      filter.value = "";
      trouble.checked = false;
      apply();
    }
  });

  // Reading a chart
  const {begin, end, slices} = data.window, step = (end - begin) / slices;
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  const time = (seconds) => seconds === null ? "\u2013" : seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
  const read = (chart, number) => {
    const series = data.charts[chart.dataset.chart];
    const x = number === null ? null : (number + 0.5) / slices * 320;
    all(".cursor", chart).forEach((line) => line.setAttribute("d", x === null ? "" : `M${x} 0V56`));
    chart.dataset.at = number ?? "";
    chart.querySelector(".read").textContent = x === null ? "" : [
      `${clock(begin + number * step)} to ${clock(begin + (number + 1) * step)}`,
      `${series.rate[number]} requests a minute`, `${series.errors[number]} errors`,
      `p50 ${time(series.p50[number])}`, `p95 ${time(series.p95[number])}`,
    ].join(" \u00b7 ");
  };
  for (const chart of all(".charts")) {
    chart.addEventListener("pointermove", (event) => {
      const {left, width} = chart.querySelector("svg").getBoundingClientRect();
      read(chart, Math.max(0, Math.min(slices - 1, Math.floor((event.clientX - left) / width * slices))));
    });
    chart.addEventListener("pointerleave", () => read(chart, null));
    chart.addEventListener("blur", () => read(chart, null));
    chart.addEventListener("keydown", (event) => {
      const way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!way) return;
      event.preventDefault();
      const at = chart.dataset.at ? Number(chart.dataset.at) : way > 0 ? -1 : slices;
      read(chart, Math.max(0, Math.min(slices - 1, at + way)));
    });
  }
})();
