"use strict";
// A run's page: folded parts, which are filled from the task's data when they are opened, and buttons to copy and save.
(() => {
  const run = document.getElementById("run").dataset;
  const entry = () => bench.data(run.task).then(({ header, entries }) => ({ header, ...entries.get(run.name) }));

  function element(name, text) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // Return a table of names and values; what is nested follows its name with dots.
  function table(values) {
    const body = element("tbody");
    const add = (name, value) => {
      const nested = value !== null && typeof value === "object" && Object.keys(value).length > 0;
      const plain = Array.isArray(value) && value.every((one) => one === null || typeof one !== "object");
      if (nested && !plain) {
        for (const [inner, one] of Object.entries(value)) add(name ? `${name}.${inner}` : inner, one);
        return;
      }
      const row = element("tr");
      const heading = element("th", name);
      heading.scope = "row";
      row.append(heading, element("td", typeof value === "string" ? value : JSON.stringify(value)));
      body.append(row);
    };
    add("", values);
    const made = element("table");
    made.append(body);
    const scroll = element("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.append(made);
    return scroll;
  }

  function captions(sheet) {
    const list = element("ol");
    list.append(...sheet.captions.map((words) => element("li", words)));
    return list;
  }

  const shown = {
    recipe: ({ record }) => table(JSON.parse(record).method.recipe),
    record: ({ record }) => table(JSON.parse(record)),
    assets: ({ record }) => {
      const { weights, data, provenance } = JSON.parse(record);
      const assets = [...weights, ...data].map((one) => [one.role, `${one.sha256} (${one.bytes} bytes)`]);
      return table({ ...provenance.packages, Python: provenance.python, platform: provenance.platform, ...Object.fromEntries(assets) });
    },
    captions: ({ sheet }) => captions(sheet),
  };
  const words = {
    recipe: "Whole recipe",
    record: "Whole record",
    assets: "Versions, weights and data",
    captions: "What the images are of",
  };
  for (const place of document.querySelectorAll("[data-show]")) {
    for (const part of place.dataset.show.split(" ")) {
      const details = element("details");
      details.append(element("summary", words[part]));
      details.addEventListener("toggle", async () => {
        details.append(await entry().then(shown[part], (error) => element("p", error.message)));
      }, { once: true });
      place.append(details);
    }
  }
  const alike = document.querySelector("[data-alike]");
  if (alike) {
    const names = [...alike.querySelectorAll("a")].map((link) => link.getAttribute("href").replace(/\.html$/, ""));
    const link = element("a", "compare");
    link.href = `${bench.root}compare.html#${[encodeURIComponent(run.name), ...names.slice(0, 2)].join(",")}`;
    alike.append("; ", link);
  }
  for (const scroll of document.querySelectorAll(".scroll")) { // a region that the keyboard can scroll has a name
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", scroll.previousElementSibling.textContent);
  }

  function say(button, words) {
    const before = button.textContent;
    button.textContent = words;
    setTimeout(() => (button.textContent = before), 1500);
  }

  const command = document.getElementById("command");

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(command.textContent);
      say(button, "Copied");
    } catch {
      getSelection().selectAllChildren(command); // where a page may not write the clipboard, the reader copies
      say(button, "Selected");
    }
  }

  const buttons = element("p");
  buttons.className = "controls";
  for (const [name, act] of Object.entries({
    ...(command ? { Copy: copy } : {}), // a study has none
    "Record (JSON)": async () => bench.save(`${run.name}.json`, (await entry()).record, "application/json"),
    "Rows (CSV)": async () => entry().then(({ header, csv }) => bench.save(`${run.name}.csv`, header + csv, "text/csv")),
  })) {
    const button = element("button", name);
    button.type = "button";
    button.addEventListener("click", () => act(button).catch((error) => say(button, error.message)));
    buttons.append(button, " ");
  }
  (command ?? document.getElementById("downloads")).after(buttons);
})();
