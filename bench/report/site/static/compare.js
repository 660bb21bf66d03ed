"use strict";
// The comparison of runs: which are named in the address, their images, metrics with tests, and recipes.
// The first run is the one that others are compared with.
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const pick = document.getElementById("pick");
  const result = document.getElementById("result");
  const LEVEL = 0.95;
  const ALPHA = Number((1 - LEVEL).toFixed(12));
  const PERCENT = "95 %";
  const OVER = { sampler: "training and generation seeds", "exact sampler": "training seeds" };
  const VARIANT = ["task", "protocol_sha256", "networks_sha256", "kind", "method", "recipe_sha256", "variant_sha256"];

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // ---- The choice of runs, which the address holds after its #, so that it can be sent to others.

  const options = new Map([...pick.options].map((option) => [option.value, option]));

  function chosen() {
    let names = location.hash.slice(1);
    try {
      names = decodeURIComponent(names);
    } catch {} // an address that is badly encoded names no run, which the list says
    return [...new Set(names.split(",").filter(Boolean))];
  }

  function choose(names) {
    location.hash = names.map(encodeURIComponent).join(",");
  }

  function listed(name, place, names) {
    const item = element("li");
    const option = options.get(name);
    const task = option && option.parentElement.label;
    const link = option ? element("a", `${option.text.trim()} on ${task}`, { href: `runs/${encodeURIComponent(name)}.html` }) : element("span", name);
    const remove = element("button", "Remove", { type: "button", "aria-label": `Remove ${name}` });
    remove.addEventListener("click", () => {
      choose(names.filter((other) => other !== name));
      pick.focus();
    });
    item.append(link, " ", remove);
    if (!option) item.append(element("span", " There is no run of this name on this site.", { class: "warn" }));
    return item;
  }

  // ---- The runs, from the data of their tasks.

  // Return the fields of the lines of a CSV text; fields may be quoted and then hold commas and line feeds.
  function parseCsv(text) {
    const lines = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
      lines.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
      if (end === "\n") lines.push([]);
      if (end === "") break;
    }
    return lines.slice(0, -1);
  }

  const parsed = new WeakMap(); // of each task's data, the rows by run

  // Return the CSV rows of a task by the name of their run.
  function rowsOf({ header, entries }) {
    if (!parsed.has(entries)) {
      const names = parseCsv(header)[0];
      const row = (fields) => Object.fromEntries(names.map((name, place) => [name, fields[place]]));
      parsed.set(entries, new Map([...entries.values()].map(({ name, csv }) => [name, parseCsv(csv).map(row)])));
    }
    return parsed.get(entries);
  }

  async function readRuns(names) {
    return Promise.all(names.map(async (name) => {
      const task = options.get(name).parentElement.label;
      const data = await bench.data(task);
      const { record, sheet } = data.entries.get(name);
      const all = rowsOf(data);
      const label = options.get(name).text.trim();
      return { name, label, task, record: JSON.parse(record), sheet, rows: all.get(name), all, entries: data.entries };
    }));
  }

  // Return the mean values of a metric by training seed for all runs of the same variant; the newest of a seed counts.
  function seedsOf(run, metric) {
    const key = (row) => JSON.stringify(VARIANT.map((name) => row[name]));
    const own = key(run.rows[0]);
    const bySeed = new Map();
    for (const rows of run.all.values()) {
      for (const row of rows) {
        const fits = row.status === "ok" && row.metric === metric && row.value !== "" && key(row) === own;
        if (fits && !(bySeed.get(row.train_seed)?.created > row.created)) bySeed.set(row.train_seed, row);
      }
    }
    return [...bySeed.values()].map((row) => Number(row.value));
  }

  const same = (run, other, name) => run.rows[0][name] === other.rows[0][name];

  // Return why two runs' numbers may not be compared, or an empty text.
  function incomparable(run, other) {
    if (run.task !== other.task) return `it is of another task, ${run.task}`;
    if (!same(run, other, "protocol_sha256")) return `it was measured under another protocol, ${run.rows[0].protocol}`;
    if (!same(run, other, "networks_sha256")) return "it was measured with another teacher or feature network";
    if (run.record.status !== "ok") return "it failed";
    return "";
  }

  // Return the roles of data, such as the features of the real images, whose bytes differ between two runs.
  function differingData(run, other) {
    const theirs = new Map(other.record.data.map(({ role, sha256 }) => [role, sha256]));
    return run.record.data.filter(({ role, sha256 }) => theirs.has(role) && theirs.get(role) !== sha256).map(({ role }) => role);
  }

  // ---- Images.

  function teacherOf(first) {
    const candidates = [...first.entries.values()]
      .filter(({ name, sheet }) => sheet && sheet.noise === first.sheet.noise && first.all.get(name)[0].kind === "baseline")
      .map((entry) => ({ name: entry.name, sheet: entry.sheet, record: JSON.parse(entry.record) }));
    const order = (entry) => [Number(Boolean(entry.record.sampler.churn)), entry.record.method.name, entry.name];
    const before = (one, other) => {
      const [a, b] = [order(one), order(other)];
      const place = a.findIndex((value, index) => value !== b[index]);
      return place < 0 ? 0 : a[place] < b[place] ? -1 : 1;
    };
    const found = candidates.sort(before)[0];
    return found && { label: `${found.record.method.name} (teacher)`, sheet: found.sheet };
  }

  function images(runs) {
    const section = element("section");
    section.append(element("h2", "Images"));
    const first = runs.find((run) => run.sheet);
    if (!first) {
      section.append(element("p", "No sample sheets of these runs were kept.", { class: "note" }));
      return section;
    }
    const shown = runs.filter((run) => run.sheet && run.sheet.noise === first.sheet.noise);
    const teachers = shown.filter((run) => run.record.kind === "baseline");
    const students = shown.filter((run) => run.record.kind !== "baseline");
    const teacher = teachers.length ? undefined : teacherOf(first);
    section.append(element("p", "Each row has the same noise and condition. A click or Enter enlarges a row.", { class: "note" }));
    if (!teachers.length && !teacher) section.append(element("p", "There are no images of the teacher from this noise.", { class: "note" }));
    for (const run of runs.filter((one) => !shown.includes(one))) {
      const why = run.sheet ? "its images are of other noise or conditions" : "no sample sheet was kept";
      section.append(element("p", `${run.label} is not in the rows: ${why}.`, { class: "warn" }));
    }
    section.append(tiles.table([...(teacher ? [teacher] : []), ...teachers, ...students]));
    return section;
  }

  // ---- Metrics.

  // Return a run's values of a metric, by its name in tables, with the factor and the heading; undefined if absent.
  function measured(run, name) {
    const place = run.rows.findIndex((row) => row.metric === name);
    if (place < 0) return undefined;
    const metric = run.record.metrics[place];
    const times = facts.times[name] || 1;
    return { ...metric, times, heading: facts.headings[`${run.record.protocol_sha256} ${name}`] };
  }

  // Test a method with several training seeds against a sampler, as bench.report.comparison.against_sampler does.
  function withSampler(seeds, sampler) {
    if (sampler.low === null) return ["exact sampler", statistics.oneSample(seeds, sampler.value)];
    return ["sampler", statistics.welch(seeds, sampler.values)];
  }

  // Choose the test of a run against the first in one metric, as bench compare does: over training seeds where the
  // recipes differ and have several, else over generation seeds. Return { kind, found, why, shared }: `shared` is
  // equal for runs of one recipe that have this test in common.
  function test(run, first, name, own, its) {
    const alike = VARIANT.every((column) => same(run, first, column));
    const [seeds, others] = alike ? [[own.value], [its.value]] : [seedsOf(run, name), seedsOf(first, name)];
    const shared = JSON.stringify(VARIANT.map((column) => run.rows[0][column]));
    const spread = (kind, found) => (found ? { kind, found, shared } : { why: "no spread, so no test" });
    if (seeds.length > 1 && others.length > 1) return spread("training seeds", statistics.welch(seeds, others));
    if (seeds.length > 1 && first.record.kind === "baseline") return spread(...withSampler(seeds, its));
    if (others.length > 1 && run.record.kind === "baseline") {
      const [kind, found] = withSampler(others, own);
      return spread(kind, found && { ...found, difference: -found.difference, t: -found.t, n: [...found.n].reverse(), interval: (level) => found.interval(level).map((end) => -end).reverse() });
    }
    if (seeds.length > 1 || others.length > 1) return { why: `${seeds.length > 1 ? first.label : run.label} has one training seed, so no test` };
    if (own.low === null && own.values.length > 1) return { why: "a minimum over generation seeds has no test" };
    if (own.values.length !== its.values.length || own.values.length < 2) return { why: "one generation seed has no test" };
    return { ...spread("generation seeds", statistics.paired(own.values, its.values)), shared: run.name };
  }

  // Adjust the p-values of one metric by Holm; a test that several runs have in common counts once.
  function adjust(tests) {
    const different = new Map(tests.filter((one) => one && one.found).map((one) => [one.shared, one.found.p]));
    const adjusted = statistics.holm([...different.values()]);
    const places = [...different.keys()];
    for (const one of tests) if (one && one.found) one.p = adjusted[places.indexOf(one.shared)];
    return different.size > 1;
  }

  function comparedCell(own, tested, several) {
    const cell = element("td", numbers.value(own.times * own.value));
    if (!tested) return cell;
    if (!tested.found) {
      cell.append(element("br"), element("span", tested.why, { class: "note" }));
      return cell;
    }
    const { found, p } = tested;
    const values = [found.difference, ...found.interval(LEVEL)].map((value) => own.times * value);
    const [change, low, high] = numbers.signed(values, own.times * found.error);
    const differs = p < 1 - LEVEL;
    const better = (own.direction === "lower") === found.difference < 0;
    const verdict = differs ? `differ at ${PERCENT}: ${better ? "better" : "worse"}` : "no difference shown";
    Object.assign(cell.dataset, { p: found.p, t: found.t });
    cell.append(" ", element("span", `${change} [${low}, ${high}]`, { class: differs ? (better ? "better" : "worse") : "soft" }));
    const words = `${found.name} = ${numbers.t(found.t)}, p ${numbers.p(found.p, ALPHA)}${several ? `, Holm's p ${numbers.p(p, ALPHA)}` : ""}, n = ${found.n.join(" and ")} ${OVER[tested.kind] || tested.kind}: ${verdict}`;
    cell.append(element("br"), element("span", words, { class: "note" }));
    return cell;
  }

  function table(heads, label) {
    const made = element("table");
    const row = made.createTHead().insertRow();
    row.append(...heads.map((head) => element("th", head)));
    const scroll = element("div", undefined, { class: "scroll", tabindex: "0", role: "region", "aria-label": label });
    scroll.append(made);
    return [scroll, made.createTBody()];
  }

  function metrics(runs) {
    const section = element("section");
    section.append(element("h2", "Metrics"));
    const first = runs.find((run) => run.record.status === "ok");
    if (!first) {
      section.append(element("p", "All these runs failed.", { class: "note" }));
      return section;
    }
    const apart = new Map(runs.map((run) => [run, run === first ? "" : incomparable(run, first)]));
    for (const [run, why] of apart) {
      if (why) section.append(element("p", `${run.label} is not compared with ${first.label}: ${why}.`, { class: "warn" }));
    }
    const shown = [first, ...runs.filter((run) => run !== first && !apart.get(run))];
    if (shown.some((run) => run.record.protocol.smoke)) section.append(element("p", "These are smoke runs: their numbers are no results.", { class: "warn" }));
    for (const run of shown) {
      const roles = differingData(run, first).join(", ");
      if (roles) section.append(element("p", `Of ${run.label} and ${first.label}, these data differ, so their numbers are not comparable: ${roles}.`, { class: "warn" }));
    }
    const [scroll, body] = table(["Metric", ...shown.map((run) => run.label)], "Metrics");
    const kinds = new Set();
    let adjusted = false;
    const names = [...new Set(shown.flatMap((run) => run.rows.map((row) => row.metric)).filter(Boolean))];
    for (const name of names.filter((one) => !(one in facts.leftOut))) {
      const all = shown.map((run) => measured(run, name));
      const has = (one) => one && one.value !== null;
      const tests = shown.map((run, place) => (place && has(all[place]) && has(all[0]) ? test(run, first, name, all[place], all[0]) : null));
      const several = adjust(tests);
      adjusted ||= several;
      for (const one of tests) if (one && one.found) kinds.add(one.kind);
      const line = body.insertRow();
      line.append(element("th", all.find(Boolean).heading));
      line.append(...all.map((own, place) => (has(own) ? comparedCell(own, tests[place], several) : element("td", "–"))));
    }
    section.append(scroll);
    const notes = [...kinds].map((kind) => facts.assumptions[kind]);
    if (shown.length > 1) notes.unshift(`Values are those of the runs; differences and their ${PERCENT} intervals are to ${first.label}, and over training seeds they are between the means of all seeds of both recipes.`);
    if (adjusted) notes.push("Holm's p is adjusted for the tests of one metric in this table, and decides the verdict; p and the interval of a difference are those of the pair alone. Metrics are not adjusted for each other.");
    if (kinds.size) notes.push("No difference shown does not mean equal: the interval says how large a difference may be.");
    for (const name of names.filter((one) => one in facts.leftOut)) notes.push(`${shown.map((run) => measured(run, name)).find(Boolean).heading} is left out: ${facts.leftOut[name]}.`);
    section.append(...notes.map((words) => element("p", words, { class: "note" })));
    return section;
  }

  // ---- Recipes.

  // Return what made a run, by name: the recipe with the defaults of values that were added later, and the rest.
  function settings({ record }) {
    const { method, checkpoint } = record;
    const added = facts.defaults[`${method.name} ${method.distiller}`] || {};
    const apart = (prefix, values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}.${key}`, value]));
    return {
      method: method.name,
      "training seed": record.train_seed ?? undefined,
      ...(method.plugin_sha256 ? { "plug-in": method.plugin_sha256.slice(0, 12) } : {}),
      ...added,
      ...method.recipe,
      ...apart("sampler", record.sampler),
      ...(checkpoint ? { "weights": checkpoint.weights, "selection": checkpoint.selection } : {}),
    };
  }

  function recipes(runs) {
    const section = element("section");
    section.append(element("h2", "Recipe differences"));
    const all = runs.map(settings);
    const names = [...new Set(all.flatMap(Object.keys))];
    const text = (value) => (value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value));
    const starred = (run, name, value) => `${text(value)}${name in run.record.method.passed ? " *" : ""}`;
    const students = all.filter((_, place) => runs[place].record.kind === "method");
    const differ = (values, name) => new Set(values.map((one) => text(one[name]))).size > 1;
    // A teacher's sampler has no recipe, which is no difference between recipes.
    const baselines = all.filter((values) => !students.includes(values));
    const differing = names.filter((name) => name === "method" ? differ(all, name) : differ(students, name) || differ(baselines, name));
    for (const run of runs.filter((one) => one.record.sampler.summary)) {
      section.append(element("p", `${run.label} has no recipe: ${run.record.sampler.summary}.`, { class: "note" }));
    }
    if (!differing.length) {
      section.append(element("p", "None: the recipes, seeds and samplers are equal."));
      return section;
    }
    const [scroll, body] = table(["Setting", ...runs.map((run) => run.label)], "Recipe differences");
    for (const name of differing) {
      const row = body.insertRow();
      row.append(element("th", name), ...all.map((values, place) => element("td", starred(runs[place], name, values[name]))));
    }
    section.append(scroll);
    const passed = runs.some((run) => differing.some((name) => name in run.record.method.passed));
    if (passed) section.append(element("p", "* set by the user", { class: "note" }));
    return section;
  }

  // ---- The page.

  async function show() {
    const names = chosen();
    document.getElementById("chosen").replaceChildren(...names.map(listed));
    const known = names.filter((name) => options.has(name));
    if (!known.length) {
      result.replaceChildren(element("p", "Choose two or more runs from the list, or tick them on a leaderboard.", { class: "soft" }));
      return;
    }
    try {
      const runs = await readRuns(known);
      if (chosen().join() !== names.join()) return; // another choice was made meanwhile
      const sections = [images(runs)];
      if (runs.length > 1) sections.push(metrics(runs), recipes(runs));
      else sections.push(element("p", "Add another run to compare metrics and recipes.", { class: "soft" }));
      result.replaceChildren(...sections);
    } catch (error) {
      result.replaceChildren(element("p", `These runs cannot be shown: ${error.message}.`, { class: "warn" }));
    }
  }

  document.getElementById("add").addEventListener("click", () => choose([...new Set([...chosen(), pick.value])]));
  addEventListener("hashchange", show);
  show();
})();
