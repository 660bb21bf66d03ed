"use strict";
// Pages work without this script; it adds sorting, filtering, and the records for downloads and comparisons.
// It fetches nothing, since a page opened from a file may not: data comes by script tags.

const bench = (() => {
  const root = document.currentScript.src.replace(/static\/site\.js.*$/, "");
  const arriving = new Map(); // task: { promise, resolve }

  // Return a promise of a task's entries, a Map from name to { name, record, csv, sheet }, and of the CSV's header.
  // A record is the text of its file. The data of a task is loaded once, when it is first asked for.
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

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const lines = (await new Response(stream).text()).split("\n").map((line) => JSON.parse(line));
    return { header: lines[0].csv, entries: new Map(lines.slice(1).map((line) => [line.name, line])) };
  }

  // Save a text as a file of the reader's.
  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  return { root, data, save, arrived: (task, packed) => arriving.get(task).resolve(packed) };
})();

function benchData(task, packed) { // called by data/TASK.js
  bench.arrived(task, packed);
}
