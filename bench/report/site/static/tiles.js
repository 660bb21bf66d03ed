"use strict";
// Images of several sample sheets in rows: one row for each noise and condition, and a larger view of a row.

const tiles = (() => {
  const FIRST = 8; // rows before the reader asks for all

  // Return an element that shows one image of a sheet, cut out by its background's place.
  function tile(sheet, number, words, name) {
    const made = document.createElement(name);
    made.className = sheet.width < 48 ? "tile tiny" : "tile";
    const rows = Math.ceil(sheet.count / sheet.columns);
    const [row, column] = [Math.floor(number / sheet.columns), number % sheet.columns];
    const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
    made.style.backgroundImage = `url("${bench.root}${sheet.href}")`;
    made.style.backgroundSize = `${100 * sheet.columns}% ${100 * rows}%`;
    made.style.backgroundPosition = `${share(column, sheet.columns)}% ${share(row, rows)}%`;
    made.style.aspectRatio = `${sheet.width} / ${sheet.height}`;
    made.setAttribute("aria-label", words);
    if (name !== "button") made.setAttribute("role", "img");
    return made;
  }

  const caption = (sheet, number) => sheet.captions[number] || "";
  const words = (column, number) =>
    `${column.label}, image ${number + 1}${caption(column.sheet, number) && `: ${caption(column.sheet, number)}`}`;

  // Return a table of the columns {label, sheet}, whose sheets have equal noise.
  function table(columns) {
    const count = Math.min(...columns.map(({ sheet }) => sheet.count));
    const made = document.createElement("table");
    made.className = "tiles";
    const head = made.createTHead().insertRow();
    for (const label of ["Condition", ...columns.map((column) => column.label)]) {
      const cell = document.createElement("th");
      cell.textContent = label;
      head.append(cell);
    }
    const body = made.createTBody();
    const fill = (from, to) => {
      for (let number = from; number < to; number += 1) {
        const row = body.insertRow();
        const heading = document.createElement("th");
        heading.textContent = caption(columns[0].sheet, number) || `image ${number + 1}`;
        row.append(heading);
        for (const column of columns) {
          const button = tile(column.sheet, number, words(column, number), "button");
          button.type = "button";
          button.addEventListener("click", () => zoom(columns, number, count));
          row.insertCell().append(button);
        }
      }
    };
    fill(0, Math.min(FIRST, count));
    const all = document.createElement("div");
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Images");
    scroll.append(made);
    all.append(scroll);
    if (count > FIRST) {
      const more = document.createElement("button");
      more.type = "button";
      more.textContent = `Show all ${count}`;
      more.addEventListener("click", () => {
        fill(FIRST, count);
        body.rows[FIRST].querySelector("button").focus();
        more.remove();
      });
      all.append(more);
    }
    return all;
  }

  // Show one row large. Arrow keys go to the row before or after, Escape closes.
  function zoom(columns, start, count) {
    const dialog = document.getElementById("zoom");
    const [heading, row, buttons] = ["p", "div", "p"].map((name) => document.createElement(name));
    row.className = "large";
    let number = start;
    const draw = () => {
      const condition = caption(columns[0].sheet, number);
      heading.textContent = `Image ${number + 1} of ${count}${condition && `: ${condition}`}`;
      row.replaceChildren(
        ...columns.map((column) => {
          const figure = document.createElement("figure");
          const label = document.createElement("figcaption");
          label.textContent = column.label;
          figure.append(tile(column.sheet, number, words(column, number), "div"), label);
          return figure;
        }),
      );
    };
    const go = (step) => {
      number = (number + step + count) % count;
      draw();
    };
    for (const [name, act] of [["Previous", () => go(-1)], ["Next", () => go(1)], ["Close", () => dialog.close()]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", act);
      buttons.append(button, " ");
    }
    dialog.replaceChildren(heading, row, buttons);
    dialog.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (step) {
        event.preventDefault();
        go(step);
      }
    };
    draw();
    dialog.showModal();
  }

  return { table };
})();
