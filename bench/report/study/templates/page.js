"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const $ = (id) => document.getElementById(id);
  const asked = study.questions.length;
  const total = study.pairs.length * asked;
  const place = `study:${study.study}`;
  const byName = new Map(study.pairs.map((pair) => [pair.name, pair]));
  const rows = [...document.querySelectorAll(".question")];
  const MOST_ENLARGED = 20;
  const PAUSE = 200; // milliseconds in which the last answer of a pair stays visible

  // What this browser keeps: who answers, the order and sides of this sitting, and the answers so far, one for each
  // question, so that taking one back is to drop the last.
  let state = restored() || fresh();
  let shownSince = 0; // when the question that is asked now was first seen; 0 while nothing can be answered
  let spent = 0; // milliseconds spent on an answer that was taken back
  let leaving = false; // whether the pair in view is complete and about to go
  let latest = 0; // counts displays, so that a slow picture never replaces a later one

  function random(bytes) {
    return crypto.getRandomValues(new Uint8Array(bytes));
  }

  function hex(bytes) {
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function code() {
    const letters = "abcdefghjkmnpqrstuvwxyz23456789";
    return [...random(8)].map((byte) => letters[byte % letters.length]).join("");
  }

  function shuffled(items) {
    const keyed = items.map((item) => [hex(random(16)), item]);
    return keyed.sort((one, other) => (one[0] < other[0] ? -1 : 1)).map(([, item]) => item);
  }

  function fresh() {
    const order = shuffled(study.pairs.map((pair) => pair.name));
    const sides = [...random(order.length)].map((byte) => (byte & 1 ? "first" : "second"));
    return { rater: "", session: hex(random(16)), order, sides, answers: [] };
  }

  function restored() {
    try {
      return JSON.parse(localStorage.getItem(place));
    } catch {
      return null;
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
      $("kept").textContent = `Your code is ${state.rater}. This browser keeps your answers.`;
    } catch {
      problem("This browser keeps nothing between visits. Please answer all pairs without closing this page.");
    }
  }

  function problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = false;
  }

  function show() {
    const begun = state.rater !== "";
    const finished = state.answers.length === total;
    $("start").hidden = begun;
    $("compare").hidden = !begun || finished;
    $("end").hidden = !finished;
    if (!begun) {
      $("rater").value = code();
      $("begin").querySelector("button").focus();
    } else if (finished) {
      $("text").value = exported();
      $("save").focus();
    } else {
      showPair();
    }
    window.scrollTo(0, 0);
  }

  async function showPair() {
    shownSince = 0;
    const turn = ++latest;
    const position = Math.floor(state.answers.length / asked);
    const pair = byName.get(state.order[position]);
    let image;
    try {
      image = await picture(pair);
    } catch {
      problem("The images of this pair cannot be shown. Please open the page again, or tell whoever asked you.");
      return;
    }
    if (turn !== latest) return;
    $("position").textContent = `Pair ${position + 1} of ${study.pairs.length}`;
    if ($("prompt")) $("prompt").textContent = pair.prompt;
    draw(image, state.sides[position] === "first" ? [0, 1] : [1, 0]);
    mark();
    shownSince = performance.now() - spent;
    spent = 0;
    const next = byName.get(state.order[position + 1]);
    if (next) picture(next).catch(() => {});
  }

  async function picture(pair) {
    const image = new Image();
    image.src = `data:${study.type};base64,${pair.picture}`;
    await image.decode();
    return image;
  }

  function draw(image, halves) {
    document.querySelectorAll("#images canvas").forEach((canvas, number) => {
      canvas.width = study.width;
      canvas.height = study.height;
      canvas.classList.toggle("pixels", study.pixels);
      const from = halves[number] * study.width;
      canvas
        .getContext("2d")
        .drawImage(image, from, 0, study.width, study.height, 0, 0, study.width, study.height);
    });
    fit();
  }

  // Images get the room that leaves the questions in view. Small ones grow to whole pixels of the screen, and not so far that
  // nobody recognises what their few pixels show.
  function fit() {
    const others = [...$("compare").children].filter((part) => part.id !== "images");
    const taken = others.reduce((sum, part) => sum + part.getBoundingClientRect().height, 0);
    const high = Math.max(window.innerHeight - taken - 88, window.innerHeight / 2);
    const wide = $("images").querySelector("button").clientWidth;
    const factor = Math.min(wide / study.width, high / study.height);
    const grown = study.pixels && factor > 1 ? Math.min(Math.floor(factor * devicePixelRatio) / devicePixelRatio, MOST_ENLARGED) : factor;
    document.querySelectorAll("#images canvas").forEach((canvas) => {
      canvas.style.width = `${Math.floor(grown * study.width)}px`;
    });
  }

  // The number of the first answer of the pair in view.
  function first() {
    const count = state.answers.length - (leaving ? 1 : 0);
    return count - (count % asked);
  }

  // Shows the answers of the pair in view, and which question is asked.
  function mark() {
    const count = state.answers.length;
    $("done").value = count;
    $("back").setAttribute("aria-disabled", String(count === 0));
    rows.forEach((row, question) => {
      const number = first() + question;
      row.classList.toggle("asked-now", number === count);
      row.querySelectorAll("button").forEach((button) => {
        const chosen = number < count && state.answers[number].side === button.dataset.side;
        button.setAttribute("aria-pressed", String(chosen));
        button.setAttribute("aria-disabled", String(number > count));
      });
    });
  }

  function choose(side) {
    if (shownSince === 0) return;
    const now = performance.now();
    state.answers.push({ side, milliseconds: Math.round(now - shownSince) });
    keep();
    leaving = state.answers.length % asked === 0;
    shownSince = leaving ? 0 : now;
    mark();
    if (leaving) {
      setTimeout(() => {
        leaving = false;
        show();
      }, PAUSE);
    }
  }

  // A button of the question that is asked answers it; one of an earlier question changes its answer.
  function press(question, side) {
    const number = first() + question;
    if (number === state.answers.length) {
      choose(side);
    } else if (number < state.answers.length && !leaving) {
      state.answers[number].side = side;
      keep();
      mark();
    }
  }

  function takeBack() {
    if (leaving || state.answers.length === 0) return;
    spent = state.answers.pop().milliseconds;
    keep();
    show();
  }

  // Keys are in alphabetical order, as in the canonical JSON that the checksum is of.
  function exported() {
    const answers = state.order.map((pair, position) => {
      const given = state.answers.slice(position * asked, (position + 1) * asked);
      return {
        choices: given.map((answer) => answer.side),
        left: state.sides[position],
        milliseconds: given.map((answer) => answer.milliseconds),
        pair,
      };
    });
    const content = {
      answers,
      questions: study.questions,
      rater: state.rater,
      session: state.session,
      study: study.study,
      version: 1,
    };
    return JSON.stringify({ ...content, checksum: sha256(JSON.stringify(content)) });
  }

  function save() {
    const link = document.createElement("a");
    const name = `answers-${study.study.slice(0, 8)}-${state.rater}.json`;
    link.href = URL.createObjectURL(new Blob([exported()], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    $("saved").textContent = `Saved as ${name}.`;
    $("another").hidden = false;
  }

  // SHA-256 of ASCII text (FIPS 180-4); the browser's own is missing where a page was not opened securely.
  function sha256(text) {
    const turn = (x, n) => (x >>> n) | (x << (32 - n));
    const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
    const primes = [];
    for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
    const constants = primes.map((prime) => fraction(Math.cbrt(prime)));
    const hash = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
    const size = Math.ceil((text.length + 9) / 64) * 64;
    const bytes = new DataView(new ArrayBuffer(size));
    for (let i = 0; i < text.length; i++) bytes.setUint8(i, text.charCodeAt(i));
    bytes.setUint8(text.length, 0x80);
    bytes.setUint32(size - 4, text.length * 8);
    const words = new Int32Array(64);
    for (let start = 0; start < size; start += 64) {
      for (let i = 0; i < 64; i++) {
        if (i < 16) {
          words[i] = bytes.getInt32(start + 4 * i);
        } else {
          const [x, y] = [words[i - 15], words[i - 2]];
          const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
          const high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
          words[i] = words[i - 16] + low + words[i - 7] + high;
        }
      }
      let [a, b, c, d, e, f, g, h] = hash;
      for (let i = 0; i < 64; i++) {
        const choice = (e & f) ^ (~e & g);
        const majority = (a & b) ^ (a & c) ^ (b & c);
        const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choice + constants[i] + words[i]) | 0;
        const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + majority) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((value, i) => (hash[i] = (hash[i] + value) | 0));
    }
    return hash.map((value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea")) return;
    const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
    if (side && !$("compare").hidden) {
      event.preventDefault();
      if (!event.repeat) choose(side);
    } else if (event.key === "Backspace" && state.rater) {
      event.preventDefault();
      if (!event.repeat) takeBack();
    }
  });
  // The second click of a double click is no answer to the next question.
  function clicked(button, answer) {
    button.addEventListener("click", (event) => event.detail > 1 || answer(button.dataset.side));
  }
  document.querySelectorAll("#images button").forEach((button) => clicked(button, choose));
  rows.forEach((row, question) => {
    row.querySelectorAll("button").forEach((button) => clicked(button, (side) => press(question, side)));
  });
  $("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    state.rater = $("rater").value;
    keep();
    show();
  });
  $("back").addEventListener("click", takeBack);
  $("undo").addEventListener("click", takeBack);
  $("save").addEventListener("click", save);
  $("anew").addEventListener("click", () => {
    localStorage.removeItem(place);
    location.reload();
  });
  window.addEventListener("resize", () => $("compare").hidden || fit());
  if (state.rater) keep();
  show();
})();
