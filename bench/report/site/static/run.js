"use strict";
// A run's page: folded parts are filled from the task's data when they are opened; buttons copy and save.
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
      const { weights, data } = JSON.parse(record);
      return table(Object.fromEntries([...weights, ...data].map((one) => [one.role, `${one.sha256} (${one.bytes} bytes)`])));
    },
    captions: ({ sheet }) => captions(sheet),
  };
  for (const details of document.querySelectorAll("details[data-show]")) {
    details.addEventListener("toggle", async () => {
      if (details.dataset.filled) return;
      details.dataset.filled = "yes";
      details.append(await entry().then(shown[details.dataset.show], (error) => element("p", error.message)));
    });
  }

  function say(button, words) {
    const before = button.textContent;
    button.textContent = words;
    setTimeout(() => (button.textContent = before), 1500);
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        say(button, "Copied");
      } catch {
        getSelection().selectAllChildren(text); // where a page may not write the clipboard, the reader copies
        say(button, "Selected");
      }
    });
  }
  const saved = {
    record: ({ record }) => bench.save(`${run.name}.json`, record, "application/json"),
    csv: ({ header, csv }) => bench.save(`${run.name}.csv`, header + csv, "text/csv"),
  };
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => entry().then(saved[button.dataset.save], (error) => say(button, error.message)));
  }
})();
