"use strict";
// Pages work without this script; it adds sorting, filtering, and the records for downloads and comparisons.
// It fetches nothing, since a page opened from a file may not: data comes by script tags.

const bench = (() => {
  const root = document.currentScript.src.replace(/static\/site\.js.*$/, "");
  const arriving = new Map(); // task: { promise, resolve }

  // Return a promise of { header, entries }: the header of the CSV table, and a Map from name to
  // { name, record, csv, sheet }, where a record is the text of its file. The data of a task is loaded once, when it is first asked for.
  function data(task) {
    if (!arriving.has(task)) {
      const waiting = {};
      waiting.promise = new Promise((resolve, reject) => {
        waiting.resolve = resolve;
        const script = document.createElement("script");
        script.src = `${root}data/${encodeURIComponent(task)}.js`;
        script.onerror = () => reject(new Error(`the data of ${task} cannot be read`));
        document.head.append(script);
      }).then(unpack);
      arriving.set(task, waiting);
    }
    return arriving.get(task).promise;
  }

  // Return the bytes of a text whose letters have 15 bits each (bench.report.site.data).
  function bytesOf(count, text) {
    const bytes = new Uint8Array(count);
    let [held, bits, at] = [0, 0, 0];
    for (let place = 0; at < count; place += 1) {
      held = (held << 15) | (text.charCodeAt(place) - 0x1000);
      for (bits += 15; bits >= 8 && at < count; at += 1) bytes[at] = held >> (bits -= 8);
      held &= (1 << bits) - 1;
    }
    return bytes;
  }

  async function unpack(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const lines = (await new Response(stream).text()).split("\n").map((line) => JSON.parse(line));
    const entries = lines.slice(1).map((line) => [line.name, { ...line, get record() { return indented(line.record); } }]);
    return { header: lines[0].csv, entries: new Map(entries) };
  }

  // Return JSON text with two spaces for each level, as in the file of a record; its numbers stay as they are.
  function indented(json) {
    let depth = 0;
    const line = () => `\n${"  ".repeat(depth)}`;
    return `${json.replace(/"(?:[^"\\]|\\.)*"|\[\]|\{\}|[[\]{},:]/g, (part) => {
      if (part === "{" || part === "[") return (depth += 1, part + line());
      if (part === "}" || part === "]") return (depth -= 1, line() + part);
      return { ",": `,${line()}`, ":": ": " }[part] ?? part;
    })}\n`;
  }

  // Save a text as a file of the reader's.
  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  return { root, data, save, arrived: (task, count, text) => arriving.get(task).resolve(bytesOf(count, text)) };
})();

function benchData(task, count, text) { // called by data/TASK.js
  bench.arrived(task, count, text);
}

// Tables of results: headings become buttons that sort, a field filters, and ticked rows are compared.
for (const table of document.querySelectorAll("table.results")) {
  const rows = [...table.tBodies[0].rows];
  const controls = document.createElement("p");
  controls.className = "controls";
  table.parentElement.before(controls);
  addSorting(table, rows);
  if (table.classList.contains("filtered")) addFilter(table, rows, controls);
  if (rows.filter((row) => row.querySelector("th a")).length > 1) addChoice(rows, controls); // one is compared with nothing
}

// A button that saves the CSV table of a task, for pages that say which.
for (const place of document.querySelectorAll("[data-csv]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Table (CSV)";
  button.addEventListener("click", async () => {
    const { header, entries } = await bench.data(place.dataset.csv);
    bench.save(`${place.dataset.csv}.csv`, header + [...entries.values()].map(({ csv }) => csv).join(""), "text/csv");
  });
  place.append(button);
}

function addSorting(table, rows) {
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.tagName === "TH" || cell.classList.contains("l")) return cell.textContent.trim();
    const value = Number(cell.dataset.v ?? cell.textContent.replaceAll(",", ""));
    return Number.isNaN(value) ? null : value; // a word says why there is none
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
      const sign = order === "ascending" ? 1 : -1;
      const keyed = rows.map((row) => [valueOf(row, column), row]);
      keyed.sort(([a], [b]) => compare(a, b, sign));
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  });
}

// Compare two values of a column; a missing value is last in either direction.
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "string") return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
  return sign * (a - b);
}

function addFilter(table, rows, controls) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", `Filter the rows of ${table.parentElement.getAttribute("aria-label")}`);
  const shown = document.createElement("span");
  shown.className = "soft";
  shown.setAttribute("role", "status");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, place) => { row.hidden = !words.every((word) => texts[place].includes(word)); });
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = words.length ? `${left} of ${rows.length} rows` : "";
  });
  controls.append(field, shown);
}

function addChoice(rows, controls) {
  const link = document.createElement("a");
  link.hidden = true;
  const boxes = rows.flatMap((row) => {
    const page = row.querySelector("th a");
    if (!page) return [];
    const box = document.createElement("input");
    box.type = "checkbox";
    box.className = "tick";
    box.setAttribute("aria-label", `Compare ${page.textContent}`);
    box.value = page.getAttribute("href").replace(/^.*\/|\.html$/g, "");
    page.before(box);
    return [box];
  });
  const update = () => {
    const chosen = boxes.filter((box) => box.checked);
    link.hidden = chosen.length < 2;
    link.href = `${bench.root}compare.html#${chosen.map((box) => box.value).join(",")}`;
    link.textContent = `Compare the ${chosen.length} chosen`;
  };
  boxes.forEach((box) => box.addEventListener("change", update));
  update(); // a browser may restore ticks when it goes back
  window.addEventListener("pageshow", update);
  controls.append(link);
}
